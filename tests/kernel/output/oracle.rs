//! conntrack 1.4.7 as the oracle: what it prints of a table, compared with ours.

use std::ops::RangeInclusive;
use std::process::{Child, Command, Stdio};
use std::time::SystemTime;

use ctnetlink::{
    Conntrack, Entry, EntryDisplay, Family, Filter, Format, LabelNames, Layer4, ProtoInfo,
    Protocol, SctpState, TcpState,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::support::{listed, run};

/// Names of labels that conntrack reads too. Label 2 has none.
pub(super) const LABELS: &str = "0 zero\n1 one\n63 sixtythree\n127 last\n";

/// Five and a half hours ahead of UTC, as POSIX writes it.
const TZ: &str = "ABC-5:30";
pub(super) const AHEAD: i32 = 19_800;

/// Runs a function on a thread of this thread's network namespace that has an /etc of its own, where
/// the names of labels are.
fn with_labels<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let in_thread = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("tmpfs"), "/etc", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        std::fs::create_dir("/etc/xtables").unwrap();
        std::fs::write(LabelNames::PATH, LABELS).unwrap();
        run()
    };
    std::thread::scope(|scope| scope.spawn(in_thread).join().unwrap())
}

/// Which one this is, for where a comparison fails.
#[expect(clippy::print_stderr, reason = "shown of tests that fail")]
fn tell_version() {
    let version = run("conntrack", &["--version"]);
    if !version.contains("v1.4.7") {
        eprintln!(
            "the comparison is with what conntrack 1.4.7 prints, and this is {}",
            version.trim()
        );
    }
}

/// Starts conntrack with these arguments, in local time that is not UTC.
pub(super) fn start(arguments: &[&str]) -> Child {
    tell_version();
    with_labels(|| {
        Command::new("conntrack")
            .args(arguments)
            .env("TZ", TZ)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("conntrack: {error}; tests/run.sh installs it"))
    })
}

