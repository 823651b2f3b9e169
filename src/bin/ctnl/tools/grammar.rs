//! conntrack(8)'s options, for the manual, the help and completions. It parses nothing.

use clap::{Arg, ArgAction, Command};

/// An option: its letter, its names of which the first one leads, its value, and what it does.
struct Opt {
    short: Option<char>,
    long: &'static [&'static str],
    value: Value,
    help: &'static str,
}

#[derive(Clone, Copy)]
enum Value {
    None,
    /// One that must be given.
    One(&'static str),
    /// One that may be left out.
    May(&'static str),
    /// One of these, or several with commas between.
    Words(&'static [&'static str]),
    /// The name of a table, which may be left out.
    Table,
    /// The name of a file.
    File,
}

const fn opt(
    short: Option<char>,
    long: &'static [&'static str],
    value: Value,
    help: &'static str,
) -> Opt {
    Opt {
        short,
        long,
        value,
        help,
    }
}

use Value::{File, May, None as Bare, One, Table, Words};

const TABLES: [&str; 4] = ["conntrack", "expect", "dying", "unconfirmed"];

const COMMANDS: &[Opt] = &[
    opt(Some('L'), &["dump"], Table, "List the entries of a table"),
    opt(Some('G'), &["get"], Table, "Show one entry"),
    opt(
        Some('D'),
        &["delete"],
        Table,
        "Delete entries, and show them",
    ),
    opt(
        Some('I'),
        &["create"],
        Table,
        "Make an entry that is not there",
    ),
    opt(
        Some('A'),
        &["add"],
        Table,
        "Make an entry; one that is there already is no error",
    ),
    opt(Some('U'), &["update"], Table, "Change entries"),
    opt(Some('E'), &["event"], Table, "Show events as they come"),
    opt(
        Some('F'),
        &["flush"],
        Table,
        "Delete all entries of a table",
    ),
    opt(
        Some('C'),
        &["count", "counter"],
        Table,
        "Show how many entries there are",
    ),
    opt(Some('S'), &["stats"], Bare, "Show what each CPU counted"),
    opt(
        Some('R'),
        &["load-file"],
        File,
        "Do what the lines of a file say, as -o save writes them; - is the standard input",
    ),
];

const GENERAL: &[Opt] = &[
    opt(
        Some('z'),
        &["zero"],
        Bare,
        "With -L: set counters to zero while they are read",
    ),
    opt(
        Some('o'),
        &["output"],
        Words(&[
            "extended",
            "xml",
            "save",
            "timestamp",
            "id",
            "ktimestamp",
            "labels",
            "userspace",
            "json",
            "table",
        ]),
        "How entries are printed: some of these, with commas between",
    ),
    opt(
        Some('e'),
        &["event-mask"],
        Words(&["ALL", "NEW", "UPDATES", "DESTROY"]),
        "With -E: which kinds of events",
    ),
    opt(
        Some('b'),
        &["buffer-size"],
        One("BYTES"),
        "With -E: the receive buffer of the socket",
    ),
];

