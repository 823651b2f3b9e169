//! A lease that is held while a command runs.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use ctnetlink::{Conntrack, OwnerKey, ZoneAllocator};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Outcome, claims, command, ctnl, open, udp, until};

/// `ctnl zone acquire OPTIONS --exec bash -c SCRIPT`
fn args<'a>(options: &'a str, script: &'a str) -> impl Iterator<Item = &'a str> {
    let head = ["zone", "acquire"].into_iter();
    let tail = ["--exec", "bash", "-c", script];
    head.chain(options.split_whitespace()).chain(tail)
}

fn exec(options: &str, script: &str) -> Outcome {
    command(args(options, script)).output().unwrap().into()
}

/// Started, and its command has said that it runs.
fn started(options: &str, script: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let script = format!("echo up; {script}");
    let mut child = command(args(options, &script))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    (child, out)
}

fn ended(child: Child, mut out: BufReader<std::process::ChildStdout>) -> Outcome {
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut out, &mut rest).unwrap();
    let mut outcome: Outcome = child.wait_with_output().unwrap().into();
    outcome.out = rest;
    outcome
}

fn zones(ct: &Conntrack) -> Vec<u16> {
    claims(ct).iter().map(|claim| claim.zone().get()).collect()
}

#[test]
fn the_command_knows_its_zone_and_its_status_is_passed_on() {
    let ct = open();
    let script = "echo $CTNL_ZONE $CTNL_OWNER ${#CTNL_INSTANCE}; \"$0\" zone list | wc -l; exit 7";
    let mut all: Vec<&str> = args("tap1 --range 10-20", script).collect();
    all.push(env!("CARGO_BIN_EXE_ctnl"));
    let outcome: Outcome = command(all).output().unwrap().into();
    let owner: OwnerKey = "tap1".parse().unwrap();
    assert_eq!(outcome.out, format!("10 {owner} 16\n2\n"), "{outcome:?}");
    assert_eq!((outcome.status, &*outcome.err), (7, ""));
    assert_eq!(zones(&ct), [0_u16; 0]);
}

#[test]
fn at_the_end_the_zone_is_given_back_or_left() {
    let ct = open();
    ct.create(&udp(1, 30)).unwrap();
    let fill = |options: &str| {
        let (child, out) = started(&format!("tap1 --range 10-20 {options}"), "exec sleep 60");
        ct.create(&udp(1, 10)).unwrap();
        kill(pid(&child), Signal::SIGTERM).unwrap();
        ended(child, out)
    };
    assert_eq!(fill("").status, 128 + 15);
    assert_eq!(zones(&ct), [0_u16; 0]);
    assert!(ct.get(&udp(1, 10)).unwrap_err().is_not_found());
    assert_eq!(fill("--at-end leave").status, 128 + 15);
    assert_eq!(zones(&ct), [10]);
    assert!(ct.get(&udp(1, 10)).is_ok() && ct.get(&udp(1, 30)).is_ok());
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().unwrap())
}

#[test]
fn signals_reach_the_command() {
    let ct = open();
    let wait = "while :; do sleep 0.05; done";
    for (signal, trap) in [
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGUSR1, "USR1"),
    ] {
        let script = format!("trap 'exit 9' {trap}; echo ready; {wait}");
        let (child, mut out) = started("tap1 --range 10-20", &script);
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        kill(pid(&child), signal).unwrap();
        let outcome = ended(child, out);
        assert_eq!(outcome.status, 9, "{signal}: {outcome:?}");
        assert_eq!(zones(&ct), [0_u16; 0]);
    }
    // A terminal would send this one to both.
    let (child, out) = started("tap1 --range 10-20", "sleep 0.5; echo done");
    kill(pid(&child), Signal::SIGINT).unwrap();
    let outcome = ended(child, out);
    assert_eq!((outcome.status, &*outcome.out), (0, "done\n"));
    let killed = exec("tap1 --range 10-20", "kill -9 $$");
    assert_eq!(killed.status, 128 + 9);
}

#[test]
fn what_cannot_be_started_holds_nothing() {
    let ct = open();
    for (program, status) in [("/nonexistent/x", 127), ("/etc/passwd", 126)] {
        let outcome = ctnl(&format!(
            "zone acquire tap1 --range 10-20 --exec {program} -x --y"
        ));
        assert_eq!(outcome.status, status, "{outcome:?}");
        assert!(outcome.err.contains(program));
        assert_eq!(zones(&ct), [0_u16; 0]);
    }
    let two = ctnl("zone acquire a b --exec true");
    assert_eq!((two.status, zones(&ct)), (2, vec![]), "{two:?}");
    // No zone, no command.
    let all = ctnl("zone acquire a b --range 10-11");
    assert_eq!(all.status, 0);
    let none = exec("c --range 10-11", "echo started");
    assert_eq!((none.status, &*none.out), (1, ""), "{none:?}");
}

#[test]
fn the_lease_is_renewed_while_the_command_runs() {
    let ct = open();
    let (child, out) = started("tap1 --range 10-20 --ttl 6", "sleep 9");
    // At every moment until after its time to live.
    let over = Instant::now() + Duration::from_secs(8);
    while Instant::now() < over {
        assert_eq!(zones(&ct), [10]);
    }
    let outcome = ended(child, out);
    assert_eq!((outcome.status, &*outcome.err), (0, ""));
    assert_eq!(zones(&ct), [0_u16; 0]);
}

#[test]
fn a_flush_by_somebody_else_is_made_good() {
    let ct = open();
    let (child, out) = started("tap1 --range 10-20", "exec sleep 60");
    ct.flush_all().unwrap();
    until("the claim is put back", || zones(&ct) == [10]);
    kill(pid(&child), Signal::SIGTERM).unwrap();
    let outcome = ended(child, out);
    assert!(outcome.err.contains("which was put back"), "{outcome:?}");
    assert_eq!(zones(&ct), [0_u16; 0]);
}

#[test]
fn a_zone_that_is_lost_ends_the_command() {
    let ct = open();
    let (child, out) = started("tap1 --range 10-20", "exec sleep 60");
    let zones_of = ZoneAllocator::builder().range(10..=20).open(&ct).unwrap();
    let lease = zones_of.acquire("tap1").unwrap();
    let outcome = ended(child, out);
    assert_eq!(outcome.status, 128 + 15, "{outcome:?}");
    assert!(outcome.err.contains("zone 10 is lost: "), "{outcome:?}");
    // It is the other one's now.
    lease.renew().unwrap();

    let (child, out) = started("tap2 --range 10-20 --on-lost warn", "sleep 1");
    let second = zones_of.acquire("tap2").unwrap();
    let outcome = ended(child, out);
    // It ended well, but its zone was another's meanwhile.
    assert_eq!(outcome.status, 5, "{outcome:?}");
    second.renew().unwrap();
}

/// As a crash: the lease ends by itself, and the same owner finds its zone until then.
#[test]
fn killed_it_leaves_the_lease_to_its_end() {
    let ct = open();
    let (mut child, out) = started("tap1 --range 10-20 --ttl 6", "sleep 2");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    drop(out);
    assert_eq!(zones(&ct), [10]);
    until("the lease ends", || zones(&ct).is_empty());
}
