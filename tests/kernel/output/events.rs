//! Events of every kind, as `conntrack -E` prints them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant, SystemTime};

use ctnetlink::{
    Conntrack, EntryDisplay, Event, Events, Format, LabelNames, Labels, NatRange, Update,
};

use super::oracle::{AHEAD, LABELS, as_conntrack, start};
use super::{ZONES, exchange, traffic_is_tracked};
use crate::support::{every_protocol, open, udp};

/// Long, for where the processor is emulated and has eight programs to serve.
const SOON: Duration = Duration::from_secs(60);

/// `conntrack -E`, and its lines one by one.
struct Listener {
    words: &'static str,
    child: Child,
    lines: Receiver<String>,
}

impl Listener {
    fn start(words: &'static str) -> Self {
        let mut child = start(&["-E", "-o", words]);
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // Read at once, or conntrack would wait for its reader and lose events.
        std::thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .all(|line| sender.send(line).is_ok())
        });
        let listener = Self {
            words,
            child,
            lines,
        };
        // It listens when its socket is a member of groups; no event tells of that.
        let deadline = Instant::now() + SOON;
        while !listener.listens() {
            assert!(Instant::now() < deadline, "conntrack -E does not listen");
            std::thread::sleep(Duration::from_millis(1));
        }
        listener
    }

    fn listens(&self) -> bool {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let open: Vec<_> = files
            .filter_map(|file| std::fs::read_link(file.unwrap().path()).ok())
            .collect();
        let table = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
        table.lines().skip(1).any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let groups = u32::from_str_radix(fields[3], 16).unwrap();
            let socket = format!("socket:[{}]", fields[9]);
            groups & 0b111 == 0b111 && open.iter().any(|file| *file == Path::new(&socket))
        })
    }

    /// The next line, without the program that caused the event: events do not keep who asked.
    #[track_caller]
    fn next(&self) -> String {
        let line = self.lines.recv_timeout(SOON);
        let line = line.unwrap_or_else(|error| panic!("{}: no line: {error}", self.words));
        match line.split_once(" [USERSPACE] portid=") {
            Some((line, _)) => line.to_owned(),
            None => line,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// All that is listening: conntrack in every format, and we.
struct Audience {
    events: Events,
    names: LabelNames,
    listeners: Vec<(Format, Listener)>,
    headers: bool,
}

impl Audience {
    fn gather(ct: &Conntrack) -> Self {
        let formats = [
            ("id", Format::Plain),
            ("timestamp,id", Format::Plain),
            ("extended,id,ktimestamp,labels", Format::Extended),
            ("xml", Format::Xml),
            ("xml,timestamp", Format::Xml),
            ("xml,id,ktimestamp,labels", Format::Xml),
            ("save", Format::Save),
        ];
        Self {
            events: ct.events().open().unwrap(),
            names: LabelNames::from_text(LABELS).unwrap(),
            listeners: formats
                .into_iter()
                .map(|(words, format)| (format, Listener::start(words)))
                .collect(),
            headers: false,
        }
    }

    /// Compares what was heard of the next so many events.
    #[track_caller]
    fn compare(&mut self, since: SystemTime, count: usize) {
        for _ in 0..count {
            let event = self.events.next_within(SOON).unwrap().expect("an event");
            for (format, listener) in &self.listeners {
                if !self.headers {
                    for header in format.header().lines() {
                        assert_eq!(listener.next(), header);
                    }
                }
                self.compare_line(&event, since, *format, listener);
            }
            self.headers = true;
        }
        assert_eq!(self.events.try_next().unwrap(), None);
    }

    #[track_caller]
    fn compare_line(&self, event: &Event, since: SystemTime, format: Format, listener: &Listener) {
        let (line, words) = (listener.next(), listener.words);
        let shown = event.display(format).unwrap().utc_offset(|_| AHEAD);
        let shown = shown.id(words.contains("id"));
        let shown = shown.timestamps(words.contains("ktimestamp"));
        let shown = if words.contains("labels") {
            shown.labels(&self.names)
        } else {
            shown
        };
        let ours = |shown: EntryDisplay<'_>| {
            as_conntrack(
                event.entry().unwrap(),
                format,
                words.contains("labels"),
                &shown.to_string(),
            )
        };
        match (words, format) {
            // It says when it heard of it, to the microsecond.
            ("timestamp,id", _) => {
                let (stamp, _) = line.split_once(']').unwrap();
                let digits = stamp.strip_prefix('[').unwrap();
                let (seconds, micros) = digits.split_once('.').unwrap();
                let at = Duration::from_secs(seconds.parse().unwrap())
                    + Duration::from_micros(micros.parse().unwrap());
                let at = SystemTime::UNIX_EPOCH + at;
                assert!(since <= at && at <= SystemTime::now(), "{line}");
                assert_eq!(line, ours(shown.heard(at)));
            }
            // And to the second.
            (words, Format::Xml) if words.contains("timestamp") && !words.contains("ktime") => {
                let second = Duration::from_secs(1);
                let mut at = since - second;
                let mut moments = std::iter::from_fn(|| {
                    at += second;
                    (at <= SystemTime::now() + second).then_some(at)
                });
                assert!(moments.any(|at| line == ours(shown.heard(at))), "{line}");
            }
            _ => assert_eq!(line, ours(shown), "{words}"),
        }
    }
}

/// All that happens to a table, in every format.
#[test]
fn events_are_shown_as_by_conntrack() {
    let ct = open();
    traffic_is_tracked();
    let mut audience = Audience::gather(&ct);
    let since = SystemTime::now();
    let change = Update::builder().mark(7).assured();
    let change = change.timeout(Duration::from_secs(500)).build().unwrap();
    for (n, zone) in (1..).zip(ZONES) {
        for entry in every_protocol(n) {
            let entry = entry.zone(zone).labels(Labels::bit(1).unwrap());
            let entry = entry.build().unwrap();
            ct.create(&entry).unwrap();
            ct.update(&entry, &change).unwrap();
            ct.delete(&entry).unwrap();
            audience.compare(since, 3);
        }
    }
    let to = NatRange::address("203.0.113.9".parse().unwrap());
    ct.create(&udp(9).nat_src(to).build().unwrap()).unwrap();
    audience.compare(since, 1);
    // Two real flows are made and answered, and end with their counters.
    let flows = ["127.0.0.1:0", "[::1]:0"].map(exchange);
    audience.compare(since, 4);
    drop(flows);
    ct.flush_all().unwrap();
    audience.compare(since, 3);
}