const FILTERS: &[Opt] = &[
    opt(
        Some('s'),
        &["src", "orig-src"],
        One("ADDRESS[/PREFIX]"),
        "Source of the original direction",
    ),
    opt(
        Some('d'),
        &["dst", "orig-dst"],
        One("ADDRESS[/PREFIX]"),
        "Destination of the original direction",
    ),
    opt(
        Some('r'),
        &["reply-src"],
        One("ADDRESS[/PREFIX]"),
        "Source of the reply direction",
    ),
    opt(
        Some('q'),
        &["reply-dst"],
        One("ADDRESS[/PREFIX]"),
        "Destination of the reply direction",
    ),
    opt(
        Some('p'),
        &["proto", "protonum"],
        One("PROTOCOL"),
        "Protocol, by its name or number",
    ),
    opt(
        Some('f'),
        &["family"],
        Words(&["ipv4", "ipv6"]),
        "Address family",
    ),
    opt(Some('t'), &["timeout"], One("SECONDS"), "Time-out"),
    opt(
        Some('m'),
        &["mark"],
        One("MARK[/MASK]"),
        "Mark, or some of its bits",
    ),
    opt(Some('c'), &["secmark"], One("SECMARK"), "Security mark"),
    opt(
        Some('u'),
        &["status"],
        Words(&[
            "ASSURED",
            "SEEN_REPLY",
            "FIXED_TIMEOUT",
            "EXPECTED",
            "OFFLOAD",
            "UNSET",
        ]),
        "Status: some of these, with commas between",
    ),
    opt(
        Some('l'),
        &["label"],
        One("LABEL"),
        "Label that is set; can be given again",
    ),
    opt(None, &["label-add"], One("LABEL"), "Label to set"),
    opt(
        None,
        &["label-del"],
        May("LABEL"),
        "Label to clear; all of them without a name",
    ),
    opt(
        Some('n'),
        &["src-nat"],
        May("ADDRESS[:PORT]"),
        "Entries whose source is translated; what to translate it to",
    ),
    opt(
        Some('g'),
        &["dst-nat"],
        May("ADDRESS[:PORT]"),
        "Entries whose destination is translated; what to translate it to",
    ),
    opt(
        Some('j'),
        &["any-nat"],
        May("ADDRESS[:PORT]"),
        "Entries that are translated in any way",
    ),
    opt(
        Some('w'),
        &["zone"],
        One("ZONE"),
        "Zone, in both directions",
    ),
    opt(
        None,
        &["orig-zone"],
        One("ZONE"),
        "Zone of the original direction",
    ),
    opt(
        None,
        &["reply-zone"],
        One("ZONE"),
        "Zone of the reply direction",
    ),
    opt(
        Some('i'),
        &["id"],
        May("ID"),
        "The kernel's id of the entry",
    ),
    opt(
        Some('a'),
        &["nat-range"],
        One("FIRST[-LAST]"),
        "With -I: addresses to translate to",
    ),
];

const EXPECTATIONS: &[Opt] = &[
    opt(
        None,
        &["tuple-src"],
        One("ADDRESS[/PREFIX]"),
        "Source of what is expected",
    ),
    opt(
        None,
        &["tuple-dst"],
        One("ADDRESS[/PREFIX]"),
        "Destination of what is expected",
    ),
    opt(
        None,
        &["tuple-port-src"],
        One("PORT"),
        "Source port of what is expected",
    ),
    opt(
        None,
        &["tuple-port-dst"],
        One("PORT"),
        "Destination port of what is expected",
    ),
    opt(
        None,
        &["mask-src"],
        One("ADDRESS"),
        "Bits of the source that count",
    ),
    opt(
        None,
        &["mask-dst"],
        One("ADDRESS"),
        "Bits of the destination that count",
    ),
    opt(
        None,
        &["mask-port-src"],
        One("PORT"),
        "Bits of the source port that count",
    ),
    opt(
        None,
        &["mask-port-dst"],
        One("PORT"),
        "Bits of the destination port that count",
    ),
];

const PROTOCOLS: &[Opt] = &[
    opt(
        None,
        &["sport", "orig-port-src"],
        One("PORT"),
        "tcp, udp, udplite, sctp, dccp: source port of the original direction",
    ),
    opt(
        None,
        &["dport", "orig-port-dst"],
        One("PORT"),
        "The same: destination port of the original direction",
    ),
    opt(
        None,
        &["reply-port-src"],
        One("PORT"),
        "The same: source port of the reply direction",
    ),
    opt(
        None,
        &["reply-port-dst"],
        One("PORT"),
        "The same: destination port of the reply direction",
    ),
    opt(None, &["state"], One("STATE"), "tcp, sctp, dccp: the state"),
    opt(
        None,
        &["icmp-type"],
        One("TYPE"),
        "icmp: the type, a number",
    ),
    opt(
        None,
        &["icmp-code"],
        One("CODE"),
        "icmp: the code, a number",
    ),
    opt(
        None,
        &["icmp-id"],
        One("ID"),
        "icmp: the identifier, a number",
    ),
    opt(
        None,
        &["icmpv6-type"],
        One("TYPE"),
        "icmpv6: the type, a number",
    ),
    opt(
        None,
        &["icmpv6-code"],
        One("CODE"),
        "icmpv6: the code, a number",
    ),
    opt(
        None,
        &["icmpv6-id"],
        One("ID"),
        "icmpv6: the identifier, a number",
    ),
    opt(
        None,
        &["orig-vtag"],
        One("TAG"),
        "sctp: verification tag of the original direction",
    ),
    opt(
        None,
        &["reply-vtag"],
        One("TAG"),
        "sctp: verification tag of the reply direction",
    ),
    opt(
        None,
        &["role"],
        Words(&["client", "server"]),
        "dccp: role of the original direction's source",
    ),
    opt(
        None,
        &["srckey", "orig-key-src"],
        One("KEY"),
        "gre: source key of the original direction",
    ),
    opt(
        None,
        &["dstkey", "orig-key-dst"],
        One("KEY"),
        "gre: destination key of the original direction",
    ),
    opt(
        None,
        &["reply-key-src"],
        One("KEY"),
        "gre: source key of the reply direction",
    ),
    opt(
        None,
        &["reply-key-dst"],
        One("KEY"),
        "gre: destination key of the reply direction",
    ),
    opt(
        None,
        &["tuple-key-src"],
        One("KEY"),
        "gre: source key of what is expected",
    ),
    opt(
        None,
        &["tuple-key-dst"],
        One("KEY"),
        "gre: destination key of what is expected",
    ),
    opt(
        None,
        &["mask-key-src"],
        One("KEY"),
        "gre: bits of the source key that count",
    ),
    opt(
        None,
        &["mask-key-dst"],
        One("KEY"),
        "gre: bits of the destination key that count",
    ),
];

