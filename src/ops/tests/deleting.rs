//! Deleting by filter on kernels that get filters wrong.

use ipnet::IpNet;

use super::fake::{Fake, QUIRKS, Quirk};
use super::*;
use crate::filter::{Filter, PortRange};
use crate::model::{
    Completeness, DeleteOptions, EntryZone, Family, FilterShape, KernelFilter, Mark, Protocol,
    Status, Trial, Verdict,
};
use crate::ops::{delete_matching, list};

/// Of every condition some that meet it and some that do not.
fn population() -> Vec<NewEntry> {
    let mut all = Vec::new();
    for n in 0..64_u16 {
        let bit = |at: u16| n >> at & 1 == 1;
        let six = bit(0);
        let address = |last: u16| -> std::net::IpAddr {
            if six {
                format!("2001:db8::{last}").parse().unwrap()
            } else {
                format!("10.0.0.{last}").parse().unwrap()
            }
        };
        // A mirrored pair of each: what one sends the other answers.
        let near = SocketAddr::new(address(1 + u16::from(bit(1))), 1000 + n / 2);
        let far = SocketAddr::new(address(9), 53 + u16::from(bit(2)));
        let (src, dst) = if bit(5) { (far, near) } else { (near, far) };
        let builder = if bit(3) {
            Entry::udp(src, dst)
        } else {
            Entry::tcp(src, dst)
        };
        let zone = match n % 5 {
            0 => EntryZone::default(),
            1 => EntryZone::Orig(Zone::new(5)),
            2 => EntryZone::Both(Zone::MAX),
            _ => EntryZone::Both(Zone::new(5)),
        };
        let status = if n % 3 == 0 {
            Status::ASSURED | Status::SEEN_REPLY
        } else {
            Status::SEEN_REPLY
        };
        all.push(
            builder
                .zone(zone)
                .mark(u32::from(n % 7))
                .status(status)
                .timeout(Duration::from_secs(60))
                .build()
                .unwrap(),
        );
    }
    all
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn filters() -> Vec<Filter> {
    let new = Filter::new;
    let five = || new().zone(Zone::new(5));
    let tcp4 = || new().family(Family::Ipv4).protocol(Protocol::TCP);
    vec![
        five(),
        new().zone(Zone::DEFAULT),
        new().zone(Zone::MAX),
        new().family(Family::Ipv6),
        five().family(Family::Ipv4),
        new().mark(3),
        new().mark(0),
        new().mark(Mark::masked(1, 3).unwrap()),
        new().status(Status::ASSURED),
        new()
            .status_masked(Status::empty(), Status::ASSURED)
            .unwrap(),
        five().mark(3),
        five().status(Status::ASSURED),
        new().orig_src(net("10.0.0.1/32")),
        new().orig_dst(net("2001:db8::9/128")),
        new().reply_src(net("10.0.0.9/32")),
        new().reply_dst(net("2001:db8::2/128")),
        new().orig_src(net("10.0.0.2/31")),
        five().orig_src(net("2001:db8::1/128")),
        tcp4(),
        tcp4().orig_dst_port(53),
        tcp4().orig_src_port(PortRange::new(1000, 1010).unwrap()),
        tcp4().reply_src_port(54),
        tcp4().orig_src(net("10.0.0.1/32")).orig_dst_port(53),
        new().orig_dst_port(53),
        new().family(Family::Ipv6).orig_src(net("10.0.0.1/32")),
    ]
}

/// A kernel that did right by everything in lists when it was tried, and by nothing in flushes.
fn lists_right() -> KernelSupport {
    support(&filters(), Verdict::Right, Verdict::Unproven)
}

fn support(filters: &[Filter], dump: Verdict, flush: Verdict) -> KernelSupport {
    let trial = |filter: &Filter| Trial {
        shape: filter.kernel().shape(),
        family: filter.kernel().family,
        dump,
        flush,
    };
    KernelSupport {
        trials: filters.iter().map(trial).collect(),
        ..KernelSupport::default()
    }
}

fn lines(entries: impl IntoIterator<Item = NewEntry>) -> Vec<String> {
    let lines = entries.into_iter().map(|new| new.entry().to_string());
    lines.collect()
}

fn parted(filter: &Filter) -> (Vec<NewEntry>, Vec<NewEntry>) {
    let all = population().into_iter();
    all.partition(|new| filter.matches(new.entry()))
}

#[test]
fn a_kernel_that_is_wrong_costs_no_bystander() {
    for quirk in QUIRKS {
        for support in [KernelSupport::unproven(), lists_right()] {
            let unproven = support.trials().is_empty();
            for filter in filters() {
                let fake = Fake::new(quirk, support.clone(), &population());
                let (targets, bystanders) = parted(&filter);
                let deleted =
                    delete_matching(fake.session(), &filter, &DeleteOptions::new()).unwrap();
                fake.assert_flushed(&[]);
                let left = lines(fake.left());
                for bystander in lines(bystanders.clone()) {
                    assert!(
                        left.contains(&bystander),
                        "{quirk:?} {filter:?}: {bystander}"
                    );
                }
                // A list that omits what it was proven not to omit is all that can go wrong.
                if unproven || !matches!(quirk, Quirk::Omits | Quirk::Inverts) {
                    assert_eq!(left, lines(bystanders), "{quirk:?} {filter:?}");
                    assert_eq!(deleted.matched, Some(targets.len() as u64));
                }
                let gone = population().len() - left.len();
                assert_eq!(deleted.deleted, Some(gone as u64));
                assert_eq!(deleted.matched, deleted.deleted);
                assert!(deleted.is_clean() && !deleted.by_kernel());
            }
        }
    }
}

#[test]
fn a_kernel_that_is_wrong_costs_a_list_nothing_but_what_it_omits() {
    for quirk in QUIRKS {
        for support in [KernelSupport::unproven(), lists_right()] {
            let unproven = support.trials().is_empty();
            for filter in filters() {
                let fake = Fake::new(quirk, support.clone(), &population());
                let found: Vec<_> = list(fake.session(), &filter)
                    .unwrap()
                    .map(|entry| entry.unwrap())
                    .collect();
                assert!(found.iter().all(|entry| filter.matches(entry)));
                if unproven || !matches!(quirk, Quirk::Omits | Quirk::Inverts) {
                    assert_eq!(found.len(), parted(&filter).0.len(), "{quirk:?} {filter:?}");
                }
                assert_eq!(lines(fake.left()), lines(population()));
            }
        }
    }
}

#[test]
fn a_flush_is_sent_only_for_what_was_proven_and_is_all_of_the_filter() {
    for filter in filters() {
        let own = support(
            std::slice::from_ref(&filter),
            Verdict::Unproven,
            Verdict::Right,
        );
        // Whatever else was proven does not do.
        let others: Vec<_> = filters()
            .into_iter()
            .filter(|other| {
                let (a, b) = (other.kernel(), filter.kernel());
                (a.shape(), a.family) != (b.shape(), b.family)
            })
            .collect();
        let others = support(&others, Verdict::Right, Verdict::Right);
        let whole = filter.is_for_kernel();
        for (support, flushes) in [(own, whole), (others, false)] {
            let fake = Fake::new(Quirk::Nothing, support, &population());
            let deleted = delete_matching(fake.session(), &filter, &DeleteOptions::new()).unwrap();
            assert_eq!(deleted.by_kernel(), flushes, "{filter:?}");
            let want: &[KernelFilter] = if flushes { &[filter.kernel()] } else { &[] };
            fake.assert_flushed(want);
            assert_eq!(lines(fake.left()), lines(parted(&filter).1), "{filter:?}");
            assert!(deleted.is_clean());
        }
    }
}

#[test]
fn options_are_not_for_the_kernel() {
    let filter = Filter::new().zone(Zone::new(5));
    let proven = || {
        support(
            std::slice::from_ref(&filter),
            Verdict::Right,
            Verdict::Right,
        )
    };
    let (targets, _) = parted(&filter);
    let many = targets.len() as u64;
    for options in [
        DeleteOptions::new().dry_run(),
        DeleteOptions::new().max_deletes(many),
        DeleteOptions::new().max_deletes(many - 1),
        DeleteOptions::new().protect([Zone::new(9)]),
        DeleteOptions::new().verify(1),
    ] {
        let fake = Fake::new(Quirk::FlushesAll, proven(), &population());
        let deleted = delete_matching(fake.session(), &filter, &options);
        fake.assert_flushed(&[]);
        match deleted {
            Ok(deleted) => assert_eq!(deleted.matched, Some(many)),
            Err(error) => {
                assert!(error.is_too_many());
                assert_eq!(lines(fake.left()), lines(population()));
            }
        }
    }
}

#[test]
fn a_filter_that_means_everything_is_refused_and_nothing_is_sent() {
    let none = Filter::new();
    let proven = support(&filters(), Verdict::Right, Verdict::Right);
    for filter in [
        none.clone(),
        none.clone().status(Status::empty()),
        none.clone().mark(Mark::masked(0, 0).unwrap()),
    ] {
        for options in [DeleteOptions::new(), DeleteOptions::new().dry_run()] {
            let fake = Fake::new(Quirk::Nothing, proven.clone(), &population());
            let error = delete_matching(fake.session(), &filter, &options).unwrap_err();
            assert!(error.is_invalid_input(), "{error}");
            assert_eq!(fake.kernel.opened(), 0);
        }
    }
    let empty = wire::flush_filtered(&mut Datagram::new(1), &KernelFilter::default());
    assert!(empty.unwrap_err().is_invalid_input());
}

#[test]
fn an_entry_that_took_the_tuple_survives() {
    let (one, two) = (udp_in(1, 5), udp_in(2, 5));
    let newcomer = one.clone();
    let fake =
        Fake::new(Quirk::Nothing, KernelSupport::unproven(), &[one, two]).then(move |rows| {
            rows[0].new = newcomer.clone();
            rows[0].id = Some(99);
        });
    let deleted = delete_matching(
        fake.session(),
        &Filter::new().zone(Zone::new(5)),
        &DeleteOptions::new(),
    )
    .unwrap();
    assert_eq!((deleted.matched, deleted.deleted), (Some(2), Some(1)));
    assert_eq!((deleted.already_gone, deleted.busy), (1, 0));
    assert!(deleted.is_clean());
    assert_eq!(fake.table().rows[0].id, Some(99));
    fake.assert_flushed(&[]);
    let ids: Vec<_> = (0..3)
        .flat_map(|socket| fake.kernel.attribute(socket, CTA_ID))
        .flatten()
        .collect();
    assert_eq!(ids, [[0, 0, 0, 1], [0, 0, 0, 2]]);
}

#[test]
fn an_entry_without_id_is_left_alone() {
    let fake = Fake::new(
        Quirk::Nothing,
        KernelSupport::unproven(),
        &[udp_in(1, 5), udp_in(2, 5)],
    );
    fake.table().rows[0].id = None;
    let five = Filter::new().zone(Zone::new(5));
    let deleted = delete_matching(fake.session(), &five, &DeleteOptions::new()).unwrap();
    assert_eq!((deleted.matched, deleted.deleted), (Some(2), Some(1)));
    assert_eq!(deleted.failed[0].count, 1);
    assert!(deleted.failed[0].error.is_unsupported());
    assert!(!deleted.is_clean());
    assert_eq!(lines(fake.left()), lines([udp_in(1, 5)]));
    fake.assert_flushed(&[]);
}

#[test]
fn what_comes_twice_counts_once() {
    let all = population();
    let filter = Filter::new().zone(Zone::new(5));
    let many = parted(&filter).0.len() as u64;
    for options in [
        DeleteOptions::new(),
        DeleteOptions::new().dry_run(),
        DeleteOptions::new().max_deletes(many),
    ] {
        let fake = Fake::new(Quirk::Nothing, KernelSupport::unproven(), &all);
        fake.table().twice = true;
        let deleted = delete_matching(fake.session(), &filter, &options).unwrap();
        assert_eq!((deleted.matched, deleted.already_gone), (Some(many), 0));
        let exact = list(fake.session(), &Filter::new()).unwrap().exact();
        assert_eq!(exact.count(), fake.left().len());
    }
}

#[test]
fn what_cannot_be_deleted_counts_once_however_often_it_is_tried() {
    let entries = [udp_in(1, 5), udp_in(2, 5), udp_in(3, 5), udp(4)];
    let fake = Fake::new(Quirk::Nothing, KernelSupport::unproven(), &entries);
    fake.table().rows[0].refused = Some(Nix::EBUSY);
    fake.table().rows[1].refused = Some(Nix::EPERM);
    let five = Filter::new().zone(Zone::new(5));
    let options = DeleteOptions::new().verify(4).max_deletes(3);
    let deleted = delete_matching(fake.session(), &five, &options).unwrap();
    assert_eq!((deleted.matched, deleted.deleted), (Some(3), Some(1)));
    assert_eq!((deleted.busy, deleted.failed.len()), (1, 1));
    assert_eq!(deleted.failed[0].count, 1);
    assert!(deleted.failed[0].error.is_permission_denied());
    assert!(deleted.stopped.is_none(), "{:?}", deleted.stopped);
    assert!(deleted.left && !deleted.is_clean());
    assert_eq!(fake.left().len(), 3);
}

/// Another writer makes the entry again as often as it is deleted.
fn haunted() -> Fake {
    let mut next = 100;
    let entries = [udp_in(1, 5), udp_in(2, 6)];
    Fake::new(Quirk::Nothing, KernelSupport::unproven(), &entries).then(move |rows| {
        rows.retain(|row| row.new.entry().zone() != EntryZone::Both(Zone::new(5)));
        let mut again = rows[0].clone();
        again.new = udp_in(1, 5);
        again.id = Some(next);
        next += 1;
        rows.push(again);
    })
}

#[test]
fn entries_that_come_back_are_left() {
    let five = Filter::new().zone(Zone::new(5));
    let fake = haunted();
    let deleted = delete_matching(fake.session(), &five, &DeleteOptions::new().verify(3)).unwrap();
    assert!(deleted.left && !deleted.is_clean());
    assert_eq!((deleted.matched, deleted.already_gone), (Some(4), 4));
    let zones: Vec<_> = fake.left().iter().map(|new| new.entry().zone()).collect();
    assert!(zones.contains(&EntryZone::Both(Zone::new(6))));
    // Nobody looked again.
    let deleted = delete_matching(haunted().session(), &five, &DeleteOptions::new()).unwrap();
    assert!(!deleted.left);
}

#[test]
fn a_later_look_that_fails_leaves_what_was_done() {
    let entries = [udp_in(1, 5), udp(2)];
    let five = Filter::new().zone(Zone::new(5));
    let options = DeleteOptions::new().verify(1);
    let fake = Fake::new(Quirk::Nothing, KernelSupport::unproven(), &entries);
    fake.table().lists = 1;
    let deleted = delete_matching(fake.session(), &five, &options).unwrap();
    assert_eq!((deleted.matched, deleted.deleted), (Some(1), Some(1)));
    assert!(deleted.stopped.as_ref().unwrap().is_permission_denied());
    assert_eq!(deleted.complete, Completeness::Interrupted);
    assert!(!deleted.is_clean());
    // The first look that fails is the error.
    let fake = Fake::new(Quirk::Nothing, KernelSupport::unproven(), &entries);
    fake.table().lists = 0;
    let error = delete_matching(fake.session(), &five, &options).unwrap_err();
    assert!(error.is_permission_denied());
    assert_eq!(fake.left().len(), 2);
}

#[test]
fn a_family_is_flushed_with_a_version_that_makes_the_kernel_heed_it() {
    let filter = Filter::new().family(Family::Ipv6);
    let proven = support(
        std::slice::from_ref(&filter),
        Verdict::Right,
        Verdict::Right,
    );
    let fake = Fake::new(Quirk::Nothing, proven, &population());
    assert!(
        delete_matching(fake.session(), &filter, &DeleteOptions::new())
            .unwrap()
            .by_kernel()
    );
    let log = fake.kernel.logs[0].lock().unwrap();
    assert_eq!(log.sent[0][0].payload, [10, 1, 0, 0]);
    assert_eq!(filter.kernel().shape(), FilterShape::FAMILY);
}

#[test]
fn a_list_is_complete_only_if_its_piece_left_room() {
    for (many, complete) in [
        (0_u16, Completeness::Complete),
        (5, Completeness::Complete),
        (60, Completeness::Unknown),
    ] {
        let entries: Vec<_> = (0..many).map(|n| udp_in(n + 1, 5)).collect();
        let fake = Fake::new(Quirk::Nothing, KernelSupport::unproven(), &entries);
        let mut entries = list(fake.session(), &Filter::new()).unwrap();
        assert_eq!(entries.completeness(), Completeness::Interrupted);
        assert_eq!(entries.by_ref().count(), usize::from(many));
        assert_eq!(entries.completeness(), complete);
    }
}
