//! Looking at zones.

use std::process::{Command, Stdio};

use ctnetlink::{Conntrack, Zone, ZoneAllocator, ZoneUse};
use serde_json::Value;

use crate::support::{Outcome, claims, command, ctnl, done, open, udp, unread, until};

#[test]
fn a_scan_is_what_the_library_finds() {
    let ct = open();
    for (port, zone) in [(1, 5), (2, 5), (1, 300), (1, 0)] {
        ct.create(&udp(port, zone)).unwrap();
    }
    done("zone acquire a --range 10-20");
    let zones = ZoneAllocator::builder().open(&ct).unwrap();
    let expected: Vec<ZoneUse> = zones.scan().unwrap().used().collect();
    let scanned: Vec<ZoneUse> = done("zone scan -o json").json();
    let essence = |used: &[ZoneUse]| -> Vec<_> {
        let one = |used: &ZoneUse| {
            (
                used.zone,
                used.ipv4,
                used.lease().map(ctnetlink::Claim::owner),
            )
        };
        used.iter().map(one).collect()
    };
    assert_eq!(essence(&scanned), essence(&expected));
    assert_eq!(scanned.len(), 4);
    let some: Vec<ZoneUse> = done("zone scan -o json --range 5-10").json();
    let numbers: Vec<u16> = some.iter().map(|used| used.zone.get()).collect();
    assert_eq!(numbers, [5, 10]);
    let table = done("zone scan --reserve 7").out;
    let states: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().take(3).collect())
        .collect();
    assert_eq!(states[0], ["ZONE", "STATE", "IPV4"]);
    assert_eq!(states[2], ["5", "occupied", "2"]);
    assert_eq!(states[3], ["7", "reserved", "0"]);
    assert_eq!(states[4], ["10", "leased", "0"]);
}

#[test]
fn who_uses_a_zone() {
    let ct = open();
    ct.create(&udp(1, 5)).unwrap();
    assert_eq!(done("zone who 5").out, "zone 5: 1 IPv4 entry\n");
    let free = ctnl("zone who 6 7");
    assert_eq!(
        (free.status, &*free.out),
        (1, "zone 6: free\nzone 7: free\n")
    );
    let used: Vec<ZoneUse> = done("zone who 6 5 -o json").json();
    assert!(used[0].is_free() && used[1].zone == Zone::new(5));
    for bad in ["zone who", "zone who 65536", "zone who -1", "zone who x"] {
        assert_eq!(ctnl(bad).status, 2, "{bad}");
    }
}

#[test]
fn rules_whose_zones_are_not_known_are_told() {
    let _ct = open();
    let rules = "table inet t { chain c { ct zone set 9; ct original zone set meta cpu; }; }";
    assert!(Command::new("nft").arg(rules).status().unwrap().success());
    let scan = done("zone scan");
    assert!(scan.out.contains("ruled"), "{scan:?}");
    assert!(
        scan.out.contains("set by nftables inet t c handle"),
        "{scan:?}"
    );
    assert!(scan.err.contains("only packets tell"), "{scan:?}");
}

#[test]
fn a_map_shows_them_all() {
    let ct = open();
    ct.create(&udp(1, 5)).unwrap();
    done("zone acquire a b c --range 4097-4200");
    let map = done("zone map").out;
    assert!(!map.contains('\x1b'), "colours in a pipe: {map}");
    assert!(map.starts_with("    0 o"), "{map}");
    assert!(map.contains(" 4096 l..."), "{map}");
    assert!(map.contains("lL     3 leased"), "{map}");
    let close = done("zone map --range 4096-4100").out;
    assert!(close.starts_with(" 4096 .LLL.\n"), "{close}");

    let json: Vec<Value> = done("zone map -o json").json();
    assert_eq!(json[0]["zones"]["leased"], 3);
    assert_eq!(json[0]["zones"]["free"], 65_536 - 5);
    let runs = json[0]["runs"].as_array().unwrap();
    let leased: Vec<&Value> = runs.iter().filter(|run| run["kind"] == "leased").collect();
    assert_eq!(
        (&leased[0]["first"], &leased[0]["last"]),
        (&4097.into(), &4099.into())
    );

    let svg = done("zone map -o svg").out;
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert!(
        svg.contains("<title>zones 4097 to 4099: leased</title>"),
        "{svg}"
    );
}