/// Beside what conntrack(8) has; `--netns` is everywhere.
const BEYOND: &[Opt] = &[
    opt(
        None,
        &["filter"],
        One("FILTER"),
        "Entries of a filter in the library's syntax: 'zone=5 protocol=tcp orig-dst-port=1-1023'",
    ),
    opt(
        None,
        &["dry-run"],
        Bare,
        "With -D and -F: delete nothing, and say what would be deleted",
    ),
    opt(
        None,
        &["max-deletes"],
        One("NUMBER"),
        "With -D and -F: delete nothing if more entries match",
    ),
    opt(
        None,
        &["verify"],
        One("TIMES"),
        "With -D and -F: look again so often at most whether anything is left",
    ),
    opt(
        None,
        &["protect-zone"],
        One("ZONE"),
        "With -D and -F: delete nothing in this zone; can be given again",
    ),
];

const HEADINGS: [(&str, &[Opt]); 6] = [
    ("Commands of conntrack(8)", COMMANDS),
    ("Options", GENERAL),
    ("Entries", FILTERS),
    ("Expectations", EXPECTATIONS),
    ("Protocols", PROTOCOLS),
    ("Beyond conntrack(8)", BEYOND),
];

impl Opt {
    fn arg(&self) -> Arg {
        let name = self.long[0];
        let arg = Arg::new(name)
            .long(name)
            .visible_aliases(&self.long[1..])
            .help(self.help);
        let arg = match self.short {
            Some(short) => arg.short(short),
            None => arg,
        };
        match self.value {
            Bare => arg.action(ArgAction::SetTrue),
            One(value) => arg.value_name(value),
            May(value) => arg.value_name(value).num_args(0..=1),
            Words(words) => arg
                .value_name("WORD")
                .value_parser(words.to_vec())
                .value_delimiter(','),
            Table => arg
                .value_name("TABLE")
                .num_args(0..=1)
                .value_parser(TABLES.to_vec())
                .hide_possible_values(true),
            File => arg.value_name("FILE").value_hint(clap::ValueHint::FilePath),
        }
    }
}

/// The command with these options, to be described and never to parse.
pub(super) fn described(mut command: Command, beyond: bool) -> Command {
    for (heading, options) in HEADINGS {
        if heading == HEADINGS[5].0 && !beyond {
            continue;
        }
        let args = options.iter().map(|opt| opt.arg().help_heading(heading));
        command = command.args(args);
    }
    command
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_option_is_there_twice() {
        let mut names = BTreeSet::new();
        for opt in HEADINGS.iter().flat_map(|(_, options)| *options) {
            for name in opt.long {
                assert!(names.insert((*name).to_owned()), "{name}");
            }
            if let Some(short) = opt.short {
                assert!(names.insert(short.to_string()), "{short}");
            }
        }
        described(Command::new("x"), true).debug_assert();
    }

    /// As its usage lists them.
    #[test]
    fn all_letters_of_conntrack_are_there() {
        let options = HEADINGS.iter().flat_map(|(_, options)| *options);
        let letters: BTreeSet<char> = options.filter_map(|opt| opt.short).collect();
        let expected: BTreeSet<char> = "LGDIAUEFCSRzoebsdrqpftmculngjwia".chars().collect();
        assert_eq!(letters, expected);
    }
}
