//! Handles in other namespaces.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};

use ctnetlink::{Conntrack, Filter};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::support::{assert_flows, listed, open, own_namespace, udp};

const CURRENT: &str = "/proc/thread-self/ns/net";

fn identity() -> (u64, u64) {
    let metadata = std::fs::metadata(CURRENT).unwrap();
    (metadata.dev(), metadata.ino())
}

/// Runs `work` on a thread in a namespace of its own and gives the namespace with the result.
fn elsewhere<T: Send>(work: impl FnOnce() -> T + Send) -> (File, T) {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                own_namespace();
                let result = work();
                (File::open(CURRENT).unwrap(), result)
            })
            .join()
            .unwrap()
    })
}

/// A process that stays in this thread's namespace until its standard input closes.
fn resident() -> Child {
    Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn by_open_file_and_the_caller_stays() {
    let here = open();
    let before = identity();
    let theirs = udp(1).build().unwrap();
    let (file, other) = elsewhere(|| {
        let ct = Conntrack::open().unwrap();
        ct.create(&theirs).unwrap();
        identity()
    });
    assert_ne!(before, other);
    let there = Conntrack::builder().netns_fd(file).open().unwrap();
    assert_eq!(identity(), before);
    assert_flows(&listed(&there, &Filter::new()), [&theirs]);
    assert_flows(&listed(&here, &Filter::new()), []);
    // Further sockets are opened there too, while this thread stays here.
    let lists: Vec<_> = (0..6)
        .map(|_| there.list(&Filter::new()).unwrap())
        .collect();
    for list in lists {
        assert_eq!(list.count(), 1);
    }
    there.flush_all().unwrap();
    assert_eq!(identity(), before);
    assert_eq!(there.count().unwrap().entries, 0);
}

#[test]
fn a_handle_stays_in_its_namespace_whoever_calls() {
    let ct = open();
    let ours = udp(1).build().unwrap();
    ct.create(&ours).unwrap();
    let (_, seen) = elsewhere(|| {
        // Both an idle socket and newly opened ones.
        let lists: Vec<_> = (0..3).map(|_| ct.list(&Filter::new()).unwrap()).collect();
        lists.into_iter().map(Iterator::count).collect::<Vec<_>>()
    });
    assert_eq!(seen, [1, 1, 1]);
}

#[test]
fn by_pid() {
    own_namespace();
    let mut child = {
        // The child inherits the namespace of the thread that starts it.
        let (_, child) = elsewhere(|| {
            let ct = Conntrack::open().unwrap();
            ct.create(&udp(1).build().unwrap()).unwrap();
            resident()
        });
        child
    };
    let there = Conntrack::builder().netns_pid(child.id()).open().unwrap();
    assert_eq!(there.count().unwrap().entries, 1);
    // The process ends and its namespace has no other member; the handle keeps it alive.
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(listed(&there, &Filter::new()).len(), 1);
    let lists: Vec<_> = (0..3)
        .map(|_| there.list(&Filter::new()).unwrap())
        .collect();
    assert!(lists.into_iter().all(|list| list.count() == 1));
    let error = Conntrack::builder()
        .netns_pid(child.id())
        .open()
        .unwrap_err();
    assert!(error.to_string().contains("no such process"), "{error}");
}

#[test]
fn by_path_and_by_name_even_after_the_name_is_gone() {
    // A private /run, so that the host's names are neither seen nor touched.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    std::fs::create_dir("/run/netns").unwrap();
    own_namespace();
    let ours = Conntrack::open().unwrap();
    ours.create(&udp(1).build().unwrap()).unwrap();
    File::create("/run/netns/blue").unwrap();
    mount(
        Some(CURRENT),
        "/run/netns/blue",
        none,
        MsFlags::MS_BIND,
        none,
    )
    .unwrap();
    own_namespace();
    let by_name = Conntrack::builder().netns("blue").open().unwrap();
    let by_path = Conntrack::builder()
        .netns_path("/run/netns/blue")
        .open()
        .unwrap();
    assert_eq!(by_name.count().unwrap().entries, 1);
    assert_eq!(by_path.count().unwrap().entries, 1);
    drop((ours, by_path));
    // As `ip netns delete` does it: the handle's own file keeps the mount busy.
    nix::mount::umount2("/run/netns/blue", nix::mount::MntFlags::MNT_DETACH).unwrap();
    std::fs::remove_file("/run/netns/blue").unwrap();
    assert_eq!(listed(&by_name, &Filter::new()).len(), 1);
    let error = Conntrack::builder().netns("blue").open().unwrap_err();
    assert!(error.to_string().contains("ip netns list"), "{error}");
}

/// A path of a configuration may name anything; a FIFO's other end would be waited for.
#[test]
fn a_path_that_is_no_namespace_is_refused_at_once() {
    own_namespace();
    let directory = std::env::temp_dir().join(format!("ctnetlink-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let fifo = directory.join("fifo");
    crate::support::run("mkfifo", &[fifo.to_str().unwrap()]);
    let error = Conntrack::builder().netns_path(&fifo).open().unwrap_err();
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(
        error.to_string().contains("not a network namespace"),
        "{error}"
    );
}
