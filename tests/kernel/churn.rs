//! Lists and deletions of a table that changes meanwhile.

#![expect(
    clippy::print_stdout,
    reason = "how fast it changed, for who asks with --nocapture"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ctnetlink::{Completeness, DeleteOptions, EntryZone, Filter, NewEntry, Zone};
use nix::sched::{CloneFlags, setns};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::deleting::{ids, named, net};
use crate::support::{assert_flows, listed, open, own_namespace, udp, unproven};

const FIVE: Zone = Zone::new(5);

/// Calls `work` until it is stopped, and stops the others where it panics.
fn meanwhile<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    stop: &'scope AtomicBool,
    mut work: impl FnMut() + Send + 'scope,
) {
    scope.spawn(move || {
        let _stop = Stop(stop);
        while !stop.load(Ordering::Relaxed) {
            work();
        }
    });
}

/// Ends the writers also where an assertion fails, which would wait for them for ever, and the test
/// where a writer's does.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn entries_that_come_back_are_told() {
    let ct = open();
    let kept = udp(9).zone(Zone::new(6)).build().unwrap();
    ct.create(&kept).unwrap();
    let again: Vec<_> = (0..200)
        .map(|n| udp(n).zone(FIVE).build().unwrap())
        .collect();
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        meanwhile(scope, &stop, || {
            let _ = ct.create_many(&again);
            rounds.fetch_add(1, Ordering::Relaxed);
        });
        let filter = Filter::new().zone(FIVE);
        let mut left = false;
        let until = Instant::now() + Duration::from_secs(20);
        while !left && Instant::now() < until {
            assert!(!stop.load(Ordering::Relaxed), "a writer ended");
            let deleted = ct
                .delete_matching_with(&filter, &DeleteOptions::new().verify(2))
                .unwrap();
            assert!(deleted.stopped.is_none() && deleted.failed.is_empty());
            assert_eq!(deleted.is_clean(), !deleted.left);
            left = deleted.left;
        }
        assert!(left, "{} rounds", rounds.load(Ordering::Relaxed));
    });
    let sixth = listed(&ct, &Filter::new().zone(Zone::new(6)));
    assert_flows(&sixth, [&kept]);
}

/// So many as 50,000 a second are in two seconds, in whatever time the machine takes for them.
const CHANGES: usize = 100_000;
/// What a writer changes before it counts.
const CHUNK: usize = 100;
const SAFE: Zone = Zone::new(30);

