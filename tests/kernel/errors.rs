//! Every refusal that a real kernel can be made to give.

use std::process::Command;
use std::time::Duration;

use ctnetlink::{Conntrack, Errno, Filter, Key, Operation, Status, Update};

use crate::capabilities::Capability;
use crate::support::{LONG, assert_flows, listed, open, udp};

#[test]
fn exists_and_not_found() {
    let ct = open();
    let one = udp(1).mark(1).build().unwrap();
    ct.create(&one).unwrap();
    let error = ct.create(&udp(1).mark(2).build().unwrap()).unwrap_err();
    assert!(error.is_exists() && !error.is_not_found());
    assert_eq!(error.operation(), Some(Operation::Create));
    assert_eq!(error.errno(), Some(Errno::from_raw(17)));
    assert_eq!(ct.get(&one).unwrap().mark(), Some(1));

    let missing = udp(2).build().unwrap();
    for (result, operation) in [
        (ct.get(&missing).map(drop), Operation::Get),
        (ct.delete(&missing), Operation::Delete),
        (
            ct.update(&missing, &Update::builder().mark(1).build().unwrap()),
            Operation::Update,
        ),
    ] {
        let error = result.unwrap_err();
        assert!(error.is_not_found(), "{error}");
        assert_eq!(error.operation(), Some(operation));
        assert_eq!(error.errno(), Some(Errno::from_raw(2)));
    }
    assert_flows(&listed(&ct, &Filter::new()), [&one]);
}

#[test]
fn the_newcomer_on_a_tuple_survives_the_old_key() {
    let ct = open();
    let new = udp(1).build().unwrap();
    ct.create(&new).unwrap();
    let old = ct.get(&new).unwrap();
    ct.delete(&old).unwrap();
    ct.create(&new).unwrap();
    let newcomer = ct.get(&new).unwrap();
    // The kernel derives ids from the entry's address in memory, so the next one may get the same
    // place: only another id makes another entry.
    let stale = Key::from(&new).with_id(newcomer.id().unwrap() ^ 1);
    let error = ct.delete(stale).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    let error = ct.get(stale).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    let mark = Update::builder().mark(9).build().unwrap();
    assert!(ct.update(stale, &mark).unwrap_err().is_not_found());
    let batch = ct.delete_many([stale]);
    assert!(batch.results()[0].as_ref().unwrap_err().is_not_found());
    assert_eq!(ct.get(&new).unwrap().mark(), Some(0));
}

#[test]
fn status_that_cannot_be_cleared_is_busy() {
    let ct = open();
    let assured = Status::SEEN_REPLY | Status::ASSURED;
    let flow = udp(1).status(assured).build().unwrap();
    ct.create(&flow).unwrap();
    for less in [Status::SEEN_REPLY, Status::ASSURED, Status::empty()] {
        let weaker = udp(1).status(less).mark(9).timeout(Duration::from_secs(5));
        let error = ct.upsert(&weaker.build().unwrap()).unwrap_err();
        assert!(error.is_busy(), "{less}: {error}");
        assert_eq!(error.operation(), Some(Operation::Upsert));
        // Nothing of it was done: the kernel would have changed the time-out first.
        let now = ct.get(&flow).unwrap();
        assert_eq!(now.mark(), Some(0), "{less}");
        assert!(
            now.timeout().unwrap() > Duration::from_secs(60),
            "{less}: {now}"
        );
    }
    assert_eq!(
        ct.get(&flow).unwrap().status(),
        Some(assured | Status::CONFIRMED)
    );
    // A new entry that does not speak of the status leaves it.
    ct.upsert(&udp(1).mark(3).build().unwrap()).unwrap();
    let now = ct.get(&flow).unwrap();
    assert_eq!(
        (now.status(), now.mark()),
        (Some(assured | Status::CONFIRMED), Some(3))
    );
}

/// Old kernels keep a fixed time-out from packets alone.
#[test]
fn a_fixed_time_out_is_told_from_a_missing_capability() {
    let ct = open();
    let flow = udp(1).build().unwrap();
    ct.create(&flow).unwrap();
    let minute = Update::builder()
        .timeout(Duration::from_secs(60))
        .build()
        .unwrap();
    ct.update(&flow, &Update::builder().fixed_timeout().build().unwrap())
        .unwrap();
    if !Capability::FixedTimeoutHolds.is_there() {
        let left = || ct.get(&flow).unwrap().timeout().unwrap();
        ct.update(&flow, &minute).unwrap();
        assert!(left() <= Duration::from_secs(60));
        ct.upsert(&udp(1).build().unwrap()).unwrap();
        assert!(left() > Duration::from_secs(60));
        let batch = ct.update_many([(&flow, minute)]);
        assert!(batch.is_ok() && left() <= Duration::from_secs(60));
        let fixed = Status::FIXED_TIMEOUT | Status::CONFIRMED;
        assert_eq!(ct.get(&flow).unwrap().status(), Some(fixed));
        return;
    }
    let error = ct.update(&flow, &minute).unwrap_err();
    assert!(
        error.is_fixed_timeout() && !error.is_permission_denied(),
        "{error}"
    );
    let batch = ct.update_many([(&flow, minute)]);
    assert!(batch.results()[0].as_ref().unwrap_err().is_fixed_timeout());
    let error = ct.upsert(&udp(1).build().unwrap()).unwrap_err();
    assert!(
        error.is_fixed_timeout() && !error.is_permission_denied(),
        "{error}"
    );
    assert!(ct.get(&flow).unwrap().timeout().unwrap() > Duration::from_secs(60));
}

