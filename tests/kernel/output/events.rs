//! Events of every kind, as `conntrack -E` prints them.

use std::fmt::Debug;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::process::Child;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, SystemTime};

use ctnetlink::{
    Conntrack, Entry, EntryDisplay, Event, Events, Format, LabelNames, Labels, NatRange, Update,
};

use super::oracle::{AHEAD, LABELS, as_conntrack, start};
use super::{ZONES, exchange, traffic_is_tracked};
use crate::support::{LONG, every_protocol, open, udp, v4_peer};

/// Long, for where the processor is emulated and has eight programs to serve.
const SOON: Duration = Duration::from_secs(60);

/// Of addresses that no compared event has.
const MARKER: [u8; 4] = [192, 0, 2, 1];
const LAST_MARKER: [u8; 4] = [192, 0, 2, 2];

/// `conntrack -E`, and its lines one by one.
struct Listener {
    words: &'static str,
    child: Child,
    lines: Receiver<Said>,
}

enum Said {
    Line(String),
    /// Such as that events were lost.
    Warning(String),
}

impl Listener {
    fn start(words: &'static str) -> Self {
        let mut child = start(&["-E", "-o", words]);
        let (sender, lines) = mpsc::channel();
        forward(child.stdout.take().unwrap(), sender.clone(), Said::Line);
        forward(child.stderr.take().unwrap(), sender, Said::Warning);
        Self {
            words,
            child,
            lines,
        }
    }

    /// Causes events until it has said a line, and gives that.
    fn first(&self, cause: impl Fn()) -> String {
        let mut wait = Duration::from_millis(10);
        loop {
            cause();
            match self.lines.recv_timeout(wait) {
                // Ever longer, so that those who listen already are not overrun.
                Err(RecvTimeoutError::Timeout) if wait < SOON => wait *= 2,
                said => return self.line(said, "any event"),
            }
        }
    }

    /// The next line, without the program that caused the event: events do not keep who asked.
    #[track_caller]
    fn next(&self, of: impl Debug) -> String {
        let line = self.line(self.lines.recv_timeout(SOON), of);
        match line.split_once(" [USERSPACE] portid=") {
            Some((line, _)) => line.to_owned(),
            None => line,
        }
    }

    #[track_caller]
    fn line(&self, said: Result<Said, RecvTimeoutError>, of: impl Debug) -> String {
        let error = match said {
            Ok(Said::Line(line)) => return line,
            Ok(Said::Warning(text)) => text,
            Err(error) => error.to_string(),
        };
        // What the process does, and what the namespace's sockets hold and dropped.
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        panic!(
            "{}: no line of {of:?}: {error}\n{}{}",
            self.words,
            read(&format!("/proc/{}/stat", self.child.id())),
            read("/proc/thread-self/net/netlink"),
        )
    }
}

/// Reads at once, or conntrack would wait for its reader and lose events.
fn forward(pipe: impl Read + Send + 'static, to: Sender<Said>, what: fn(String) -> Said) {
    std::thread::spawn(move || {
        let lines = BufReader::new(pipe).lines().map_while(Result::ok);
        lines.map(what).all(|said| to.send(said).is_ok())
    });
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
        let mut audience = Self {
            events: ct.events().open().unwrap(),
            names: LabelNames::from_text(LABELS).unwrap(),
            listeners: formats
                .into_iter()
                .map(|(words, format)| (format, Listener::start(words)))
                .collect(),
        };
        audience.settle(ct);
        audience
    }

    /// Returns when all hear, and have heard all until now.
    ///
    /// What `/proc/PID/fd` shows of a child does not tell that it listens: the parent goes on before
    /// the copies of its descriptors are closed (`begin_new_exec`: `exec_mmap` ends the wait of
    /// `vfork`, `do_close_on_exec` comes later), so our own socket of events passes for the child's.
    fn settle(&mut self, ct: &Conntrack) {
        let mark = |address: [u8; 4]| {
            let marker = Entry::udp((address, 1).into(), v4_peer(53)).timeout(LONG);
            let marker = marker.build().unwrap();
            ct.create(&marker).unwrap();
            ct.delete(&marker).unwrap();
        };
        for (format, listener) in &self.listeners {
            let mut line = listener.first(|| mark(MARKER));
            for header in format.header().lines() {
                assert_eq!(line, header, "{}", listener.words);
                line = listener.next("a marker");
            }
        }
        mark(LAST_MARKER);
        // It is made and deleted.
        let last = IpAddr::from(LAST_MARKER);
        for _ in 0..2 {
            for (_, listener) in &self.listeners {
                while !listener.next(last).contains(&last.to_string()) {}
            }
            let mut next = || self.events.next_within(SOON).unwrap().expect("an event");
            while next()
                .entry()
                .is_none_or(|entry| entry.orig().src() != last)
            {}
        }
    }

    /// Compares what was heard of the next so many events.
    #[track_caller]
    fn compare(&mut self, since: SystemTime, count: usize) {
        for _ in 0..count {
            let event = self.events.next_within(SOON).unwrap().expect("an event");
            for (format, listener) in &self.listeners {
                self.compare_line(&event, since, *format, listener);
            }
        }
        assert_eq!(self.events.try_next().unwrap(), None);
    }

    #[track_caller]
    fn compare_line(&self, event: &Event, since: SystemTime, format: Format, listener: &Listener) {
        let (line, words) = (listener.next(event), listener.words);
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