/// Two writers create and delete as fast as they can, from before the first deletion until after the
/// last, and so much is changed while deletions run, not only between them. One writes where the
/// deletions delete, the other, with the same mark, in a zone that they have to leave alone.
#[test]
fn churn_costs_no_bystander_and_no_list_an_entry() {
    let ct = open();
    let plain = unproven();
    let bystanders: Vec<_> = (0..2000_u16)
        .map(|n| {
            let zone = [0, 1, 4, 6, u16::MAX][usize::from(n) % 5];
            udp(n).zone(Zone::new(zone)).mark(7).build().unwrap()
        })
        .collect();
    // These have the mark that deletions ask for, and are in a protected zone in some direction.
    let protected: Vec<_> = (2000..3000_u16)
        .map(|n| {
            let zone = match n % 5 {
                0 => EntryZone::default(),
                1 => EntryZone::Orig(SAFE),
                2 => EntryZone::Reply(SAFE),
                // Its other direction is in zone 0.
                3 => EntryZone::Orig(Zone::new(40)),
                _ => EntryZone::Both(SAFE),
            };
            udp(n).zone(zone).mark(8).build().unwrap()
        })
        .collect();
    assert!(ct.create_many(&bystanders).is_ok());
    assert!(ct.create_many(&protected).is_ok());
    let before = ids(&ct);
    let churn = |of: u16, zone: Zone| -> Vec<NewEntry> {
        let new = |n| udp(20_000 + of * 2000 + n).zone(zone).mark(8).build();
        (0..1500).map(|n| new(n).unwrap()).collect()
    };
    let (goners, safe) = (churn(0, FIVE), churn(1, SAFE));
    let (stop, changes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let count = |changed| {
        changes.fetch_add(changed, Ordering::Relaxed);
    };
    let (mut during, mut running) = (0, Duration::ZERO);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        meanwhile(scope, &stop, || {
            for some in goners.chunks(CHUNK) {
                count(ct.create_many(some).succeeded());
            }
            for some in goners.chunks(CHUNK) {
                count(ct.delete_many(some.iter().step_by(2)).succeeded());
            }
        });
        meanwhile(scope, &stop, || {
            for some in safe.chunks(CHUNK) {
                // What is there when it was created, and then is deleted, nobody else deleted.
                assert!(ct.create_many(some).is_ok());
                count(some.len());
                assert!(ct.delete_many(some).is_ok());
                count(some.len());
            }
        });
        let five = || Filter::new().zone(FIVE);
        let marked = || Filter::new().mark(8);
        let none = DeleteOptions::new;
        let spare = || none().protect([Zone::DEFAULT, SAFE]);
        let (mut rounds, until) = (0, Instant::now() + Duration::from_secs(300));
        while rounds < 3 || during < CHANGES {
            assert!(!stop.load(Ordering::Relaxed), "a writer ended");
            assert!(Instant::now() < until, "{rounds} {during}");
            rounds += 1;
            for (handle, filter, options) in [
                (&ct, five(), none()),
                (&plain, five(), none()),
                (&plain, marked(), spare()),
                (&ct, marked().orig_src(net("10.0.0.0/8")), spare().verify(1)),
            ] {
                let (since, already) = (Instant::now(), changes.load(Ordering::Relaxed));
                let deleted = handle.delete_matching_with(&filter, &options).unwrap();
                running += since.elapsed();
                // What was begun before it is not counted.
                let changed = changes.load(Ordering::Relaxed) - already;
                during += changed.saturating_sub(2 * CHUNK);
                assert!(deleted.stopped.is_none(), "{deleted:?}");
                assert!(
                    deleted.failed.is_empty() && deleted.busy == 0,
                    "{deleted:?}"
                );
                if let (Some(matched), Some(gone)) = (deleted.matched, deleted.deleted) {
                    assert_eq!(matched, gone + deleted.already_gone);
                }
            }
            for handle in [&ct, &plain] {
                let mut seen: Vec<_> = handle
                    .list(&Filter::new().mark(7))
                    .unwrap()
                    .exact()
                    .map(|entry| format!("{:?}", entry.unwrap().key().with_id(0)))
                    .collect();
                // Each that was there all the time, once. Not by id: two may have the same.
                seen.sort_unstable();
                assert_eq!(seen.len(), bystanders.len());
                seen.dedup();
                assert_eq!(seen.len(), bystanders.len());
            }
        }
    });
    println!("{during} changes in {running:?} of deletions");
    let spare = DeleteOptions::new().protect([Zone::DEFAULT, SAFE]);
    let rest = ct.delete_matching_with(&Filter::new().mark(8), &spare);
    assert!(rest.unwrap().is_clean());
    assert_eq!(ids(&ct), before);
}

/// Moves this thread to the first namespace, which alone may resize the hash table.
fn enter_first() {
    let first = std::fs::File::open("/proc/1/ns/net").unwrap();
    setns(first, CloneFlags::CLONE_NEWNET).unwrap();
}

/// Resizes the hash table, which all namespaces share, to and fro.
fn resize(buckets: u32) {
    let file = "/proc/sys/net/netfilter/nf_conntrack_buckets";
    std::fs::write(file, buckets.to_string()).unwrap();
}

