//! Helpers by their names: which protocols they go with, and what their masters may expect.

use ctnetlink::Layer4;

use super::*;

/// Every helper that has a name here, and whether it goes with TCP, with UDP, and with IPv6 too.
const ALL: [(Helper, bool, bool, bool); 12] = [
    (Helper::FTP, true, false, true),
    (Helper::TFTP, false, true, true),
    (Helper::SIP, true, true, true),
    (Helper::RAS, false, true, true),
    (Helper::Q931, true, false, true),
    // H.245 is spoken over TCP, but the kernel has its helper down for UDP
    // (`nf_conntrack_helper_h245`).
    (Helper::H245, false, true, true),
    (Helper::AMANDA, false, true, true),
    (Helper::IRC, true, false, false),
    (Helper::PPTP, true, false, false),
    (Helper::SNMP, false, true, false),
    (Helper::SANE, true, false, true),
    (Helper::NETBIOS_NS, false, true, false),
];

/// Each with every protocol and family, on whatever port: it is attached or refused, expects, and is
/// told from the others.
#[test]
fn every_helper_goes_with_its_protocols_and_expects() {
    let ct = open();
    let expectations = ct.expectations();
    let mut kept = Vec::new();
    for (n, (helper, tcp, udp, v6_too)) in (1..).zip(ALL) {
        let mut of_helper = 0;
        for six in [false, true] {
            let (src, dst, answer) = if six {
                (v6(n), v6_peer(n), v6_peer(0))
            } else {
                (v4(n), v4_peer(n), v4_peer(0))
            };
            for (entry, expected, goes) in [
                (Entry::tcp(src, dst), Tuple::tcp(answer, src), tcp),
                (Entry::udp(src, dst), Tuple::udp(answer, src), udp),
            ] {
                let master = entry.helper(helper).timeout(LONG).build().unwrap();
                let made = ct.create(&master);
                if !goes || six && !v6_too {
                    let error = made.unwrap_err();
                    assert!(error.is_unsupported(), "{helper} {master}: {error}");
                    continue;
                }
                made.unwrap_or_else(|error| panic!("{helper} {master}: {error}"));
                assert_eq!(ct.get(&master).unwrap().helper(), Some(helper));
                let new = NewExpectation::builder(&master, expected.unwrap());
                let new = new.helper(helper).timeout(LONG).build().unwrap();
                expectations
                    .create(&new)
                    .unwrap_or_else(|error| panic!("{helper} {master}: {error}"));
                let found = expectations.get(new.key()).unwrap();
                assert_eq!(found.helper(), Some(helper));
                assert_eq!(found.master(), master.entry().orig());
                assert_eq!(found.unknown(), []);
                of_helper += 1;
                kept.push(found.id());
            }
        }
        let listed = expectations.list_by_helper(helper).unwrap();
        assert_eq!(listed.len(), of_helper, "{helper}");
        assert!(listed.iter().all(|one| one.helper() == Some(helper)));
    }
    assert_eq!(all(&ct).len(), kept.len());
    let gone = expectations.delete_by_helper(Helper::SIP).unwrap();
    assert_eq!(gone.into_result().unwrap(), 4);
    assert_eq!(all(&ct).len(), kept.len() - 4);
    assert_eq!(expectations.list_by_helper(Helper::SIP).unwrap(), []);
}

/// Whatever the master speaks: any protocol, with the bits of its port, key or identifier.
#[test]
fn every_protocol_can_be_expected() {
    let ct = open();
    let mut bystanders = 0;
    for entry in crate::support::every_protocol(1) {
        let tuple = *entry.build().unwrap().entry().orig();
        let (src, dst) = if tuple.src().is_ipv6() {
            (v6(9), v6_peer(1719))
        } else {
            (v4(9), v4_peer(1719))
        };
        let master = Entry::udp(src, dst).helper(Helper::RAS).timeout(LONG);
        let master = master.build().unwrap();
        if ct.create(&master).is_ok() {
            let bystander = NewExpectation::builder(&master, Tuple::udp(dst, src).unwrap());
            let bystander = bystander.timeout(LONG).build().unwrap();
            ct.expectations().create(&bystander).unwrap();
            bystanders += 1;
        }
        let new = NewExpectation::builder(&master, tuple)
            .src_port_mask(0xfff0)
            .timeout(LONG)
            .build()
            .unwrap();
        ct.expectations()
            .create(&new)
            .unwrap_or_else(|error| panic!("{tuple:?}: {error}"));
        let found = ct.expectations().get(new.key()).unwrap();
        assert_eq!(*found.tuple(), tuple);
        let plain = matches!(tuple.layer4(), Layer4::Other(_));
        let mask = found.mask();
        assert_eq!(mask.src_port, (!plain).then_some(0xfff0), "{tuple:?}");
        assert_eq!(found.unknown(), []);
        let minute = Duration::from_secs(60);
        ct.expectations().set_timeout(new.key(), minute).unwrap();
        let left = ct.expectations().get(new.key()).unwrap().timeout().unwrap();
        assert!(left <= minute, "{left:?}");
        ct.expectations().delete(new.key()).unwrap();
        assert_eq!(all(&ct).len(), bystanders);
    }
    assert_eq!(bystanders, 2);
}

#[test]
fn a_helper_that_the_kernel_lacks_expects_nothing() {
    let ct = open();
    let stranger: Helper = "no-such".parse().unwrap();
    let entry = Entry::tcp(v4(1), v4_peer(21)).timeout(LONG);
    let error = ct
        .create(&entry.helper(stranger).build().unwrap())
        .unwrap_err();
    assert!(error.is_unsupported(), "{error}");
    assert_eq!(ct.expectations().list_by_helper(stranger).unwrap(), []);

    let master = control(Zone::DEFAULT);
    ct.create(&master).unwrap();
    let new = expect(&master, 20_000).helper(stranger).build().unwrap();
    // Kernels with a fix of 2026 do not look at it.
    match ct.expectations().create(&new) {
        Ok(()) => {
            let found = ct.expectations().get(new.key()).unwrap();
            assert_eq!(found.helper(), Some(Helper::FTP));
        }
        Err(error) => {
            assert!(error.is_unsupported(), "{error}");
            assert!(error.to_string().contains("no such helper"), "{error}");
            assert_eq!(all(&ct), []);
        }
    }
}

/// A translation without address and port says only which way it goes, which the kernel takes and
/// does not tell.
#[test]
fn a_translation_that_saves_nothing_is_taken() {
    let ct = open();
    load_translation();
    let master = control(Zone::DEFAULT);
    ct.create(&master).unwrap();
    for address in ["0.0.0.0", "203.0.113.9"] {
        for port in [0, 7] {
            let nat = ExpectNat {
                direction: Direction::Reply,
                address: address.parse().unwrap(),
                port,
            };
            let new = expect(&master, 20_000).nat(nat);
            let new = new.function("nat-follow-master").build().unwrap();
            ct.expectations().create(&new).unwrap();
            let found = ct.expectations().get(new.key()).unwrap();
            let told = !nat.address.is_unspecified() || port != 0;
            assert_eq!(found.nat(), told.then_some(nat));
            ct.expectations().delete(new.key()).unwrap();
        }
    }
}
