//! Every operation for every protocol in both families, a bystander beside each.

use std::time::Duration;

use ctnetlink::{
    DccpInfo, DccpRole, DccpState, Entry, EntryZone, Filter, GreKeys, Key, ProtoInfo, Protocol,
    SctpInfo, SctpState, Status, TcpFlagChange, TcpFlags, TcpInfo, TcpState, Update, Zone,
};

use crate::support::{
    LONG, assert_flows, every_protocol, flows, listed, open, tracks, v4, v4_peer, v6, v6_peer,
};

#[test]
fn every_operation_for_every_protocol() {
    let ct = open();
    let bystanders: Vec<_> = every_protocol(2)
        .into_iter()
        .map(|entry| entry.mark(42).build().unwrap())
        .collect();
    assert_eq!(
        ct.create_many(&bystanders).into_result().unwrap(),
        bystanders.len()
    );
    for builder in every_protocol(1) {
        let new = builder
            .clone()
            .mark(7)
            .status(Status::SEEN_REPLY)
            .build()
            .unwrap();
        let name = new.to_string();

        ct.create(&new).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(ct.create(&new).unwrap_err().is_exists(), "{name}");

        // Found by the tuple of either direction, with everything that was given.
        let found = ct.get(&new).unwrap();
        let key = Key::reply(*new.entry().reply());
        assert_eq!(ct.get(key).unwrap().id(), found.id(), "{name}");
        assert_eq!(flows([&found]), flows([new.entry()]), "{name}");
        assert_eq!(found.mark(), Some(7), "{name}");
        assert_eq!(
            found.status(),
            Some(Status::SEEN_REPLY | Status::CONFIRMED),
            "{name}"
        );
        let left = found.timeout().unwrap();
        assert!(
            left <= LONG && left + Duration::from_secs(60) > LONG,
            "{name}: {left:?}"
        );
        assert!(
            found.id().is_some() && found.use_count().is_some(),
            "{name}"
        );

        // Changed, one thing at a time.
        let minute = Duration::from_secs(60);
        let update = Update::builder().timeout(minute).build().unwrap();
        ct.update(&found, &update).unwrap();
        let changed = ct.get(&found).unwrap();
        assert!(changed.timeout().unwrap() <= minute, "{name}");
        assert_eq!(changed.mark(), Some(7), "{name}");
        ct.update(&found, &Update::builder().mark(0).build().unwrap())
            .unwrap();
        assert_eq!(ct.get(&found).unwrap().mark(), Some(0), "{name}");

        // Upserted: the same entry is changed.
        let assured = Status::SEEN_REPLY | Status::ASSURED;
        let again = builder.clone().mark(9).status(assured).build().unwrap();
        ct.upsert(&again).unwrap();
        let changed = ct.get(&found).unwrap();
        assert_eq!(changed.mark(), Some(9), "{name}");
        assert_eq!(
            changed.status(),
            Some(assured | Status::CONFIRMED),
            "{name}"
        );
        assert!(changed.timeout().unwrap() > minute, "{name}");

        // Listed exactly once, beside the bystanders.
        let all = listed(&ct, &Filter::new());
        assert_flows(&all, bystanders.iter().chain([&new]));

        // Deleted alone; upserted as new; deleted by its reply tuple.
        ct.delete(&found).unwrap();
        assert!(ct.get(&new).unwrap_err().is_not_found(), "{name}");
        assert!(ct.delete(&found).unwrap_err().is_not_found(), "{name}");
        ct.upsert(&again).unwrap();
        assert_ne!(ct.get(&new).unwrap().id(), None, "{name}");
        ct.delete(key).unwrap();
        assert!(ct.get(key).unwrap_err().is_not_found(), "{name}");
        assert_flows(&listed(&ct, &Filter::new()), &bystanders);
    }
    for entry in listed(&ct, &Filter::new()) {
        assert_eq!(entry.mark(), Some(42), "{entry}");
    }
}

