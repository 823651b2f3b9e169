//! What is proven of the running kernel, and that nothing is left of the proof.

use std::fs;
use std::time::{Duration, Instant};

use ctnetlink::{Conntrack, Family, FilterShape, KernelSupport, Verdict};

use crate::capabilities::{known, unknown};

/// A matter of course on every kernel that is supported.
#[test]
fn what_every_kernel_does_right_is_proven() {
    let support = KernelSupport::probe();
    assert_eq!(support.why_not(), None);
    for family in [Family::Ipv4, Family::Ipv6] {
        assert_eq!(
            support.dump(FilterShape::FAMILY, Some(family)),
            Verdict::Right
        );
        assert_eq!(
            support.flush(FilterShape::FAMILY, Some(family)),
            Verdict::Right
        );
    }
    let features = support.features();
    assert_eq!(features.zones, Some(true));
    assert_eq!(features.extended_ack, Some(true));
    assert_eq!(support, KernelSupport::probe(), "tried once a process");
    // A shape that was never tried is not trusted.
    let odd = FilterShape::ZONE | FilterShape::REPLY_DST_PORT;
    assert_eq!(support.dump(odd, None), Verdict::Unproven);
    assert!(support.to_string().contains("zone: list"), "{support}");
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task")
        .unwrap()
        .filter(|task| {
            let name = task.as_ref().unwrap().path().join("comm");
            fs::read_to_string(name).is_ok_and(|name| name.starts_with("ctnetlink-probe"))
        })
        .count()
}

/// What a process holds: open files, threads.
fn held() -> (usize, usize) {
    let count = |path| fs::read_dir(path).unwrap().count();
    (count("/proc/self/fd"), count("/proc/self/task"))
}

/// What is counted once it is `expected`, or what it still is after ten seconds: the kernel
/// wakes who joins a thread (`mm_release`) before it takes the task out of /proc
/// (`release_task`), so a thread that has ended may be seen a moment longer.
fn settled<T: PartialEq>(count: impl Fn() -> T, expected: &T) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let now = count();
        if now == *expected || Instant::now() > end {
            return now;
        }
        std::thread::yield_now();
    }
}

