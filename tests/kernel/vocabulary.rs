//! What few entries have: labels, helpers, time stamps, translation, masters, sequence adjustment,
//! the SYN proxy.

use std::net::UdpSocket;
use std::time::{Duration, SystemTime};

use ctnetlink::{
    Conntrack, Entry, Filter, GreKeys, Helper, Icmp, LabelChange, Labels, NatRange, NewExpectation,
    Protocol, SeqAdjust, Status, Synproxy, TcpState, Tuple, Update, UpdateBuilder, Zone,
};

use crate::capabilities::Capability;
use crate::support::{
    LONG, assert_flows, labels, listed, open, reserve_labels, run, set, track_loopback, udp, v4,
    v4_peer, v6, v6_peer,
};

fn ftp() -> ctnetlink::EntryBuilder {
    Entry::tcp(v4(40_000), v4_peer(21))
        .state(TcpState::Established)
        .timeout(LONG)
}

#[test]
fn labels_are_set_changed_and_cleared() {
    let ct = open();
    reserve_labels();
    let some = labels(&[0, 1, 63, 64, 127]);
    let flow = udp(1).labels(some).build().unwrap();
    let bystander = udp(2).labels(some).build().unwrap();
    ct.create(&flow).unwrap();
    ct.create(&bystander).unwrap();
    assert_eq!(ct.get(&flow).unwrap().labels(), Some(some));
    let change = |change| {
        let update = Update::builder().labels(change).build().unwrap();
        ct.update(&flow, &update).unwrap();
        ct.get(&flow).unwrap().labels()
    };
    assert_eq!(
        change(LabelChange::remove(labels(&[0, 64]))),
        Some(labels(&[1, 63, 127]))
    );
    assert_eq!(
        change(LabelChange::add(labels(&[2]))),
        Some(labels(&[1, 2, 63, 127]))
    );
    let one = labels(&[99]);
    assert_eq!(change(LabelChange::replace(one)), Some(one));
    assert_eq!(change(LabelChange::replace(Labels::EMPTY)), None);
    assert_eq!(ct.get(&bystander).unwrap().labels(), Some(some));
}

#[test]
fn labels_without_room_say_how_to_reserve_it() {
    let ct = open();
    let plain = udp(1).build().unwrap();
    ct.create(&plain).unwrap();
    assert_eq!(ct.get(&plain).unwrap().labels(), None);
    let update = Update::builder()
        .labels(LabelChange::add(labels(&[1])))
        .build()
        .unwrap();
    let error = ct.update(&plain, &update).unwrap_err();
    assert!(error.is_no_label_space(), "{error}");
    assert!(error.to_string().contains("ct label set"), "{error}");

    // The kernel would make a new entry without its labels and say nothing.
    let labelled = |n| udp(n).labels(labels(&[1])).build().unwrap();
    let error = ct.create(&labelled(2)).unwrap_err();
    assert!(error.is_no_label_space(), "{error}");
    let batch = ct.create_many([labelled(3), udp(4).build().unwrap()]);
    assert!(batch.results()[0].as_ref().unwrap_err().is_no_label_space());
    assert!(batch.results()[1].is_ok());
    // It is made all the same, and the error says so: to remove it could hit somebody else's.
    assert!(
        error.to_string().contains("made without its labels"),
        "{error}"
    );
    let all = [1, 2, 3, 4].map(|n| udp(n).build().unwrap());
    assert_flows(&listed(&ct, &Filter::new()), &all);
}

#[test]
fn a_helper_is_attached_at_creation() {
    let ct = open();
    let flow = ftp().helper(Helper::FTP).build().unwrap();
    ct.create(&flow).unwrap();
    assert_eq!(ct.get(&flow).unwrap().helper(), Some(Helper::FTP));
    assert!(
        run("conntrack", &["-L"]).contains("helper=ftp"),
        "conntrack shows it too"
    );
    let unknown = Entry::tcp(v4(1), v4_peer(21))
        .helper("no-such-helper".parse().unwrap())
        .timeout(LONG)
        .build()
        .unwrap();
    let error = ct.create(&unknown).unwrap_err();
    assert!(error.is_unsupported(), "{error}");
    assert_flows(&listed(&ct, &Filter::new()), [&flow]);
}

#[test]
fn time_stamps_are_there_when_they_are_kept() {
    let ct = open();
    let before = udp(1).build().unwrap();
    ct.create(&before).unwrap();
    set("nf_conntrack_timestamp", "1");
    let since = SystemTime::now();
    let flow = udp(2).build().unwrap();
    ct.create(&flow).unwrap();
    let stamps = ct.get(&flow).unwrap().timestamps().unwrap();
    let age = stamps.start().unwrap().duration_since(since).unwrap();
    assert!(age < Duration::from_secs(60), "{age:?}");
    assert_eq!(stamps.stop(), None);
    assert_eq!(ct.get(&before).unwrap().timestamps(), None);
}

