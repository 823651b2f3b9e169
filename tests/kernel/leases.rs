//! Leases of zones: what is never handed out, what is found again, and what is kept; by many processes
//! and threads, and against a model.

mod keeper;
mod limits;
mod model;
mod occupants;
mod owners;
mod race;
mod rivals;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use ctnetlink::{
    Claim, Conntrack, Entry, Family, Filter, Instance, KernelSupport, Layer4, NewEntry, OwnerKey,
    Protocol, Status, Tuple, Zone, ZoneAllocator, ZoneAllocatorBuilder, ZoneOrder,
};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};

use crate::support::{listed, udp};

/// An upper bound only, for machines that are emulated.
const PATIENCE: Duration = Duration::from_secs(300);

/// Tells a worker from the test that starts it, and what it is to do.
const TASK: &str = "CTNETLINK_TEST_LEASES";

/// What this process is to do, if a test started it: the test runs again in it, in the namespace of
/// the thread that started it.
fn task() -> Option<String> {
    std::env::var(TASK).ok()
}

/// This program as a process of its own, in which it runs this test alone.
struct Worker {
    child: Child,
    orders: Option<ChildStdin>,
}

impl Worker {
    fn start(test: &str, task: &str) -> (Self, impl Iterator<Item = String> + Send + 'static) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(TASK, task)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let reports = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            // The harness writes lines of its own, and not always to their end.
            .filter_map(|line| Some(line.split_once('@')?.1.to_owned()));
        let orders = child.stdin.take();
        (Self { child, orders }, reports)
    }

    /// The same, with what it reports in a channel.
    fn listen(test: &str, task: &str) -> (Self, Receiver<String>) {
        let (worker, reports) = Self::start(test, task);
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            // Nobody listens any more where the test failed.
            reports
                .take_while(|line| sender.send(line.clone()).is_ok())
                .for_each(drop);
        });
        (worker, receiver)
    }

    /// Has it go on, where it waits for that.
    fn order(&mut self) {
        let mut orders = self.orders.as_ref().unwrap();
        orders.write_all(b"\n").unwrap();
    }

    /// With SIGKILL.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end, which must be a good one: else what it said is the reason.
    #[track_caller]
    fn finish(&mut self) {
        self.orders = None;
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {said}");
    }
}

/// Also where the test fails.
impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a worker says to the test that started it. It is there even if the worker is killed then.
fn report(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("@{text}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Waits for the test's order to go on.
fn await_order() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    assert_eq!(line, "\n", "the test has ended");
}

/// Nanoseconds of the clock that all processes share (`CLOCK_MONOTONIC`).
fn now() -> i64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .unwrap()
        .num_nanoseconds()
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap()
}

/// Chance that can be repeated (`SplitMix64`).
#[derive(Clone)]
struct Random(u64);

impl Random {
    /// Another one each time, unless the environment says which.
    fn seed() -> u64 {
        match std::env::var("CTNETLINK_TEST_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => Instance::random().get(),
        }
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

/// A handle as a worker has it: not all of them try out the kernel's filters first.
fn handle(proven: bool) -> Conntrack {
    let builder = Conntrack::builder().deadline(PATIENCE);
    if proven {
        builder.open().unwrap()
    } else {
        let nothing = KernelSupport::unproven();
        builder.kernel_support(nothing).open().unwrap()
    }
}

fn key(name: &str) -> OwnerKey {
    OwnerKey::named(name).unwrap()
}

/// Traffic in a zone.
fn traffic(zone: Zone) -> NewEntry {
    udp(1).zone(zone).build().unwrap()
}

const CLAIMS: Protocol = Protocol::new(253);
const SOURCE: &str = "100::6374:6e6c:7a6f:6e65";
const LEASE: &str = "100::1";
const MARKER: &str = "100::2";

fn claim_tuple(src: &str, dst: &str) -> Tuple {
    let [src, dst] = [src, dst].map(|address| address.parse().unwrap());
    Tuple::new(src, dst, Layer4::Other(CLAIMS)).unwrap()
}

/// A claim as another program would make it, by what docs/zones.md says: not by the library's means.
fn raw_claim(place: &str, zone: Zone, owner: OwnerKey, instance: Instance) -> NewEntry {
    raw_entry(place, zone, owner, instance, Status::ASSURED)
}

/// The same of a claim on trial.
fn raw_trial(zone: Zone, owner: OwnerKey) -> NewEntry {
    raw_entry(LEASE, zone, owner, Instance::random(), Status::empty())
}

fn raw_entry(
    place: &str,
    zone: Zone,
    owner: OwnerKey,
    instance: Instance,
    status: Status,
) -> NewEntry {
    let source = std::net::Ipv6Addr::from(owner.to_bytes()).to_string();
    let token = std::net::Ipv6Addr::from_bits((0x100 << 112) | u128::from(instance.get()));
    Entry::with_tuple(claim_tuple(SOURCE, place))
        .reply(claim_tuple(&source, &token.to_string()))
        .zone(zone)
        .status(status | Status::SEEN_REPLY | Status::CONFIRMED)
        .timeout(Duration::from_secs(300))
        .build()
        .unwrap()
}

/// All entries that claims are made of, also those that are not claims of zones.
fn claim_entries(ct: &Conntrack) -> Vec<Entry> {
    listed(ct, &Filter::new().family(Family::Ipv6).protocol(CLAIMS))
}

/// The claims among them, the lowest zone first.
fn claims_of(entries: &[Entry]) -> Vec<Claim> {
    let mut claims: Vec<Claim> = entries.iter().filter_map(Claim::of).collect();
    claims.sort_by_key(|claim| (claim.zone(), claim.kind()));
    claims
}

/// The claims in the kernel's table.
fn claims(ct: &Conntrack) -> Vec<Claim> {
    claims_of(&claim_entries(ct))
}

/// Predictable: the lowest free zone of a small range.
pub(crate) fn lowest(range: std::ops::RangeInclusive<u16>) -> ZoneAllocatorBuilder {
    ZoneAllocator::builder()
        .range(range)
        .order(ZoneOrder::Lowest)
        .patience(Duration::from_secs(60))
}

pub(crate) fn zone(number: u16) -> Zone {
    Zone::new(number)
}

/// The zones that are claimed, and by how many claims in all.
pub(crate) fn claimed(ct: &Conntrack) -> (Vec<u16>, usize) {
    let zones = lowest(1..=1).open(ct).unwrap();
    let claims = zones.claims().unwrap();
    let mut numbers: Vec<u16> = claims.iter().map(|claim| claim.zone().get()).collect();
    numbers.dedup();
    (numbers, claims.len())
}