/// A kernel that does not track a protocol would drop the ports silently, so that the entry would
/// stand for every such flow between the two hosts.
#[test]
fn ports_that_the_kernel_would_drop_are_refused() {
    let ct = open();
    let lite = Entry::udplite(v4(1), v4_peer(2)).timeout(LONG);
    let call = Entry::dccp(v4(1), v4_peer(2))
        .dccp_info(DccpInfo::new(DccpState::Open, DccpRole::Client))
        .timeout(LONG)
        .build()
        .unwrap();
    let bystander = crate::support::udp(1).build().unwrap();
    ct.create(&bystander).unwrap();
    for new in [call, lite.build().unwrap()] {
        let protocol = new.entry().protocol();
        if tracks(protocol) {
            ct.create(&new).unwrap();
            let found = ct.get(&new).unwrap();
            assert_eq!(found.orig(), new.entry().orig());
            if let Some(ProtoInfo::Dccp(info)) = found.proto_info() {
                assert_eq!(info.state, DccpState::Open);
                assert_eq!(info.role, Some(DccpRole::Client));
            }
            assert_eq!(found.proto_info().is_some(), protocol == Protocol::DCCP);
            ct.delete(&new).unwrap();
            continue;
        }
        for refused in [ct.create(&new), ct.upsert(&new)] {
            let error = refused.unwrap_err();
            assert!(error.is_unsupported(), "{error}");
            assert!(error.to_string().contains(&protocol.to_string()), "{error}");
        }
        let second = crate::support::udp(2).build().unwrap();
        let batch = ct.create_many([&new, &second]);
        assert!(batch.results()[0].as_ref().unwrap_err().is_unsupported());
        assert!(batch.results()[1].is_ok());
        assert_flows(&listed(&ct, &Filter::new()), [&bystander, &second]);
        ct.delete(&second).unwrap();
    }
    assert_flows(&listed(&ct, &Filter::new()), [&bystander]);
}

#[test]
fn tracker_state_is_set_and_changed() {
    let ct = open();
    for (src, dst) in [(v4(1), v4_peer(2)), (v6(1), v6_peer(2))] {
        let liberal = TcpFlags::BE_LIBERAL | TcpFlags::WINDOW_SCALE;
        let info = TcpInfo {
            state: Some(TcpState::Established),
            orig_window_scale: Some(7),
            reply_window_scale: Some(14),
            orig_flags: Some(TcpFlagChange::on(liberal | TcpFlags::SACK_PERM)),
            reply_flags: Some(TcpFlagChange::on(liberal)),
        };
        let web = Entry::tcp(src, dst)
            .tcp_info(info)
            .timeout(LONG)
            .build()
            .unwrap();
        ct.create(&web).unwrap();
        let found = *ct.get(&web).unwrap().tcp_info().unwrap();
        assert_eq!(found.state, Some(TcpState::Established));
        assert_eq!(found.orig_window_scale, Some(7));
        assert_eq!(found.reply_window_scale, Some(14));
        let flags = found.orig_flags.unwrap().flags;
        assert!(
            flags.contains(TcpFlags::BE_LIBERAL | TcpFlags::SACK_PERM),
            "{flags}"
        );
        let flags = found.reply_flags.unwrap().flags;
        assert!(
            flags.contains(TcpFlags::BE_LIBERAL) && !flags.contains(TcpFlags::SACK_PERM),
            "{flags}"
        );

        // One flag off and the state on; the rest stays.
        let change = TcpInfo {
            state: Some(TcpState::CloseWait),
            orig_flags: Some(TcpFlagChange::off(TcpFlags::SACK_PERM)),
            ..TcpInfo::default()
        };
        let update = Update::builder().tcp_info(change).build().unwrap();
        ct.update(&web, &update).unwrap();
        let found = *ct.get(&web).unwrap().tcp_info().unwrap();
        assert_eq!(found.state, Some(TcpState::CloseWait));
        assert_eq!(found.reply_window_scale, Some(14));
        let flags = found.orig_flags.unwrap().flags;
        assert!(
            flags.contains(TcpFlags::BE_LIBERAL) && !flags.contains(TcpFlags::SACK_PERM),
            "{flags}"
        );

        let call = Entry::sctp(src, dst)
            .sctp_info(SctpInfo::new(SctpState::CookieWait, 1, 2))
            .timeout(LONG)
            .build()
            .unwrap();
        ct.create(&call).unwrap();
        let update = Update::builder()
            .sctp_info(SctpInfo::new(SctpState::Established, 3, 4))
            .build()
            .unwrap();
        ct.update(&call, &update).unwrap();
        assert_eq!(
            ct.get(&call).unwrap().proto_info(),
            Some(&ProtoInfo::Sctp(SctpInfo::new(
                SctpState::Established,
                3,
                4
            )))
        );
        // Tracker state of another protocol would be ignored silently.
        let error = ct.update(&web, &update).unwrap_err();
        assert!(error.is_invalid_input(), "{error}");
    }
}