#[test]
fn translation_is_chosen_from_the_range() {
    let ct = open();
    let (first, last) = (
        "203.0.113.1".parse().unwrap(),
        "203.0.113.9".parse().unwrap(),
    );
    let range = NatRange::addresses(first, last)
        .unwrap()
        .ports(2000, 2009)
        .unwrap();
    let source = udp(1).nat_src(range).build().unwrap();
    ct.create(&source).unwrap();
    let found = ct.get(&source).unwrap();
    let chosen = found.reply().dst();
    assert!(chosen >= first && chosen <= last, "{found}");
    assert!(
        (2000..=2009).contains(&found.reply().dst_port().unwrap()),
        "{found}"
    );
    assert_eq!(found.reply().src(), v4_peer(53).ip());
    assert!(found.status().unwrap().contains(Status::SRC_NAT));

    let to = NatRange::address("2001:db8::99".parse().unwrap());
    let destination = Entry::udp(v6(1), v6_peer(53))
        .nat_dst(to)
        .timeout(LONG)
        .build()
        .unwrap();
    ct.create(&destination).unwrap();
    let found = ct.get(&destination).unwrap();
    assert_eq!(
        found.reply().src(),
        "2001:db8::99".parse::<std::net::IpAddr>().unwrap()
    );
    assert!(found.status().unwrap().contains(Status::DST_NAT));

    // A range of another family could only be refused.
    assert!(udp(2).nat_src(to).build().unwrap_err().is_invalid_input());
}

/// Of one address and one port there is nothing to choose; without a port the kernel may.
#[test]
fn a_translation_that_is_taken_is_refused() {
    let ct = open();
    let to = NatRange::address("203.0.113.9".parse().unwrap());
    let one = to.ports(2000, 2000).unwrap();
    for (first, second) in [
        (udp(1).nat_src(one), udp(2).nat_src(one)),
        (
            udp(3).nat_dst(one),
            udp(4)
                .nat_src(NatRange::address(v4(0).ip()).ports(3, 3).unwrap())
                .nat_dst(one),
        ),
    ] {
        ct.create(&first.build().unwrap()).unwrap();
        let error = ct.create(&second.build().unwrap()).unwrap_err();
        assert!(error.is_exists(), "{error}");
    }
    let some = Entry::udp(v4_peer(1), v4(53)).nat_src(to).timeout(LONG);
    let other = Entry::udp("10.0.0.3:1".parse().unwrap(), v4(53)).nat_src(to);
    let (some, other) = (some.build().unwrap(), other.timeout(LONG).build().unwrap());
    ct.create(&some).unwrap();
    ct.create(&other).unwrap();
    let port = |new| ct.get(new).unwrap().reply().dst_port().unwrap();
    assert_eq!(port(&some), 1);
    assert_ne!(port(&other), 1);
}

#[test]
fn a_master_is_named_and_must_be_there() {
    let ct = open();
    let zone = Zone::new(5);
    let control = ftp().zone(zone).build().unwrap();
    let data = || {
        Entry::tcp(v4_peer(20), v4(1024))
            .zone(zone)
            .timeout(LONG)
            .master(*control.entry().orig())
    };
    let orphan = data().build().unwrap();
    assert!(ct.create(&orphan).unwrap_err().is_not_found());
    ct.create(&control).unwrap();
    let data = data().build().unwrap();
    ct.create(&data).unwrap();
    let found = ct.get(&data).unwrap();
    assert_eq!(found.master(), Some(control.entry().orig()));
    assert!(found.status().unwrap().contains(Status::EXPECTED));
    // A change of status repeats EXPECTED, which the kernel would otherwise refuse as busy.
    ct.update(&data, &Update::builder().assured().build().unwrap())
        .unwrap();
    assert_eq!(
        ct.get(&data).unwrap().status(),
        Some(Status::EXPECTED | Status::CONFIRMED | Status::ASSURED)
    );
}

#[test]
fn sequence_adjustment_is_kept() {
    let ct = open();
    let adjust = |n: u32| SeqAdjust {
        correction_pos: 1000 + n,
        offset_before: -7,
        offset_after: i32::MIN,
    };
    let flow = ftp()
        .nat_src(NatRange::address("203.0.113.9".parse().unwrap()))
        .seq_adjust(adjust(1), adjust(2))
        .build()
        .unwrap();
    ct.create(&flow).unwrap();
    let found = ct.get(&flow).unwrap();
    assert_eq!(found.orig_seq_adjust(), Some(adjust(1)));
    assert_eq!(found.reply_seq_adjust(), Some(adjust(2)));
    assert_eq!(
        ct.get(&flow).unwrap().status().unwrap() & Status::SEQ_ADJUST,
        Status::SEQ_ADJUST
    );
}