/// `script` is util-linux's: it gives a command a terminal.
#[test]
fn colours_on_a_terminal_alone_and_where_they_are_wanted() {
    let _ct = open();
    let on_terminal = |environment: &[(&str, &str)]| {
        let line = format!("{} zone map", env!("CARGO_BIN_EXE_ctnl"));
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]);
        script.env_remove("NO_COLOR").env("TERM", "xterm");
        script.envs(environment.iter().copied());
        let output = script.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("reserved"), "{text}");
        text.contains("\x1b[")
    };
    assert!(on_terminal(&[]));
    assert!(on_terminal(&[("NO_COLOR", "")]));
    assert!(!on_terminal(&[("NO_COLOR", "1")]));
    assert!(!on_terminal(&[("TERM", "dumb")]));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let _ct = open();
    for line in [
        "zone map",
        "zone map -o svg",
        "zone scan",
        "zone list",
        "doctor --no-probe",
        "stats",
        "stats --watch 1",
        "stats -o prometheus",
        "man",
        "completions bash",
        "--help",
    ] {
        let outcome = unread(line);
        assert_eq!((outcome.status, &*outcome.err), (0, ""), "{line}");
    }
}

/// A process in a namespace of its own, which ends with this.
struct Elsewhere(std::process::Child);

impl Elsewhere {
    fn start() -> Self {
        let mut unshare = Command::new("unshare");
        let child = unshare.args(["-n", "sleep", "1000"]).spawn().unwrap();
        let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let own = std::fs::read_link("/proc/thread-self/ns/net").ok();
        until("a namespace", || namespace(child.id()) != own);
        Self(child)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn another_namespace() {
    let ct = open();
    let other = Elsewhere::start();
    let pid = other.0.id();
    let there = Conntrack::builder().netns_pid(pid).open().unwrap();
    there.create(&udp(1, 5)).unwrap();
    // Wherever the option stands.
    for line in [
        format!("--netns {pid} zone who 5"),
        format!("zone --netns=/proc/{pid}/ns/net who 5"),
        format!("zone who 5 --netns {pid}"),
    ] {
        assert_eq!(done(&line).out, "zone 5: 1 IPv4 entry\n", "{line}");
    }
    assert_eq!(ctnl("zone who 5").status, 1);
    done(&format!("zone acquire a --netns {pid} --range 10-20"));
    assert_eq!((claims(&ct).len(), claims(&there).len()), (0, 1));
    let text = done(&format!("stats -o prometheus --netns {pid}")).out;
    assert!(
        text.contains(&format!("ctnl_table_entries{{netns=\"{pid}\"}} 2\n")),
        "{text}"
    );
    let missing = ctnl("zone scan --netns ctnl-test-no-such-namespace");
    assert_eq!(missing.status, 7, "{missing:?}");
}

/// As agents of one host do that start at once.
#[test]
fn many_processes_and_few_owners() {
    let ct = open();
    let line = "zone acquire a b c d e --range 10-20 -o json";
    let start = |_| {
        command(line.split(' '))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let processes: Vec<_> = (0..6).map(start).collect();
    let mut zones = std::collections::BTreeSet::new();
    for process in processes {
        let outcome: Outcome = process.wait_with_output().unwrap().into();
        assert_eq!(outcome.status, 0, "{outcome:?}");
        for lease in outcome.json::<Value>() {
            zones.insert((lease["name"].to_string(), lease["zone"].as_u64()));
        }
    }
    // Each owner has one zone, whichever process is told.
    assert_eq!(zones.len(), 5, "{zones:?}");
    assert_eq!(claims(&ct).len(), 5);
}