#[test]
fn a_reply_of_ones_own_is_kept_and_guarded() {
    let ct = open();
    let translated = ctnetlink::Tuple::udp(v4_peer(5353), v4(40000)).unwrap();
    let dns = Entry::udp(v4(1000), "192.0.2.1:53".parse().unwrap())
        .reply(translated)
        .timeout(LONG)
        .build()
        .unwrap();
    ct.create(&dns).unwrap();
    assert_eq!(*ct.get(&dns).unwrap().reply(), translated);
    // The reply's place is taken as well as the original's.
    let clash = Entry::udp(v4(2000), "192.0.2.2:53".parse().unwrap())
        .reply(translated)
        .timeout(LONG)
        .build()
        .unwrap();
    assert!(ct.create(&clash).unwrap_err().is_exists());
    // In another zone it is free.
    let elsewhere = Entry::udp(v4(2000), "192.0.2.2:53".parse().unwrap())
        .reply(translated)
        .zone(Zone::new(3))
        .timeout(LONG)
        .build()
        .unwrap();
    ct.create(&elsewhere).unwrap();
    assert_flows(&listed(&ct, &Filter::new()), [&dns, &elsewhere]);
    assert_eq!(
        ct.get(&elsewhere).unwrap().zone(),
        EntryZone::Both(Zone::new(3))
    );
}

/// The kernel finds a tuple in either direction; this library's keys do not.
#[test]
fn a_key_does_not_reach_the_flow_of_the_other_direction() {
    let ct = open();
    for theirs in [
        Entry::udp(v4_peer(53), v4(1000)),
        Entry::gre(v4_peer(0).ip(), v4(0).ip(), GreKeys { src: 53, dst: 1000 }),
        Entry::tcp(v6_peer(53), v6(1000)),
    ] {
        let theirs = theirs.timeout(LONG).mark(1).build().unwrap();
        ct.create(&theirs).unwrap();
        let ours = Key::orig(theirs.entry().orig().reply());
        assert!(ct.get(ours).unwrap_err().is_not_found());
        assert!(ct.delete(ours).unwrap_err().is_not_found());
        let mark = Update::builder().mark(9).build().unwrap();
        assert!(ct.update(ours, &mark).unwrap_err().is_not_found());
        // Nor does an upsert reach it, though it could not create its own entry beside it.
        let upsert = Entry::with_tuple(*ours.tuple())
            .timeout(Duration::ZERO)
            .mark(99);
        let error = ct.upsert(&upsert.build().unwrap()).unwrap_err();
        assert!(error.is_exists(), "{error}");
        let batch = ct.delete_many([ours]);
        assert!(batch.results()[0].as_ref().unwrap_err().is_not_found());
        let batch = ct.update_many([(ours, mark)]);
        assert!(batch.results()[0].as_ref().unwrap_err().is_not_found());
        assert_eq!(ct.get(&theirs).unwrap().mark(), Some(1));
    }
    assert_eq!(listed(&ct, &Filter::new()).len(), 3);
}

#[test]
fn keys_know_generic_protocols_by_addresses_alone() {
    let ct = open();
    let esp = |last| {
        Entry::other(50.into(), [10, 0, 0, 1].into(), [10, 0, 0, last].into())
            .timeout(LONG)
            .build()
            .unwrap()
    };
    let (one, two) = (esp(2), esp(3));
    ct.create(&one).unwrap();
    ct.create(&two).unwrap();
    ct.delete(&one).unwrap();
    assert_flows(&listed(&ct, &Filter::new()), [&two]);
}
