//! Counting, and watching.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use ctnetlink::{Conntrack, Entry, NewEntry, Status, TcpState, Zone};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prometheus_parse::{Scrape, Value as Sample};
use serde_json::{Value, json};

use crate::support::{Outcome, Scratch, command, ctnl, done, open, udp};

fn tcp(port: u16, zone: u16, state: TcpState) -> NewEntry {
    let from = std::net::SocketAddr::from(([10, 0, 0, 1], port));
    let to = std::net::SocketAddr::from(([10, 0, 0, 2], 443));
    let entry = Entry::tcp(from, to).zone(Zone::new(zone)).state(state);
    entry.timeout(Duration::from_secs(10_000)).build().unwrap()
}

/// Three zones, two families, some states.
fn fill(ct: &Conntrack) {
    for port in 0..5 {
        ct.create(&tcp(port, 5, TcpState::Established)).unwrap();
    }
    ct.create(&tcp(9, 5, TcpState::SynSent)).unwrap();
    for port in 0..3 {
        ct.create(&udp(port, 0)).unwrap();
    }
    let six = "[2001:db8::1]:1".parse().unwrap();
    let six = Entry::udp(six, "[2001:db8::2]:2".parse().unwrap());
    let six = six.status(Status::SEEN_REPLY | Status::ASSURED);
    let six = six
        .zone(Zone::new(300))
        .timeout(Duration::from_secs(10_000));
    ct.create(&six.build().unwrap()).unwrap();
}

#[test]
fn entries_are_counted_by_what_is_asked_for() {
    let ct = open();
    fill(&ct);
    let groups = |line: &str| {
        let all: Vec<Value> = done(line).json();
        assert_eq!(all[0]["malformed"], 0);
        all[0]["groups"].clone()
    };
    let expected = json!([
        {"zone": 0, "protocol": "udp", "state": "UNREPLIED", "entries": 3},
        {"zone": 5, "protocol": "tcp", "state": "SYN_SENT", "entries": 1},
        {"zone": 5, "protocol": "tcp", "state": "ESTABLISHED", "entries": 5},
        {"zone": 300, "protocol": "udp", "state": "ASSURED", "entries": 1},
    ]);
    assert_eq!(groups("stats -o json"), expected);
    let families = json!([{"family": "ipv4", "entries": 9}, {"family": "ipv6", "entries": 1}]);
    assert_eq!(groups("stats -o json --by family"), families);
    let most = json!([{"zone": 5, "entries": 6}]);
    assert_eq!(groups("stats -o json --by zone --top 1"), most);
    let filtered = json!([{"state": "ESTABLISHED", "entries": 5}]);
    let line = "stats -o json --by state --filter state=ESTABLISHED";
    assert_eq!(groups(line), filtered);
    let table = done("stats --by protocol").out;
    let text = "PROTOCOL  ENTRIES\ntcp             6\nudp             4\n10 entries\n";
    assert_eq!(table, text);
    for bad in [
        "stats --by colour",
        "stats --filter x=1",
        "stats --times 3",
        "stats --watch 0",
        "stats --watch 1 -o prometheus",
        "stats --top 1 -o prometheus",
    ] {
        assert_eq!(ctnl(bad).status, 2, "{bad}");
    }
}

fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    let scrape = Scrape::parse(lines).unwrap();
    let sample = scrape.samples.iter().find(|sample| {
        let has = |(label, text): &(&str, &str)| sample.labels.get(label) == Some(*text);
        sample.metric == name && labels.iter().all(has)
    });
    match sample.unwrap_or_else(|| panic!("no {name}: {text}")).value {
        Sample::Gauge(value) | Sample::Counter(value) => value,
        ref other => panic!("{name}: {other:?}"),
    }
}