/// The kernel goes on at another place after a resize, and does not say so.
#[test]
#[ignore = "resizes the hash table of the whole machine: tests/kernels/run.sh runs it in machines of its own"]
fn a_resize_costs_no_bystander_and_no_list_claims_to_be_whole() {
    let ct = open();
    let plain = unproven();
    let safe: Vec<_> = (0..1000_u16)
        .map(|n| {
            let zone = [0, 1, 4, 6, u16::MAX][usize::from(n) % 5];
            udp(n).zone(Zone::new(zone)).mark(7).build().unwrap()
        })
        .collect();
    let goners: Vec<_> = (10_000..11_000)
        .map(|n| udp(n).zone(FIVE).mark(8).build().unwrap())
        .collect();
    assert!(ct.create_many(&safe).is_ok());
    let before = ids(&ct);
    let (stop, resizes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut missed, mut doubled) = (0, 0);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            let _stop = Stop(&stop);
            enter_first();
            for buckets in [4096, 16_384].into_iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                resize(buckets);
                resizes.fetch_add(1, Ordering::Relaxed);
            }
            resize(8192);
        });
        let (mut rounds, until) = (0, Instant::now() + Duration::from_secs(200));
        while rounds < 10 || resizes.load(Ordering::Relaxed) < 30 {
            assert!(!stop.load(Ordering::Relaxed), "nobody resizes any more");
            assert!(Instant::now() < until, "{rounds} {resizes:?}");
            rounds += 1;
            let mut list = ct.list(&Filter::new()).unwrap();
            let all: Vec<_> = list.by_ref().map(Result::unwrap).collect();
            let mut seen: Vec<_> = named(&all).collect();
            let completeness = list.completeness();
            seen.sort_unstable();
            seen.dedup();
            doubled += all.len() - seen.len();
            missed += before.len() - seen.len();
            // Nothing is invented, and nothing is said to be whole.
            assert!(seen.iter().all(|(name, id)| before[name] == *id));
            assert_ne!(completeness, Completeness::Complete);
            let exact = ct.list(&Filter::new()).unwrap().exact();
            let exact: Vec<_> = exact.map(Result::unwrap).collect();
            let mut once: Vec<_> = named(&exact).collect();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), exact.len());
            for handle in [&ct, &plain] {
                assert!(ct.create_many(&goners).is_ok());
                let mut left = goners.len();
                for _ in 0..100 {
                    let deleted = handle.delete_matching(&Filter::new().zone(FIVE)).unwrap();
                    assert!(deleted.stopped.is_none() && deleted.failed.is_empty());
                    left = ct.count().unwrap().entries as usize - safe.len();
                    if left == 0 {
                        break;
                    }
                    assert_ne!(deleted.complete, Completeness::Complete);
                }
                assert_eq!(left, 0);
            }
        }
        println!(
            "{} resizes, {rounds} lists, {missed} entries missed, {doubled} listed twice",
            resizes.load(Ordering::Relaxed)
        );
    });
    assert_eq!(ids(&ct), before);
}

/// A tuple that another entry takes between the list and the deletion of one key.
#[test]
fn an_old_key_reaches_a_newcomer_only_if_that_has_the_old_id() {
    own_namespace();
    let ct = unproven();
    let old = udp(1).zone(FIVE).mark(1).build().unwrap();
    let new = udp(1).zone(FIVE).mark(2).build().unwrap();
    let mut survived = 0;
    for round in 0..200 {
        ct.create(&old).unwrap();
        let entry = ct
            .list(&Filter::new().mark(1))
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        ct.delete(&entry).unwrap();
        // Others take the old one's place in memory, from which the kernel derives ids.
        let fillers: Vec<_> = (0..round % 7)
            .map(|n| udp(100 + n).build().unwrap())
            .collect();
        assert!(ct.create_many(&fillers).is_ok());
        ct.create(&new).unwrap();
        let newcomer = ct.get(&new).unwrap();
        if newcomer.id() == entry.id() {
            // Nothing tells them apart: `Key` says so.
            ct.delete(&entry).unwrap();
            assert!(ct.get(&new).unwrap_err().is_not_found());
        } else {
            assert!(ct.delete(&entry).unwrap_err().is_not_found());
            assert_eq!(ct.get(&new).unwrap().id(), newcomer.id());
            survived += 1;
        }
        ct.flush_all().unwrap();
    }
    assert!(
        survived > 0,
        "the kernel gave every newcomer the old one's id"
    );
}

/// Does its work when the second conversation begins: in a deletion that walks the table, the one
/// that deletes what the first has met.
struct BeforeTheSecond<F> {
    work: Mutex<F>,
    conversations: AtomicU64,
}