/// What conntrack prints, which must succeed.
pub(super) fn conntrack(arguments: &[&str]) -> String {
    let output = start(arguments).wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Our text of an entry, turned into what conntrack 1.4.7 prints where we differ on purpose.
pub(super) fn as_conntrack(entry: &Entry, format: Format, labels: bool, ours: &str) -> String {
    let mut text = ours.to_owned();
    // Of an entry whose ports or keys the kernel does not track it prints zeros, which the kernel
    // did not say. (Save leaves them out.)
    let untracked = matches!(entry.layer4(), Layer4::Other(_));
    let zeros = match entry.protocol() {
        Protocol::GRE => Some(["srckey", "dstkey"].map(|name| (name, "0x0"))),
        Protocol::TCP | Protocol::UDP | Protocol::UDPLITE | Protocol::SCTP | Protocol::DCCP => {
            Some(["sport", "dport"].map(|name| (name, "0")))
        }
        _ => None,
    };
    if let (true, Some([src, dst])) = (untracked, zeros) {
        match format {
            Format::Xml => {
                let ports = format!(
                    "<{0}>{1}</{0}><{2}>{3}</{2}></layer4>",
                    src.0, src.1, dst.0, dst.1
                );
                text = text.replace("</layer4>", &ports);
            }
            Format::Save => {}
            _ => {
                let ports = format!(" {}={} {}={}", src.0, src.1, dst.0, dst.1);
                for (at, _) in ours.rmatch_indices(" dst=") {
                    let word = ours[at + 1..].find(' ').unwrap_or(ours.len() - at - 1);
                    text.insert_str(at + 1 + word, &ports);
                }
            }
        }
    }
    // In XML it names states of SCTP and DCCP after those of TCP that have the same numbers.
    let raw = match entry.proto_info() {
        Some(ProtoInfo::Sctp(info)) => Some((info.state.to_string(), info.state.raw())),
        Some(ProtoInfo::Dccp(info)) => Some((info.state.to_string(), info.state.raw())),
        _ => None,
    };
    if let (Format::Xml, Some((name, raw))) = (format, raw) {
        let (name, wrong) = (
            format!("<state>{name}</state>"),
            format!("<state>{}</state>", TcpState::from_raw(raw)),
        );
        assert!(text.contains(&name), "{text}");
        text = text.replace(&name, &wrong);
    }
    // Its array of SCTP's states ends before the heartbeats: it prints the null pointer behind.
    if format == Format::Save && entry.protocol() == Protocol::SCTP {
        for state in [SctpState::HeartbeatSent, SctpState::HeartbeatAcked] {
            text = text.replace(&format!("--state {state}"), "--state (null)");
        }
    }
    // In XML it does not escape names, which only is XML if they have nothing to escape.
    if format == Format::Xml {
        for (escaped, c) in [
            ("lt", "<"),
            ("gt", ">"),
            ("quot", "\""),
            ("apos", "'"),
            ("amp", "&"),
        ] {
            text = text.replace(&format!("&{escaped};"), c);
        }
    }
    // Where no label has a name, it cuts off the sign of equality, in the belief that it is a comma.
    let names = LabelNames::from_text(LABELS).unwrap();
    let line = matches!(format, Format::Plain | Format::Extended);
    if let (true, true, Some(set)) = (labels, line, entry.labels()) {
        if set.iter().all(|number| names.name(number).is_none()) {
            text.push_str(" labels");
        }
    }
    text
}

/// Takes the number at a place out of a text, and leaves an asterisk.
fn take_number(text: &mut String, at: usize) -> u64 {
    let digits = text[at..].bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[at..at + digits].parse().unwrap();
    // As it is written, no other way.
    assert_eq!(text[at..at + digits], number.to_string());
    text.replace_range(at..at + digits, "*");
    number
}

fn take_number_after(text: &mut String, before: &str) -> Option<u64> {
    let at = text.find(before)? + before.len();
    Some(take_number(text, at))
}

/// A text without what runs on between two commands, and that: the time-out and the age.
fn still(format: Format, text: &str) -> (String, [Option<u64>; 2]) {
    let mut text = text.to_owned();
    let moving = match format {
        Format::Xml => [
            take_number_after(&mut text, "<timeout>"),
            take_number_after(&mut text, "<deltatime>"),
        ],
        Format::Save => [take_number_after(&mut text, " -t "), None],
        _ => {
            // A name in eight columns and a number, once or twice; then the time-out, if there is one.
            let behind = |at: usize| at + 9 + text[at + 9..].find(' ').unwrap() + 1;
            let at = match format {
                Format::Extended => behind(behind(0)),
                _ => behind(0),
            };
            let has_timeout = text[at..].starts_with(|c: char| c.is_ascii_digit());
            [
                has_timeout.then(|| take_number(&mut text, at)),
                take_number_after(&mut text, " delta-time="),
            ]
        }
    };
    (text, moving)
}

/// Ours, as a list shows it now: what does not move, and what does.
fn shown(
    ct: &Conntrack,
    filter: &Filter,
    format: Format,
    options: impl Fn(EntryDisplay<'_>) -> String,
    labels: bool,
) -> Vec<(String, [Option<u64>; 2])> {
    let mut shown: Vec<_> = listed(ct, filter)
        .iter()
        .map(|entry| {
            let ours = options(entry.display(format).utc_offset(|_| AHEAD));
            assert_eq!(ours.lines().count(), 1, "{ours}");
            still(format, &as_conntrack(entry, format, labels, &ours))
        })
        .collect();
    shown.sort();
    shown
}

fn between(low: Option<u64>, high: Option<u64>) -> RangeInclusive<u64> {
    low.unwrap()..=high.unwrap()
}

/// One way to print a table: conntrack's options, and ours.
#[track_caller]
fn compare(
    ct: &Conntrack,
    arguments: &[&str],
    filter: &Filter,
    format: Format,
    options: impl Fn(EntryDisplay<'_>) -> String,
) -> String {
    let labels = arguments.iter().any(|words| words.contains("labels"));
    let before = shown(ct, filter, format, &options, labels);
    let printed = conntrack(&[&["-L"], arguments].concat());
    let after = shown(ct, filter, format, &options, labels);
    // For an empty table it prints no document at all.
    let lines = if format == Format::Xml && !before.is_empty() {
        let lines = printed.strip_prefix(format.header()).unwrap();
        lines.strip_suffix(format.footer()).unwrap()
    } else {
        &printed
    };
    let mut theirs: Vec<_> = lines.lines().map(|line| still(format, line)).collect();
    theirs.sort();
    let texts = |all: &[(String, [Option<u64>; 2])]| -> Vec<String> {
        all.iter().map(|(text, _)| text.clone()).collect()
    };
    let (ours, theirs_text) = (texts(&before), texts(&theirs));
    assert_eq!(ours, texts(&after), "the table changed meanwhile");
    for (ours, theirs) in ours.iter().zip(&theirs_text) {
        assert_eq!(ours, theirs, "{arguments:?}");
    }
    assert_eq!(ours.len(), theirs.len(), "{arguments:?}");
    for ((before, theirs), after) in before.iter().zip(&theirs).zip(&after) {
        let ([timeout, age], text) = (theirs.1, &theirs.0);
        assert_eq!(timeout.is_some(), before.1[0].is_some(), "{text}");
        if let Some(timeout) = timeout {
            let range = between(after.1[0], before.1[0]);
            assert!(range.contains(&timeout), "{timeout} {range:?}: {text}");
        }
        assert_eq!(age.is_some(), before.1[1].is_some(), "{text}");
        if let Some(age) = age {
            // time(2) has the clock of the last tick.
            let range = between(before.1[1].map(|age| age.saturating_sub(1)), after.1[1]);
            assert!(range.contains(&age), "{age} {range:?}: {text}");
        }
    }
    printed
}

/// Compares all of a table in every format with what conntrack prints, byte for byte but for what
/// runs on meanwhile (time-outs and ages), which must lie between what we see before and after.
#[track_caller]
pub(crate) fn compare_with_conntrack(ct: &Conntrack) {
    let names = LabelNames::from_text(LABELS).unwrap();
    let all = Filter::new();
    let plain = |shown: EntryDisplay<'_>| shown.to_string();
    compare(ct, &[], &all, Format::Plain, plain);
    for (family, name) in [(Family::Ipv4, "ipv4"), (Family::Ipv6, "ipv6")] {
        let filter = Filter::new().family(family);
        for (words, format) in [
            ("extended", Format::Extended),
            ("xml", Format::Xml),
            ("save", Format::Save),
        ] {
            compare(ct, &["-f", name, "-o", words], &filter, format, plain);
        }
    }
    let id = |shown: EntryDisplay<'_>| shown.id(true).to_string();
    let stamps = |shown: EntryDisplay<'_>| shown.timestamps(true).to_string();
    let labels = |shown: EntryDisplay<'_>| shown.labels(&names).to_string();
    let everything = |shown: EntryDisplay<'_>| {
        let shown = shown.id(true).timestamps(true).labels(&names);
        // A list was heard of at no moment.
        shown.heard(SystemTime::now()).to_string()
    };
    compare(ct, &["-o", "id"], &all, Format::Plain, id);
    compare(ct, &["-o", "ktimestamp"], &all, Format::Plain, stamps);
    compare(ct, &["-o", "labels"], &all, Format::Plain, labels);
    compare(ct, &["-o", "extended,id"], &all, Format::Extended, id);
    compare(ct, &["-o", "xml,id"], &all, Format::Xml, id);
    compare(ct, &["-o", "xml,labels"], &all, Format::Xml, labels);
    let words = "timestamp,id,ktimestamp,labels";
    let line = format!("extended,{words}");
    compare(ct, &["-o", &line], &all, Format::Extended, everything);
    let element = format!("xml,{words}");
    let document = compare(ct, &["-o", &element], &all, Format::Xml, everything);
    assert_eq!(
        document.matches("<flow>").count(),
        document.matches("</flow>").count()
    );
    let saved = compare(ct, &["-o", "save"], &all, Format::Save, everything);
    assert_eq!(saved.lines().count(), listed(ct, &all).len());
    // And every line that conntrack prints is read back to the same line, but for its age.
    for line in conntrack(&["-L", "-o", "extended,id"]).lines() {
        let entry: Entry = line.parse().unwrap();
        let mut line = line.to_owned();
        take_number_after(&mut line, " delta-time=");
        assert_eq!(format!("{entry:#}"), line.replace(" delta-time=*", ""));
    }
}