/// In a process of its own, where no other test opens sockets or starts threads.
#[test]
fn no_file_and_no_thread_is_left_of_a_probe() {
    const CHILD: &str = "CTNETLINK_TEST_PROBES";
    if std::env::var_os(CHILD).is_some() {
        let before = held();
        let support = KernelSupport::probe();
        assert_eq!(support.why_not(), None);
        assert_eq!(settled(held, &before), before);
        assert!(!support.trials().is_empty());
        assert_eq!(support.features().zones, Some(true));
        assert_eq!(settled(held, &before), before);
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "probe::no_file_and_no_thread_is_left_of_a_probe"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[test]
fn nothing_is_left_of_a_probe() {
    let here = fs::read_link("/proc/thread-self/ns/net").unwrap();
    let support = KernelSupport::probe();
    // In whatever order others ask, all see the same verdicts.
    let zone = support.dump(FilterShape::ZONE, None);
    let trials = support.trials();
    let of_zone = trials.iter().find(|trial| trial.shape == FilterShape::ZONE);
    assert_eq!(of_zone.map(|trial| trial.dump), Some(zone));
    assert!(
        trials.iter().all(|trial| {
            trial.dump == support.dump(trial.shape, trial.family)
                && trial.flush == support.flush(trial.shape, trial.family)
                && ![trial.dump, trial.flush].contains(&Verdict::Unproven)
        }),
        "{support}"
    );
    assert_eq!(settled(threads, &0), 0);
    assert_eq!(fs::read_link("/proc/thread-self/ns/net").unwrap(), here);
    // What was found elsewhere can be given, and nothing is tried then.
    crate::support::own_namespace();
    let ct = Conntrack::builder()
        .kernel_support(KernelSupport::unproven())
        .open()
        .unwrap();
    assert_eq!(ct.kernel_support(), &KernelSupport::unproven());
    let ct = Conntrack::builder()
        .kernel_support(support.clone())
        .open()
        .unwrap();
    assert_eq!(ct.kernel_support(), &support);
}

/// What an agent stored is used by its next process, and not after a boot.
#[cfg(feature = "serde")]
#[test]
fn what_was_stored_is_believed_until_the_next_boot() {
    use crate::support::{listed, udp};
    use ctnetlink::{Filter, Zone};

    let five = Filter::new().zone(Zone::new(5));
    let probed = KernelSupport::probe();
    assert!(probed.is_of_this_boot() && probed.release().is_some());
    let text = serde_json::to_string(&probed).unwrap();
    let stored: KernelSupport = serde_json::from_str(&text).unwrap();
    assert_eq!(stored, probed);
    assert_eq!(stored.to_string(), probed.to_string());
    assert!(stored.is_of_this_boot());
    let open = |support: &KernelSupport| {
        let ct = Conntrack::builder().kernel_support(support.clone());
        let ct = ct.open().unwrap();
        ct.create(&udp(1).zone(Zone::new(5)).build().unwrap())
            .unwrap();
        ct.create(&udp(2).zone(Zone::new(6)).build().unwrap())
            .unwrap();
        assert_eq!(listed(&ct, &five).len(), 1);
        let deleted = ct.delete_matching(&five).unwrap();
        assert!(deleted.is_clean());
        assert_eq!(listed(&ct, &Filter::new()).len(), 1);
        ct.flush_all().unwrap();
        (deleted.by_kernel(), ct.kernel_support().clone())
    };
    crate::support::own_namespace();
    let right = probed.flush(FilterShape::ZONE, None).is_right();
    assert_eq!(open(&stored), (right, stored.clone()));
    for field in ["boot", "release"] {
        let mut other: serde_json::Value = serde_json::from_str(&text).unwrap();
        other[field] = "another".into();
        let other: KernelSupport = serde_json::from_value(other).unwrap();
        assert!(!other.is_of_this_boot());
        let (by_kernel, used) = open(&other);
        assert!(!by_kernel && used.trials().is_empty());
        assert!(
            used.why_not().unwrap().contains("not since this boot"),
            "{used}"
        );
    }
    for edition in [0.into(), serde_json::Value::Null] {
        let mut other: serde_json::Value = serde_json::from_str(&text).unwrap();
        other["edition"] = edition;
        let fields = other.as_object_mut().unwrap();
        fields.retain(|_, value| !value.is_null());
        let (by_kernel, used) = open(&serde_json::from_value(other).unwrap());
        assert!(!by_kernel && used.trials().is_empty());
        assert!(
            used.why_not().unwrap().contains("another version"),
            "{used}"
        );
    }
    let mut nameless: serde_json::Value = serde_json::from_str(&text).unwrap();
    for field in ["boot", "release"] {
        nameless.as_object_mut().unwrap().remove(field);
    }
    let nameless: KernelSupport = serde_json::from_value(nameless).unwrap();
    assert!(!nameless.is_of_this_boot());
    assert!(!open(&nameless).0);
}

/// All verdicts on the kernels that were looked at, by the first two numbers of their version.
const KNOWN: [(&str, &str); 5] = [
    ("5.10", include_str!("verdicts/5.10")),
    ("6.1", include_str!("verdicts/6.1")),
    ("6.12", include_str!("verdicts/6.12")),
    ("6.18", include_str!("verdicts/6.18")),
    ("7.3", include_str!("verdicts/7.3")),
];

/// On a kernel that is not known, `CTNETLINK_UNKNOWN_KERNEL=1` lets this pass.
#[test]
fn verdicts_on_known_kernels() {
    let support = KernelSupport::probe();
    let lines = support.trials().iter().map(|trial| {
        let family = trial.family.map(|family| format!("{family} "));
        let (shape, list, flush) = (trial.shape, trial.dump, trial.flush);
        format!(
            "{}{shape}: list {list}; flush {flush}\n",
            family.unwrap_or_default()
        )
    });
    let found: String = lines.collect();
    match known(&KNOWN) {
        Ok(known) => assert_eq!(found, known, "found is\n{found}"),
        Err(kernel) => {
            let right = |line: &&str| line.ends_with(": list right; flush right");
            let wrong = found.lines().filter(|line| !right(line));
            unknown(&kernel, "tests/kernel/verdicts", &found, wrong);
        }
    }
}