#[test]
fn the_syn_proxys_state_is_read() {
    let ct = open();
    let proxy = Synproxy {
        isn: 1,
        its: 0xffff_ffff,
        tsoff: 3,
    };
    let flow = ftp().synproxy(proxy).build().unwrap();
    ct.create(&flow).unwrap();
    let kept = Capability::Synproxy.is_there();
    let found = ct.get(&flow).unwrap();
    assert_eq!(found.synproxy(), kept.then_some(proxy), "{found}");
}

/// What an update says of sequence numbers, the SYN proxy and the helper, and of nothing else.
#[test]
fn what_few_entries_have_is_changed() {
    let ct = open();
    let adjust = |correction_pos| SeqAdjust {
        correction_pos,
        offset_before: -1,
        offset_after: 2,
    };
    let flow = ftp().helper(Helper::FTP).mark(9).build().unwrap();
    let other = Entry::tcp(v4(40_001), v4_peer(21)).helper(Helper::FTP);
    let bystander = other.timeout(LONG).build().unwrap();
    for new in [&flow, &bystander] {
        ct.create(new).unwrap();
        let data = Tuple::tcp(v4_peer(0), v4(new.entry().orig().src_port().unwrap())).unwrap();
        let expected = NewExpectation::builder(new, data).timeout(LONG);
        ct.expectations()
            .create(&expected.build().unwrap())
            .unwrap();
    }
    let before = ct.get(&bystander).unwrap();
    let change = |update: UpdateBuilder| {
        let update = update.build().unwrap();
        let done = ct.update(&flow, &update);
        done.unwrap_or_else(|error| panic!("{update:?}: {error}"));
        ct.get(&flow).unwrap()
    };

    let found = change(Update::builder().orig_seq_adjust(adjust(1)));
    assert_eq!(found.orig_seq_adjust(), Some(adjust(1)));
    assert!(found.status().unwrap().contains(Status::SEQ_ADJUST));
    let found = change(Update::builder().reply_seq_adjust(adjust(2)));
    assert_eq!(found.orig_seq_adjust(), Some(adjust(1)));
    assert_eq!(found.reply_seq_adjust(), Some(adjust(2)));

    let proxy = Synproxy {
        isn: 1,
        its: 2,
        tsoff: 3,
    };
    let update = Update::builder().synproxy(proxy);
    if Capability::Synproxy.is_there() {
        assert_eq!(change(update).synproxy(), Some(proxy));
    } else {
        let error = ct.update(&flow, &update.build().unwrap()).unwrap_err();
        assert!(error.is_unsupported(), "{error}");
    }

    if !Capability::HelpersGo.is_there() {
        let update = Update::builder().remove_helper().build().unwrap();
        let error = ct.update(&flow, &update).unwrap_err();
        assert!(error.is_unsupported(), "{error}");
        assert_eq!(ct.get(&flow).unwrap().helper(), Some(Helper::FTP));
        assert_eq!(ct.expectations().list().unwrap().count(), 2);
        return;
    }
    for _ in 0..2 {
        let found = change(Update::builder().remove_helper());
        assert_eq!((found.helper(), found.mark()), (None, Some(9)));
        assert_eq!(found.orig_seq_adjust(), Some(adjust(1)));
    }
    // What it expected is gone, too; the bystander has kept all of it.
    let left: Vec<_> = ct
        .expectations()
        .list()
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].master(), bystander.entry().orig());
    let after = ct.get(&bystander).unwrap();
    assert_eq!(
        (after.id(), after.helper(), after.status(), after.synproxy()),
        (
            before.id(),
            before.helper(),
            before.status(),
            before.synproxy()
        )
    );
    assert_eq!(after.orig_seq_adjust(), None);
}

/// A flow that packets made, without translation and helper.
#[test]
fn what_an_entry_has_no_room_for_is_told() {
    let ct = open();
    track_loopback();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"?", socket.local_addr().unwrap()).unwrap();
    let flow = listed(&ct, &Filter::new()).remove(0);
    let adjust = SeqAdjust {
        correction_pos: 1,
        offset_before: 2,
        offset_after: 3,
    };
    for (mark, update) in (1..).zip([
        Update::builder().orig_seq_adjust(adjust),
        Update::builder().reply_seq_adjust(adjust),
    ]) {
        let update = update.mark(mark).build().unwrap();
        let error = ct.update(&flow, &update).unwrap_err();
        assert!(error.is_unsupported(), "{error}");
        let many = ct.update_many([(&flow, &update)]);
        assert!(many.results()[0].as_ref().unwrap_err().is_unsupported());
        let now = ct.get(&flow).unwrap();
        assert_eq!((now.mark(), now.orig_seq_adjust()), (Some(mark), None));
    }
    let proxy = Synproxy {
        isn: 1,
        its: 2,
        tsoff: 3,
    };
    let update = Update::builder().synproxy(proxy).mark(9).build().unwrap();
    assert!(ct.update(&flow, &update).unwrap_err().is_unsupported());
    assert_eq!(ct.get(&flow).unwrap().mark(), Some(2));
}