impl<F: FnMut() + Send + 'static> Subscriber for BeforeTheSecond<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span()
    }

    // What the work does is not told, since this is a subscriber at work.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        let before = self.conversations.fetch_add(1, Ordering::Relaxed);
        if before == 1 {
            (self.work.lock().unwrap())();
        }
        Id::from_u64(before + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The kernel derives ids from the entry's place in memory, which a newcomer often takes over.
#[test]
fn a_newcomer_survives_a_deletion_that_does_not_mean_it_whatever_its_id() {
    own_namespace();
    let ct = unproven();
    let old = udp(1).zone(FIVE).mark(1).build().unwrap();
    let new = udp(1).zone(FIVE).mark(2).build().unwrap();
    let filter = Filter::new().mark(1);
    // tracing remembers of a span that another thread meets first, without a subscriber, that nobody
    // wants it, until the next subscriber comes.
    ct.create(&old).unwrap();
    assert!(ct.delete_matching(&filter).unwrap().is_clean());
    let (mut same, mut swaps) = (0, 0);
    for _ in 0..40 {
        ct.create(&old).unwrap();
        let id = ct.get(&old).unwrap().id();
        let (other, gone, comes) = (ct.clone(), old.clone(), new.clone());
        let swapped = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&swapped);
        let work = move || {
            other.delete(&gone).unwrap();
            other.create(&comes).unwrap();
            tell.store(true, Ordering::Relaxed);
        };
        let swap = BeforeTheSecond {
            work: Mutex::new(work),
            conversations: AtomicU64::new(0),
        };
        let deleted = tracing::subscriber::with_default(swap, || ct.delete_matching(&filter));
        let deleted = deleted.unwrap();
        // Now and then tracing passes over a subscriber while other threads come with theirs.
        if !swapped.load(Ordering::Relaxed) {
            assert_eq!((deleted.matched, deleted.deleted), (Some(1), Some(1)));
            continue;
        }
        swaps += 1;
        assert_eq!((deleted.matched, deleted.deleted), (Some(1), Some(0)));
        assert_eq!(deleted.already_gone, 1);
        same += usize::from(ct.get(&new).unwrap().id() == id);
        ct.delete(&new).unwrap();
    }
    println!("{same} of {swaps} newcomers had the old one's id");
    assert!(swaps > 20 && same > 0, "{swaps} {same}");
}

/// A walk in one piece takes the table's lock bucket by bucket, and a resize passes in between.
#[test]
#[ignore = "resizes the hash table of the whole machine: tests/kernels/run.sh runs it in machines of its own"]
fn a_walk_of_one_piece_that_a_resize_disturbed_does_not_claim_to_be_whole() {
    let ct = open();
    let few: Vec<_> = (0..5)
        .map(|n| udp(n).zone(FIVE).mark(1).build().unwrap())
        .collect();
    assert!(ct.create_many(&few).is_ok());
    let filter = Filter::new().zone(FIVE);
    // With protected zones it is walked.
    let walked = DeleteOptions::new().protect([Zone::MAX]);
    let stop = AtomicBool::new(false);
    let (mut lists, mut missed, mut deletions, mut left) = (0, 0, 0, 0);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            let _stop = Stop(&stop);
            enter_first();
            // Of whole pages, and none twice within a walk.
            let sizes = (0..90).flat_map(|n| [65_536 + 1024 * n, 262_144 - 1024 * n]);
            for buckets in sizes.cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                resize(buckets);
            }
            resize(8192);
        });
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until && (missed < 20 || left < 20) {
            assert!(!stop.load(Ordering::Relaxed), "nobody resizes any more");
            let mut list = ct.list(&filter).unwrap();
            lists += 1;
            if list.by_ref().map(Result::unwrap).count() < few.len() {
                missed += 1;
                assert_eq!(list.completeness(), Completeness::Interrupted);
                assert!(list.is_incomplete());
            }
            drop(list);
            let deleted = ct.delete_matching_with(&filter, &walked).unwrap();
            deletions += 1;
            if ct.count().unwrap().entries > 0 {
                left += 1;
                // An entry that was met is not always found again.
                let whole = deleted.complete == Completeness::Complete;
                assert!(!whole || deleted.already_gone > 0, "{deleted:?}");
            }
            let _ = ct.create_many(&few);
        }
    });
    println!("{missed} of {lists} lists missed some, {left} of {deletions} deletions left some");
}
