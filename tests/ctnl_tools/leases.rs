//! Leases over several invocations.

use std::time::Duration;

use ctnetlink::{Claim, Instance, OwnerKey, Zone, ZoneAllocator};
use serde_json::Value;

use crate::support::{claims, ctnl, done, open, shell, udp, without_rights};

/// The lease that was printed.
#[track_caller]
fn lease(line: &str) -> (u16, String, Value) {
    let all: Vec<Value> = done(line).json();
    assert_eq!(all.len(), 1);
    let zone = all[0]["zone"].as_u64().unwrap().try_into().unwrap();
    let instance = all[0]["instance"].as_str().unwrap().to_owned();
    (zone, instance, all[0].clone())
}

#[test]
fn a_lease_passes_from_one_invocation_to_the_next_by_its_instance() {
    let ct = open();
    let (zone, instance, printed) = lease("zone acquire tap1 --range 10-20 -o json");
    assert_eq!(zone, 10);
    let owner: OwnerKey = "tap1".parse().unwrap();
    assert_eq!(printed["owner"], owner.to_string());
    assert_eq!(
        (&printed["name"], &printed["ends_in"]),
        (&"tap1".into(), &300.into())
    );
    assert_eq!(printed.get("previous"), None);
    let found = claims(&ct);
    assert_eq!((found[0].zone().get(), found[0].owner()), (10, owner));
    assert_eq!(found[0].instance(), instance.parse::<Instance>().unwrap());

    let line = format!("zone renew tap1 --instance {instance} --ttl 20m -o json");
    assert_eq!(lease(&line).0, 10);
    let ends_in = claims(&ct)[0].ends_in().unwrap();
    assert!(ends_in > Duration::from_secs(1100), "{ends_in:?}");

    // The same holder asks again: nothing is taken over.
    let line = format!("zone acquire tap1 --range 10-20 --instance {instance} -o json");
    let (again, _, printed) = lease(&line);
    assert_eq!((again, printed.get("previous")), (10, None));

    ct.create(&udp(1, 10)).unwrap();
    let line = format!("zone rename tap1 tap2 --instance {instance} --zone 10 -o json");
    let (renamed, _, printed) = lease(&line);
    assert_eq!((renamed, &printed["name"]), (10, &"tap2".into()));
    assert!(ct.get(&udp(1, 10)).is_ok());

    let released = done(&format!("zone release tap2 --instance {instance}"));
    assert_eq!(released.out, "zone 10 is released, 1 entries deleted\n");
    assert_eq!(claims(&ct), []);
    // It is gone.
    let gone = ctnl(&format!("zone release tap2 --instance {instance}"));
    assert_eq!(
        (gone.status, &*gone.err),
        (1, "ctnl: tap2: it has no zone\n")
    );
}

#[test]
fn a_former_holder_is_fenced_off() {
    let ct = open();
    let (zone, first, _) = lease("zone acquire tap1 --range 10-20 -o json");
    let (same, second, printed) = lease("zone acquire tap1 --range 10-20 -o json");
    assert_eq!((same, &printed["previous"]), (zone, &Value::from(&*first)));
    for line in [
        format!("zone renew tap1 --instance {first}"),
        format!("zone release tap1 --instance {first}"),
        format!("zone release tap1 --instance {first} --zone {zone}"),
        format!("zone rename tap1 tap2 --instance {first}"),
        format!("zone renew tap2 --instance {second} --zone {zone}"),
    ] {
        let refused = ctnl(&line);
        assert_eq!(refused.status, 5, "{line}: {refused:?}");
        assert!(refused.err.contains(&second), "{line}: {refused:?}");
        assert_eq!(refused.out, "");
    }
    let held = claims(&ct);
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].instance().to_string(), second);
    done(&format!("zone renew tap1 --instance {second}"));
}

#[test]
fn a_shell_reads_a_lease() {
    let ct = open();
    let outcome = shell(
        "eval \"$($CTNL zone acquire tap1 --range 10-20 -o env)\"
         echo $CTNL_ZONE $CTNL_OWNER
         $CTNL zone renew $CTNL_OWNER --instance $CTNL_INSTANCE > /dev/null
         $CTNL zone release tap1 --instance $CTNL_INSTANCE > /dev/null",
    );
    let owner: OwnerKey = "tap1".parse().unwrap();
    assert_eq!(outcome.out, format!("10 {owner}\n"), "{outcome:?}");
    assert_eq!((outcome.status, claims(&ct)), (0, vec![]));
}

