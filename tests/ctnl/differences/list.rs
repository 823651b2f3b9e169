//! The list.

use super::{Difference, Kind};
use crate::base::Base;
use crate::compare::{Aspect, Seen};
use crate::grammar::Case;
use crate::shown::Line;

/// How its help begins.
const USAGE: &str = "Command line interface for the connection tracking system.";

pub(super) const DIFFERENCES: &[Difference] = &[
    Difference {
        heading: "Help is its own",
        example: &["-h"],
        base: Base::All,
        kind: Kind::Explains(|_, meeting| {
            let theirs = meeting.theirs.outcome.stdout.starts_with(USAGE);
            let ours = meeting.ours.outcome.stdout.contains("conntrack");
            only(theirs && ours, &[Aspect::Stdout])
        }),
    },
    Difference {
        heading: "An update prints all that it updated",
        example: &["-U", "-s", "10.0.0.1", "-m", "9"],
        base: Base::Plain,
        kind: Kind::Explains(|case, meeting| {
            let (theirs, ours) = (&meeting.theirs, &meeting.ours);
            let counted = counted(&theirs.counts);
            let flows = |lines: &[Line]| lines.iter().filter(|line| line.text.len() > 40).count();
            let more = counted > 1
                && flows(&theirs.lines) < counted
                && flows(&ours.lines) == counted
                && theirs
                    .lines
                    .iter()
                    .all(|line| ours.lines.iter().any(|other| other.text == line.text));
            only(case.may_update() && more, &[Aspect::Stdout])
        }),
    },
    Difference {
        heading: "An update finds entries in their zone",
        example: &["-U", "-p", "gre", "--srckey", "3", "-m", "9"],
        base: Base::All,
        kind: Kind::Explains(|case, _| {
            let example = case.args == ["-U", "-p", "gre", "--srckey", "3", "-m", "9"];
            only(example, &EVERYTHING)
        }),
    },
    Difference {
        heading: "An update takes any filter",
        example: &["-U", "-m", "9"],
        base: Base::All,
        kind: Kind::Explains(|case, meeting| {
            let said = "Operation failed: Operation not supported";
            let stopped = meeting.theirs.outcome.stderr.contains(said);
            only(case.may_update() && stopped, &EVERYTHING)
        }),
    },
    Difference {
        heading: "A flush keeps to the family",
        example: &["-F", "-f", "ipv6"],
        base: Base::All,
        kind: Kind::Explains(|case, meeting| {
            let (theirs, ours) = (&meeting.theirs, &meeting.ours);
            let entries = |seen: &Seen| seen.table.as_ref().map(|table| table.entries.clone());
            let (Some(theirs), Some(ours)) = (entries(theirs), entries(ours)) else {
                return Vec::new();
            };
            let families: Vec<_> = ["ipv4", "ipv6"]
                .into_iter()
                .filter(|name| ours.values().any(|(text, _)| text.contains(name)))
                .collect();
            let of_one = theirs.is_empty() && families.len() == 1;
            let asked = case.has_word("f", "family");
            only(of_one && asked, &[Aspect::Table])
        }),
    },
    Difference {
        heading: "A value that is attached to an option is one",
        example: &["-D", "--src-nat=198.51.100.1"],
        base: Base::All,
        kind: Kind::Explains(|case, _| {
            let attached = |arg: &str| {
                let long = ["--src-n", "--dst-n", "--an", "--label-d"];
                let long = long.iter().any(|name| arg.starts_with(name)) && arg.contains('=');
                let short = ["-n", "-g", "-j", "->"];
                let short = short
                    .iter()
                    .any(|name| arg.starts_with(name) && arg.len() > 2);
                long || short
            };
            only(case.words().any(attached), &EVERYTHING)
        }),
    },
    Difference {
        heading: "Numbers are numbers",
        example: &["-L", "-w", "5x"],
        base: Base::All,
        kind: Kind::Explains(|_, meeting| {
            let refused = meeting.refused_with("is not a number");
            let slash = meeting.refused_with("/\" is not a prefix");
            let odd = is_odd(&meeting.ours.outcome.stderr);
            only(refused && odd || slash, &EVERYTHING)
        }),
    },
    Difference {
        heading: "Nothing crashes",
        example: &["-L", "-p", "sctp", "--state", "FOO"],
        base: Base::All,
        kind: Kind::Explains(|_, meeting| {
            let crashed = meeting.theirs.class() == -1 && meeting.ours.class() >= 0;
            only(crashed, &EVERYTHING)
        }),
    },
    Difference {
        heading: "A tuple is whole",
        example: &[
            "-A", "-p", "50", "-s", "10.0.0.3", "-d", "10.0.0.4", "-r", "10.0.0.4", "-t", "60",
        ],
        base: Base::All,
        kind: Kind::Explains(|_, meeting| only(meeting.refused_with("is not whole"), &EVERYTHING)),
    },
    Difference {
        heading: "Translated ports are kept",
        example: &[
            "-A",
            "-p",
            "udp",
            "-s",
            "10.0.0.9",
            "-d",
            "10.0.0.2",
            "-n",
            "203.0.113.9",
            "-t",
            "60",
            "--sport",
            "9",
            "--dport",
            "53",
            "--reply-port-src",
            "53",
            "--reply-port-dst",
            "99",
        ],
        base: Base::All,
        kind: Kind::Explains(|case, meeting| {
            let translates = case.has_word("n", "src-nat") || case.has_word("g", "dst-nat");
            let chosen = case.words().any(|word| word.starts_with("--reply-p"));
            let made = meeting.ours.class() == meeting.theirs.class();
            only(translates && chosen && made, &[Aspect::Table])
        }),
    },
    Difference {
        heading: "Labels have numbers",
        example: &["-L", "-l", "1"],
        base: Base::All,
        kind: Kind::Explains(|case, meeting| {
            let unknown = meeting.theirs.outcome.stderr.contains("unknown label '");
            let number = |word: &str| {
                let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
                let value = word
                    .rsplit('=')
                    .next()
                    .unwrap_or(word)
                    .trim_start_matches("-l");
                !value.is_empty() && value.split(',').any(digits)
            };
            only(unknown && case.words().any(number), &EVERYTHING)
        }),
    },
    Difference {
        heading: "A time-out chooses when it stands alone",
        example: &["-D", "-t", "60"],
        base: Base::All,
        kind: Kind::Explains(|case, meeting| {
            let asked = case.has_word("D", "delete") && case.has_word("t", "timeout");
            let left = |seen: &Seen| seen.table.as_ref().map(|table| table.entries.len());
            let fewer = left(&meeting.theirs) < left(&meeting.ours);
            only(asked && fewer, &EVERYTHING)
        }),
    },
    Difference {
        heading: "A status chooses",
        example: &["-D", "-u", "SRC_NAT"],
        base: Base::All,
        kind: Kind::Explains(|case, meeting| {
            let refused = meeting.ours.outcome.stderr.contains("-u says nothing");
            let deletes = case.has_word("D", "delete");
            only(refused && deletes && meeting.ours.class() > 0, &EVERYTHING)
        }),
    },
    Difference {
        heading: "What is deleted is shown as it is listed",
        example: &["-D", "-o", "labels", "-p", "udp"],
        base: Base::All,
        kind: Kind::Explains(|case, meeting| {
            let more = case
                .words()
                .any(|word| word.contains("lab") || word.contains("kt"));
            let same = meeting.ours.lines.len() == meeting.theirs.lines.len();
            only(
                case.has_word("D", "delete") && more && same,
                &[Aspect::Stdout],
            )
        }),
    },
    Difference {
        heading: "Any translation goes with other filters",
        example: &["-L", "-j", "203.0.113.9", "-p", "udp"],
        base: Base::All,
        kind: Kind::Explains(|case, meeting| {
            let address = case.has_word("j", "any-nat");
            let more = meeting.ours.lines.len() > meeting.theirs.lines.len();
            only(
                address && more && meeting.theirs.lines.is_empty(),
                &EVERYTHING,
            )
        }),
    },
    Difference {
        heading: "Keys of GRE choose",
        example: &["-L", "-p", "gre", "--srckey", "1"],
        base: Base::All,
        kind: Kind::Explains(|case, meeting| {
            let key = case.words().any(|word| {
                word.starts_with("--") && (word.contains("key") || word.contains("-k"))
            });
            let lines = |seen: &Seen| counted(&seen.counts);
            let fewer = lines(&meeting.ours) < lines(&meeting.theirs);
            only(key && fewer, &EVERYTHING)
        }),
    },
    Difference {
        heading: "Status bits of the kernel's own are passed over",
        example: &[
            "-U",
            "-p",
            "icmp",
            "-d",
            "10.0.0.2",
            "-u",
            "EXPECTED,ASSURED",
        ],
        base: Base::Plain,
        kind: Kind::Explains(|_, meeting| {
            let said = meeting
                .ours
                .outcome
                .stderr
                .contains("the kernel alone sets it");
            let busy = meeting
                .theirs
                .outcome
                .stderr
                .contains("Device or resource busy");
            only(said && busy, &EVERYTHING)
        }),
    },
    Difference {
        heading: "A mask goes with an address",
        example: &["-L", "dying", "--mask-src", "255.255.255.0"],
        base: Base::All,
        kind: Kind::Explains(|_, meeting| {
            let of = |name: &str| meeting.refused_with(&format!("--mask-{name} needs --{name}"));
            only(of("src") || of("dst"), &EVERYTHING)
        }),
    },
    Difference {
        heading: "A status leaves the mark alone",
        example: &["-U", "-s", "10.0.0.1", "-m", "8", "-u", "ASSURED"],
        base: Base::Plain,
        kind: Kind::Explains(|case, _| {
            let words: Vec<_> = case.words().collect();
            let place = |letter: &str, name: &str| {
                let is = |word: &&str| {
                    let word = Case::new(&[*word]);
                    word.has_word(letter, name)
                };
                words.iter().position(is)
            };
            let (mark, status) = (place("m", "mark"), place("u", "status"));
            let behind = mark.zip(status).is_some_and(|(mark, status)| mark < status);
            only(behind, &EVERYTHING)
        }),
    },
    Difference {
        heading: "Options are those of the last protocol",
        example: &["-L", "-p", "sctp", "--dport", "36412", "-p", "icmp"],
        base: Base::All,
        kind: Kind::Explains(|case, meeting| {
            let protocols = case.words().filter(|word| {
                let alone = Case::new(&[*word]);
                word.starts_with('-') && alone.has_word("p", "protonum")
            });
            let refused = meeting.refused_with("does not take --");
            only(refused && protocols.count() > 1, &EVERYTHING)
        }),
    },
    Difference {
        heading: "A status that is to be off chooses",
        example: &["-D", "-u", "!ASSURED"],
        base: Base::All,
        kind: Kind::Explains(|case, _| {
            let off = case.words().any(|word| word.contains('!'));
            let both = case
                .words()
                .any(|word| word.contains('!') && word.contains(','));
            let lists = case.has_word("L", "dump") && !both;
            only(off && !lists, &EVERYTHING)
        }),
    },
    Difference {
        heading: "IPv6 addresses of translation choose",
        example: &["-L", "-n", "2001:db8::77"],
        base: Base::All,
        kind: Kind::Explains(|case, meeting| {
            let nat = [("n", "src-nat"), ("g", "dst-nat"), ("j", "any-nat")];
            let nat = nat.iter().any(|(letter, name)| case.has_word(letter, name));
            let v6 = case.words().any(|word| word.contains("::"));
            let fewer = counted(&meeting.ours.counts) < counted(&meeting.theirs.counts);
            only(nat && v6 && fewer, &EVERYTHING)
        }),
    },
    Difference {
        heading: "An entry is found by its answers",
        example: &[
            "-G",
            "-p",
            "udp",
            "-r",
            "10.0.0.2",
            "-q",
            "10.0.0.1",
            "--reply-port-src",
            "53",
            "--reply-port-dst",
            "1001",
        ],
        base: Base::All,
        kind: Kind::Explains(|case, meeting| {
            let refused = meeting.theirs.outcome.stderr.contains("invalid parameters");
            let found = meeting.ours.class() < 2 && meeting.ours.table.is_none();
            only(case.has_word("G", "get") && refused && found, &EVERYTHING)
        }),
    },
    Difference {
        heading: "A document has an end",
        example: &[
            "-G", "-p", "udp", "-s", "10.0.0.1", "-d", "10.0.0.2", "--sport", "1001", "--dport",
            "53", "-o", "xml",
        ],
        base: Base::All,
        kind: Kind::Explains(|case, meeting| {
            let flows = |seen: &Seen| -> Vec<String> {
                let ends = ["</conntrack>", "(no end of line)"];
                let texts = seen.lines.iter().map(|line| line.text.clone());
                texts
                    .filter(|text| !ends.contains(&text.as_str()))
                    .collect()
            };
            let same = flows(&meeting.ours) == flows(&meeting.theirs);
            only(case.has_word("G", "get") && same, &[Aspect::Stdout])
        }),
    },
    Difference {
        heading: "Ports that the kernel does not track are refused",
        example: &[
            "-I", "-p", "dccp", "-s", "10.0.0.8", "-d", "10.0.0.9", "--sport", "3", "--dport", "4",
            "-t", "50", "--state", "OPEN", "--role", "client",
        ],
        base: Base::All,
        kind: Kind::Explains(|_, meeting| {
            only(
                meeting.refused_with("is not tracked by its ports"),
                &EVERYTHING,
            )
        }),
    },
    Difference {
        heading: "Addresses and ports are of one direction",
        example: &[
            "-I", "-p", "udp", "-r", "10.0.0.7", "-q", "10.0.0.8", "--sport", "3", "--dport", "4",
            "-t", "50",
        ],
        base: Base::All,
        kind: Kind::Explains(|_, meeting| {
            let why = "of one direction and the ports of the other";
            only(meeting.refused_with(why), &EVERYTHING)
        }),
    },
    Difference {
        heading: "A time-out is one that every kernel keeps",
        example: &["-U", "-p", "icmp", "-d", "10.0.0.2", "-t", "3000000"],
        base: Base::Plain,
        kind: Kind::Explains(|_, meeting| {
            let cut = meeting.ours.outcome.stderr.contains("the time-out is cut");
            only(cut, &[Aspect::Stdout, Aspect::Table])
        }),
    },
    Difference {
        heading: "A deleted expectation is a success",
        example: &[
            "-D",
            "expect",
            "-p",
            "tcp",
            "-s",
            "10.0.0.2",
            "-d",
            "10.0.0.1",
            "--sport",
            "0",
            "--dport",
            "20000",
            "--reply-port-src",
            "20000",
            "--reply-port-dst",
            "0",
        ],
        base: Base::All,
        kind: Kind::Explains(|case, meeting| {
            let classes = (meeting.theirs.class(), meeting.ours.class());
            let expect = case.words().any(|word| word.contains("exp"));
            only(expect && classes == (1, 0), &[Aspect::Exit, Aspect::Count])
        }),
    },
    Difference {
        heading: "A security mark chooses",
        example: &["-L", "-c", "7"],
        base: Base::All,
        kind: Kind::Explains(|case, meeting| {
            let fewer = meeting.ours.lines.len() < meeting.theirs.lines.len();
            only(fewer && case.has_word("c", "secmark"), &EVERYTHING)
        }),
    },
    Difference {
        heading: "By its own name",
        example: &["-V"],
        base: Base::All,
        kind: Kind::Explains(|_, meeting| {
            let ours = &meeting.ours;
            if !meeting.by_own_name {
                return Vec::new();
            }
            let theirs = &meeting.theirs;
            let usage = theirs.outcome.stdout.starts_with(USAGE);
            let no_command = usage && ours.class() == 2;
            let usage_is_two = theirs.class() == 1 && ours.class() == 2;
            let version = ours.outcome.stdout.starts_with("ctnl ");
            let restored = ours
                .counts
                .iter()
                .any(|line| line.ends_with("have been restored."));
            [
                only(no_command, &EVERYTHING),
                only(usage_is_two, &[Aspect::Exit]),
                only(version, &[Aspect::Stdout]),
                only(restored, &[Aspect::Count]),
            ]
            .concat()
        }),
    },
    Difference {
        heading: "States of SCTP in XML have their own names",
        example: &["-L", "-o", "xml", "-p", "sctp"],
        base: Base::All,
        kind: Kind::Text(|_, text| {
            // What it prints for these states, and their names.
            const NAMES: [(&str, &str); 3] = [
                ("SYN_SENT", "CLOSED"),
                ("SYN_RECV", "COOKIE_WAIT"),
                ("FIN_WAIT", "ESTABLISHED"),
            ];
            let line = |line: &str| {
                if !line.contains("protoname=\"sctp\"") {
                    return line.to_owned();
                }
                let place = NAMES
                    .iter()
                    .find(|(wrong, _)| line.contains(&format!("<state>{wrong}<")));
                place.map_or(line.to_owned(), |(wrong, right)| {
                    let (wrong, right) = (format!("<state>{wrong}<"), format!("<state>{right}<"));
                    line.replace(&wrong, &right)
                })
            };
            each_line(text, line)
        }),
    },
    Difference {
        heading: "No ports that the kernel did not tell",
        example: &["-L", "-p", "dccp"],
        base: Base::All,
        kind: Kind::Text(|_, text| {
            each_line(text, |line| {
                if line.starts_with("dccp ") || line.contains(" dccp ") {
                    return line.replace(" sport=0 dport=0", "");
                }
                if line.contains("protoname=\"dccp\"") {
                    return line.replace("<sport>0</sport><dport>0</dport>", "");
                }
                line.to_owned()
            })
        }),
    },
    Difference {
        heading: "Labels without a name leave nothing behind",
        example: &["-L", "-o", "labels"],
        base: Base::All,
        kind: Kind::Text(|_, text| {
            each_line(text, |line| {
                line.strip_suffix(" labels").unwrap_or(line).to_owned()
            })
        }),
    },
];

const EVERYTHING: [Aspect; 4] = [Aspect::Exit, Aspect::Stdout, Aspect::Count, Aspect::Table];

/// Whether what ours refused as no number is not one that all options take.
fn is_odd(stderr: &str) -> bool {
    let value = stderr.split('"').nth(1).unwrap_or_default();
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    !digits || value.parse::<u8>().is_err()
}

fn only(holds: bool, aspects: &[Aspect]) -> Vec<Aspect> {
    if holds { aspects.to_vec() } else { Vec::new() }
}

fn each_line(text: &str, turn: impl Fn(&str) -> String) -> String {
    text.split_inclusive('\n')
        .map(|line| match line.strip_suffix('\n') {
            Some(line) => turn(line) + "\n",
            None => turn(line),
        })
        .collect()
}

/// How many a counting line tells of.
fn counted(counts: &[String]) -> usize {
    let first = counts.iter().find_map(|line| line.split(' ').next());
    first.and_then(|word| word.parse().ok()).unwrap_or(0)
}
