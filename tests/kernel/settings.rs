//! Settings of a namespace, and its health.

use std::path::Path;

use ctnetlink::{Conntrack, EventsMode, Filter};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::capabilities::Capability;
use crate::support::{listed, open, own_namespace, udp};

#[test]
fn switches_are_set_and_read_and_work() {
    let ct = open();
    let settings = ct.settings();
    let auto = Capability::AutoEvents.is_there();
    let first = if auto {
        EventsMode::Auto
    } else {
        EventsMode::On
    };
    assert_eq!(settings.events().unwrap(), first);
    for on in [true, false, true] {
        settings.set_accounting(on).unwrap();
        settings.set_timestamps(on).unwrap();
        settings.set_tcp_loose(on).unwrap();
        settings.set_tcp_be_liberal(on).unwrap();
        let read = [
            settings.accounting().unwrap(),
            settings.timestamps().unwrap(),
            settings.tcp_loose().unwrap(),
            settings.tcp_be_liberal().unwrap(),
        ];
        assert_eq!(read, [on; 4]);
    }
    ct.create(&udp(1).build().unwrap()).unwrap();
    let entry = &listed(&ct, &Filter::new())[0];
    assert!(entry.orig_counters().is_some() && entry.timestamps().is_some());
    for mode in [EventsMode::Off, EventsMode::On, first] {
        settings.set_events(mode).unwrap();
        assert_eq!(settings.events().unwrap(), mode);
    }
}

#[test]
fn those_of_the_initial_namespace_say_so() {
    let ct = open();
    let settings = ct.settings();
    let (max, buckets) = (settings.max().unwrap(), settings.buckets().unwrap());
    assert_eq!(ct.count().unwrap().max, Some(max));
    for refused in [settings.set_max(max), settings.set_buckets(buckets)] {
        let error = refused.unwrap_err();
        assert!(error.is_permission_denied(), "{error}");
        assert!(
            error.to_string().contains("initial network namespace"),
            "{error}"
        );
    }
    assert_eq!(settings.max().unwrap(), max);
}

/// The same where they may be written.
#[test]
#[ignore = "changes settings of the whole machine: tests/kernels/run.sh runs it in machines of its own"]
fn those_of_the_initial_namespace_are_set_there() {
    let ct = Conntrack::builder().netns_pid(1).open().unwrap();
    let settings = ct.settings();
    let before = (settings.max().unwrap(), settings.buckets().unwrap());
    // The kernel takes whole pages of buckets.
    for (max, buckets) in [(before.0 - 1000, 16_384), before] {
        settings.set_max(max).unwrap();
        settings.set_buckets(buckets).unwrap();
        assert_eq!(settings.max().unwrap(), max);
        assert_eq!(settings.buckets().unwrap(), buckets);
        assert_eq!(ct.count().unwrap().max, Some(max));
    }
}

#[test]
fn what_the_kernel_would_not_take_is_refused() {
    let ct = open();
    let settings = ct.settings();
    for refused in [
        settings.set_max(3_000_000_000),
        settings.set_buckets(0),
        settings.set_buckets(1 << 31),
    ] {
        let error = refused.unwrap_err();
        assert!(error.is_invalid_input(), "{error}");
    }
    if !Capability::AutoEvents.is_there() {
        let error = settings.set_events(EventsMode::Auto).unwrap_err();
        assert!(error.is_unsupported(), "{error}");
    }
}

/// A kernel without time stamps and events, as far as this thread can see.
#[test]
fn health_is_known_without_what_may_be_left_out() {
    let ct = open();
    assert!(ct.health().unwrap().timestamps.is_some());
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    let alone = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, alone, none).unwrap();
    let directory = Path::new("/proc/sys/net/netfilter");
    mount(none, directory, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    for (file, value) in [("nf_conntrack_acct", "1"), ("nf_conntrack_tcp_loose", "0")] {
        std::fs::write(directory.join(file), value).unwrap();
    }
    let health = ct.health().unwrap();
    assert_eq!((health.timestamps, health.events), (None, None));
    assert!(health.accounting && !health.tcp_loose);
}

#[test]
fn a_setting_that_is_not_there_says_so() {
    let ct = open();
    if Capability::AutoHelpers.is_there() {
        for on in [true, false] {
            ct.settings().set_helper_auto_assignment(on).unwrap();
            assert_eq!(ct.settings().helper_auto_assignment().unwrap(), on);
        }
        return;
    }
    for refused in [
        ct.settings().helper_auto_assignment().map(drop),
        ct.settings().set_helper_auto_assignment(true),
    ] {
        let error = refused.unwrap_err();
        assert!(error.is_unsupported(), "{error}");
        assert!(error.to_string().contains("nf_conntrack_helper"), "{error}");
    }
}

#[test]
fn settings_are_those_of_the_handles_namespace() {
    let ct = open();
    ct.settings().set_accounting(true).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            own_namespace();
            let here = Conntrack::open().unwrap();
            here.settings().set_accounting(false).unwrap();
            assert!(ct.settings().accounting().unwrap());
            ct.settings().set_timestamps(true).unwrap();
            assert!(!here.settings().timestamps().unwrap());
        });
    });
    assert!(ct.settings().timestamps().unwrap());
}

#[test]
fn health_is_what_the_parts_say() {
    let ct = open();
    ct.create(&udp(1).build().unwrap()).unwrap();
    let health = ct.health().unwrap();
    assert_eq!(health.count, ct.count().unwrap());
    assert_eq!(health.accounting, ct.settings().accounting().unwrap());
    assert_eq!(health.events, Some(ct.settings().events().unwrap()));
    let stamps = ct.settings().timestamps().unwrap();
    assert_eq!(health.timestamps, Some(stamps));
    assert!(!health.has_losses());
    let fill = health.fill().unwrap();
    assert!(fill > 0.0 && fill < 0.01, "{fill}");
}