#[test]
fn several_owners_and_no_room_for_all() {
    let ct = open();
    let some = ctnl("zone acquire a b c --range 10-11 -o json");
    assert_eq!(some.status, 4, "{some:?}");
    let leases: Vec<Value> = some.json();
    let names: Vec<_> = leases.iter().map(|lease| lease["name"].clone()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(some.err.starts_with("ctnl: c: "), "{some:?}");
    assert!(some.err.contains("2 are leased"), "{some:?}");
    let none = ctnl("zone acquire d --range 10-11");
    assert_eq!((none.status, &*none.out), (1, ""), "{none:?}");
    let anonymous = ctnl("zone acquire --range 10-11");
    assert_eq!(anonymous.status, 1);
    assert_eq!(claims(&ct).len(), 2);

    // All are renewed by one look, and one that has none is told.
    let instance = leases[0]["instance"].as_str().unwrap();
    let renewed = ctnl(&format!("zone renew a x b --instance {instance} -o json"));
    assert_eq!(
        (renewed.status, renewed.json::<Value>().len()),
        (4, 2),
        "{renewed:?}"
    );
    assert_eq!(renewed.err, "ctnl: x: it has no zone\n");
}

#[test]
fn a_zone_by_its_number() {
    let ct = open();
    ct.create(&udp(1, 300)).unwrap();
    done("zone reserve a 299");
    for line in [
        // Somebody's, with traffic, the owner has another.
        "zone reserve b 299",
        "zone reserve b 300",
        "zone reserve a 301",
    ] {
        let refused = ctnl(line);
        assert_eq!(refused.status, 5, "{line}: {refused:?}");
    }
    let adopted = lease("zone reserve b 300 --adopt -o json");
    assert_eq!(adopted.0, 300);
    assert!(ct.get(&udp(1, 300)).is_ok());
    let zero = ctnl("zone reserve c 0");
    assert_eq!(zero.status, 2, "{zero:?}");
}

#[test]
fn how_zones_are_chosen() {
    let ct = open();
    ct.create(&udp(1, 11)).unwrap();
    let zone = |line: &str| lease(line).0;
    let reserved = "zone acquire a --range 10-20 --reserve 10,12-13 -o json";
    assert_eq!(zone(reserved), 14);
    assert_eq!(
        zone("zone acquire b --range 11-11 --foreign flush -o json"),
        11
    );
    assert!(ct.get(&udp(1, 11)).unwrap_err().is_not_found());
    let seeded = zone("zone acquire c --range 1-60000 --order seed=7 -o json");
    assert!(seeded > 20, "{seeded}");
    let random = zone("zone acquire d --range 1-60000 --order random -o json");
    assert_ne!(random, 1);
    assert_eq!(zone("zone acquire e --range neutron -o json"), 4097);
    assert_eq!(zone("zone acquire f --range ovn --order lowest -o json"), 1);
}

#[test]
fn times_are_the_callers() {
    let ct = open();
    done("zone acquire a --ttl 1h --grace 5 --patience 2 --quarantine 9 --verify 1");
    let ends_in = claims(&ct)[0].ends_in().unwrap();
    assert!(ends_in > Duration::from_secs(3500), "{ends_in:?}");
    for bad in [
        "--ttl 1",
        "--ttl x",
        "--grace 0",
        "--instance 7",
        "--range 9-8",
        "--range 0",
    ] {
        let refused = ctnl(&format!("zone acquire b {bad}"));
        assert_eq!(refused.status, 2, "{bad}: {refused:?}");
    }
    assert_eq!(claims(&ct).len(), 1);
}

#[test]
fn claims_are_listed_as_the_library_has_them() {
    let ct = open();
    done("zone acquire a b --range 10-20");
    let listed: Vec<Claim> = done("zone list -o json").json();
    let owners = |claims: &[Claim]| -> Vec<(Zone, OwnerKey, Instance)> {
        let one = |claim: &Claim| (claim.zone(), claim.owner(), claim.instance());
        claims.iter().map(one).collect()
    };
    assert_eq!(owners(&listed), owners(&claims(&ct)));
    let table = done("zone list").out;
    assert!(table.starts_with("ZONE  KIND   OWNER"), "{table}");
    assert_eq!(table.lines().count(), 3);
}

#[test]
fn without_the_right_it_says_so() {
    let _ct = open();
    for line in ["zone scan", "zone acquire a", "zone list", "zone who 5"] {
        let refused = without_rights(line);
        assert_eq!(refused.status, 6, "{line}: {refused:?}");
        assert!(!refused.err.is_empty() && refused.out.is_empty());
    }
}

/// A quarantine needs entries that come back, which a rival makes here as fast as it can.
#[test]
fn a_zone_in_which_entries_come_back_is_set_aside() {
    let ct = open();
    let zones = ZoneAllocator::builder().range(10..=10).open(&ct).unwrap();
    let lease = zones.acquire("a").unwrap();
    let instance = lease.instance();
    lease.leave();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for port in 0..50 {
                    let _ = ct.create(&udp(port, 10));
                }
            }
        });
        let outcome = ctnl(&format!(
            "zone release a --instance {instance} --verify 2 -o json"
        ));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        outcome
    });
    let released: Vec<Value> = outcome.json();
    let quarantined = released[0]["quarantined"] == true;
    // Whether the rival was quick enough is chance; what is said and the status agree.
    assert_eq!(
        outcome.status,
        if quarantined { 4 } else { 0 },
        "{outcome:?}"
    );
    assert_eq!(
        outcome.err.contains("set aside"),
        quarantined,
        "{outcome:?}"
    );
}