#[test]
fn update_tells_zero_from_leave_alone() {
    let ct = open();
    let flow = udp(1).mark(0xff00_ff0f).build().unwrap();
    ct.create(&flow).unwrap();
    let status = |ct: &Conntrack| ct.get(&flow).unwrap().status().unwrap();
    ct.update(&flow, &Update::builder().assured().build().unwrap())
        .unwrap();
    assert_eq!(ct.get(&flow).unwrap().mark(), Some(0xff00_ff0f));
    assert_eq!(status(&ct), Status::ASSURED | Status::CONFIRMED);
    ct.update(&flow, &Update::builder().seen_reply().build().unwrap())
        .unwrap();
    assert_eq!(
        status(&ct),
        Status::ASSURED | Status::CONFIRMED | Status::SEEN_REPLY
    );
    let low = ctnetlink::Mark::masked(0x30, 0xff).unwrap();
    ct.update(&flow, &Update::builder().mark(low).build().unwrap())
        .unwrap();
    assert_eq!(ct.get(&flow).unwrap().mark(), Some(0xff00_ff30));
    let none = ctnetlink::Mark::masked(0, 0xff00_0000).unwrap();
    ct.update(&flow, &Update::builder().mark(none).build().unwrap())
        .unwrap();
    assert_eq!(ct.get(&flow).unwrap().mark(), Some(0x0000_ff30));
    ct.update(&flow, &Update::builder().mark(0).build().unwrap())
        .unwrap();
    assert_eq!(ct.get(&flow).unwrap().mark(), Some(0));
    // A time-out of zero ends the entry at once.
    ct.update(
        &flow,
        &Update::builder().timeout(Duration::ZERO).build().unwrap(),
    )
    .unwrap();
    assert!(ct.get(&flow).unwrap_err().is_not_found());
}

/// Entries that early drop must spare, up to the kernel's own limit.
#[test]
fn a_full_table_says_how_full_it_is() {
    let ct = open();
    let max = ct
        .count()
        .unwrap()
        .max
        .expect("Linux 4.18 and later say it");
    assert!(
        (1..=2_000_000).contains(&max),
        "net.netfilter.nf_conntrack_max is {max}: lower it to at most 2000000 for this test"
    );
    let assured = |n: u32| {
        let [_, b, c, d] = n.to_be_bytes();
        ctnetlink::Entry::udp(([10, b, c, d], 1000).into(), ([192, 0, 2, 1], 53).into())
            .status(Status::SEEN_REPLY | Status::ASSURED)
            .timeout(LONG)
            .build()
            .unwrap()
    };
    let batch = ct.create_many((0..max + 10).map(assured));
    let full = batch
        .failures()
        .inspect(|(_, error)| {
            assert!(error.is_table_full(), "{error}");
            let count = error.table_count().unwrap();
            assert_eq!(count.max, Some(max));
            assert!(count.entries >= max, "{count:?}");
        })
        .count();
    // The kernel looks at the count before it adds, so it may end one entry above the limit.
    assert!((9..=10).contains(&full), "{full} refused");
    assert_eq!(batch.results().len(), max as usize + 10);
    let error = ct.create(&assured(max + 20)).unwrap_err();
    assert!(error.is_table_full(), "{error}");
    assert!(error.to_string().contains("nf_conntrack_max"), "{error}");
    ct.flush_all().unwrap();
    ct.create(&assured(0)).unwrap();
    assert_eq!(ct.count().unwrap().entries, 1);
}

/// Run again without capabilities, this test is the program that may do nothing.
#[test]
fn a_missing_capability_is_named() {
    const CHILD: &str = "CTNETLINK_TEST_WITHOUT_CAPABILITIES";
    if std::env::var_os(CHILD).is_some() {
        let error = Conntrack::open().unwrap_err();
        assert!(error.is_permission_denied(), "{error}");
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
        assert_eq!(error.operation(), Some(Operation::Open));
        return;
    }
    let ct = open();
    ct.create(&udp(1).build().unwrap()).unwrap();
    let output = Command::new("setpriv")
        .args(["--inh-caps=-all", "--bounding-set=-all", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "errors::a_missing_capability_is_named",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .output()
        .expect("setpriv (util-linux)");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    assert_eq!(ct.count().unwrap().entries, 1);
}