/// Of a flow that was expected the helper stays, whatever is said of it.
#[test]
fn the_helper_of_an_expected_flow_cannot_be_removed() {
    let ct = open();
    let control = ftp().build().unwrap();
    ct.create(&control).unwrap();
    let data = Entry::tcp(v4_peer(20), v4(1024))
        .helper(Helper::FTP)
        .master(*control.entry().orig());
    let data = data.timeout(LONG).build().unwrap();
    ct.create(&data).unwrap();
    let update = Update::builder().remove_helper().build().unwrap();
    let error = ct.update(&data, &update).unwrap_err();
    assert_eq!(
        error.errno().map(ctnetlink::Errno::raw),
        Some(16),
        "{error}"
    );
    assert_eq!(ct.get(&data).unwrap().helper(), Some(Helper::FTP));
}

/// Everything that can be made again is made again, in a namespace of its own.
#[test]
fn a_listed_entry_is_restored_whole() {
    fn restore(entries: &[Entry]) -> Vec<Entry> {
        let ct: Conntrack = open();
        reserve_labels();
        for entry in entries {
            ct.create(&entry.to_new().unwrap()).unwrap();
        }
        listed(&ct, &Filter::new())
    }
    let ct = open();
    reserve_labels();
    let to = NatRange::address("203.0.113.9".parse().unwrap());
    let ports = to.ports(2000, 2009).unwrap();
    let (src, dst) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let ping = |id| Entry::icmp(src, dst, Icmp::echo_request(id)).timeout(LONG);
    let keys = GreKeys { src: 7, dst: 9 };
    let translated_keys = Tuple::gre(dst.into(), src.into(), GreKeys { src: 8, dst: 7 });
    for flow in [
        ftp().helper(Helper::FTP).labels(labels(&[1, 77])).mark(9),
        udp(1)
            .nat_src(to)
            .zone(Zone::new(8))
            .status(Status::ASSURED),
        udp(2).nat_src(ports),
        udp(3).nat_dst(ports),
        udp(4).nat_dst(ports).nat_src(ports),
        // The port alone.
        udp(5).nat_src(NatRange::address(v4(0).ip()).ports(1_000, 1_000).unwrap()),
        Entry::udp(v6(1), v6_peer(53))
            .nat_dst(NatRange::address("2001:db8::99".parse().unwrap()))
            .timeout(LONG),
        ping(1).nat_src(ports),
        ping(2).nat_dst(ports),
        ping(3).nat_src(to),
        Entry::gre(src.into(), dst.into(), keys)
            .reply(translated_keys.unwrap())
            .nat_src(to)
            .timeout(LONG),
        Entry::other(Protocol::new(50), src.into(), dst.into())
            .nat_src(to)
            .nat_dst(to)
            .timeout(LONG),
    ] {
        ct.create(&flow.build().unwrap()).unwrap();
    }
    let saved = listed(&ct, &Filter::new());
    let translated = Status::SRC_NAT | Status::DST_NAT;
    let is_translated = |entry: &&Entry| !(entry.status().unwrap() & translated).is_empty();
    assert_eq!(saved.iter().filter(is_translated).count(), 11);
    let restored = std::thread::scope(|scope| scope.spawn(|| restore(&saved)).join().unwrap());
    let known = |entries: &[Entry]| {
        let mut known: Vec<_> = entries
            .iter()
            .map(|entry| {
                let (tuples, zone) = ((*entry.orig(), *entry.reply()), entry.zone());
                let status = entry.status().unwrap();
                let rest = (status, entry.labels(), entry.helper(), entry.mark());
                format!("{tuples:?} {zone:?} {rest:?} {:?}", entry.tcp_info())
            })
            .collect();
        known.sort();
        known
    };
    assert_eq!(known(&restored), known(&saved));
}

#[test]
fn no_attribute_of_this_kernel_is_unknown() {
    let ct = open();
    reserve_labels();
    set("nf_conntrack_timestamp", "1");
    set("nf_conntrack_acct", "1");
    for entry in crate::support::every_protocol(1) {
        ct.create(&entry.labels(labels(&[5])).build().unwrap())
            .unwrap();
    }
    for entry in listed(&ct, &Filter::new()) {
        assert_eq!(entry.unknown(), [], "{entry}");
        assert_eq!(entry.labels(), Some(labels(&[5])), "{entry}");
    }
}