#[test]
#[allow(clippy::float_cmp, reason = "whole numbers")]
fn prometheus_reads_the_counts() {
    let ct = open();
    fill(&ct);
    let text = done("stats -o prometheus").out;
    let established = [("zone", "5"), ("state", "ESTABLISHED")];
    assert_eq!(value(&text, "ctnl_entries", &established), 5.0);
    assert_eq!(value(&text, "ctnl_table_entries", &[]), 10.0);
    assert!(value(&text, "ctnl_drop_total", &[("cpu", "0")]) >= 0.0);

    let scratch = Scratch::new("prometheus");
    let path = scratch.0.join("ctnl.prom");
    let line = format!(
        "stats -o prometheus --by zone --output-file {}",
        path.display()
    );
    let silent = done(&line);
    assert_eq!((&*silent.out, &*silent.err), ("", ""));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(value(&text, "ctnl_entries", &[("zone", "5")]), 6.0);
    // A node exporter is another user.
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o444, 0o444, "{mode:o}");
    let left: Vec<_> = fs::read_dir(&scratch.0).unwrap().collect();
    assert_eq!(left.len(), 1, "a draft was left: {left:?}");
    let missing = ctnl("stats -o prometheus --output-file /nonexistent/x.prom");
    assert_eq!(missing.status, 7, "{missing:?}");
    assert_eq!(ctnl("stats --output-file x").status, 2);
}

#[test]
fn a_watch_tells_what_happens() {
    let ct = open();
    let mut child = command("stats --watch 1 -o json --filter zone=5".split(' '))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut moment = || {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    // The first one proves that it listens.
    let first = moment();
    assert_eq!((&first["new"], &first["entries"]), (&0.into(), &0.into()));
    for port in 0..20 {
        ct.create(&udp(port, 5)).unwrap();
        ct.create(&udp(port, 6)).unwrap();
    }
    for port in 0..7 {
        ct.delete(&udp(port, 5)).unwrap();
    }
    let (mut new, mut destroyed) = (0, 0);
    while new < 20 || destroyed < 7 {
        let moment = moment();
        new += moment["new"].as_u64().unwrap();
        destroyed += moment["destroyed"].as_u64().unwrap();
        assert_eq!(moment["overruns"], 0);
    }
    assert_eq!((new, destroyed), (20, 7));
    // An interruption is an end, with the counts so far.
    kill(
        Pid::from_raw(child.id().try_into().unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    drop(out);
    let outcome: Outcome = child.wait_with_output().unwrap().into();
    assert_eq!(outcome.status, 0, "{outcome:?}");
}

#[test]
fn a_watch_ends_by_itself_or_by_a_signal_with_its_counts() {
    let ct = open();
    let table = done("stats --watch 1s --times 2");
    assert_eq!(table.out.lines().count(), 3, "{table:?}");
    assert!(
        table.err.contains("0 new and 0 destroyed in 2."),
        "{table:?}"
    );

    let mut child = command(["stats", "--watch", "1h"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The heading proves that it listens.
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut heading = String::new();
    out.read_line(&mut heading).unwrap();
    for port in 0..9 {
        ct.create(&udp(port, 5)).unwrap();
    }
    kill(
        Pid::from_raw(child.id().try_into().unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    assert_eq!(out.lines().count(), 1);
    let outcome: Outcome = child.wait_with_output().unwrap().into();
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert!(outcome.err.contains("9 new and 0 destroyed"), "{outcome:?}");
}

#[test]
#[allow(clippy::float_cmp, reason = "whole numbers")]
fn a_watch_for_prometheus_counts_on() {
    let ct = open();
    let scratch = Scratch::new("watch");
    let path = scratch.0.join("ctnl.prom");
    let line = format!(
        "stats --watch 1 -o prometheus --by zone --output-file {}",
        path.display()
    );
    let child = command(line.split(' '))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let events = |event: &str| {
        let text = fs::read_to_string(&path).ok()?;
        Some(value(&text, "ctnl_events_total", &[("event", event)]))
    };
    crate::support::until("the first file", || events("new").is_some());
    for port in 0..4 {
        ct.create(&udp(port, 5)).unwrap();
        ct.delete(&udp(port, 5)).unwrap();
    }
    crate::support::until("all events", || {
        (events("new"), events("destroy")) == (Some(4.0), Some(4.0))
    });
    kill(
        Pid::from_raw(child.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    let outcome: Outcome = child.wait_with_output().unwrap().into();
    assert_eq!((outcome.status, &*outcome.err), (0, ""));
}
