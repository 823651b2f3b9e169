//! The handle: sharing, buffers, deadlines, descriptors.

use std::sync::Barrier;
use std::time::Duration;

use ctnetlink::{Conntrack, Filter};

use crate::support::{
    in_initial_user_namespace, listed, netfilter_sockets_when, open, own_namespace, udp,
};

#[test]
fn one_handle_serves_many_threads() {
    fn is_shareable<T: Send + Sync + Clone + 'static>(_: &T) {}
    let ct = open();
    is_shareable(&ct);
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for thread in 0..8_u16 {
            let (ct, start) = (&ct, &start);
            scope.spawn(move || {
                start.wait();
                for n in 0..100 {
                    let entry = udp(1000 * thread + n).mark(thread.into()).build().unwrap();
                    ct.create(&entry).unwrap();
                    assert_eq!(ct.get(&entry).unwrap().mark(), Some(thread.into()));
                    if n % 2 == 0 {
                        ct.delete(&entry).unwrap();
                    }
                    if n % 25 == 0 {
                        listed(ct, &Filter::new());
                    }
                }
            });
        }
    });
    for thread in 0..8_u32 {
        assert_eq!(listed(&ct, &Filter::new().mark(thread)).len(), 50);
    }
}

#[test]
fn buffers_are_forced_or_clamped_and_told() {
    own_namespace();
    let want = 3 << 20;
    let ct = Conntrack::builder()
        .receive_buffer(want)
        .send_buffer(want)
        .open()
        .unwrap();
    // The kernel doubles what it grants (socket(7)).
    if in_initial_user_namespace() {
        assert_eq!(
            (ct.receive_buffer(), ct.send_buffer()),
            (2 * want, 2 * want)
        );
    } else {
        assert!(ct.receive_buffer() <= 2 * want && ct.receive_buffer() > 0);
        assert!(ct.send_buffer() <= 2 * want && ct.send_buffer() > 0);
    }
    let small = Conntrack::builder()
        .receive_buffer(1)
        .send_buffer(1)
        .open()
        .unwrap();
    assert!(small.receive_buffer() < 8192, "{}", small.receive_buffer());
    assert!(small.send_buffer() < 16384, "{}", small.send_buffer());
}

#[test]
fn tiny_buffers_still_do_everything() {
    own_namespace();
    let ct = Conntrack::builder()
        .receive_buffer(1)
        .send_buffer(1)
        .open()
        .unwrap();
    let entries: Vec<_> = (0..3000).map(|n| udp(n).build().unwrap()).collect();
    assert_eq!(ct.create_many(&entries).into_result().unwrap(), 3000);
    // Every second refusal is reported on its own entry, though few fit the buffer at once.
    let again = ct.create_many(&entries);
    assert_eq!(again.failures().count(), 3000);
    assert!(again.failures().all(|(_, error)| error.is_exists()));
    assert_eq!(listed(&ct, &Filter::new()).len(), 3000);
    // Look-ups for keys without ids go through the same buffer.
    assert_eq!(ct.delete_many(&entries).into_result().unwrap(), 3000);
    assert_eq!(ct.count().unwrap().entries, 0);
}

#[test]
fn sockets_are_close_on_exec() {
    let ct = open();
    let listing = ct.list(&Filter::new()).unwrap();
    // The list has taken the idle socket, so this opens another.
    ct.count().unwrap();
    let sockets = netfilter_sockets_when(|count| count == 2);
    let mut checked = 0;
    for fd in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let Ok(link) = std::fs::read_link(fd.path()) else {
            continue;
        };
        let link = link.display().to_string();
        if sockets
            .iter()
            .any(|(_, inode)| link == format!("socket:[{inode}]"))
        {
            let info = format!("/proc/self/fdinfo/{}", fd.file_name().to_string_lossy());
            let info = std::fs::read_to_string(info).unwrap();
            let flags = info
                .lines()
                .find_map(|line| line.strip_prefix("flags:"))
                .unwrap();
            let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
            assert_ne!(flags & 0o2_000_000, 0, "O_CLOEXEC of {link}");
            checked += 1;
        }
    }
    assert_eq!(checked, 2);
    drop(listing);
    drop(ct);
    netfilter_sockets_when(|count| count == 0);
}

#[test]
fn a_handle_keeps_few_sockets() {
    let ct = open();
    let lists: Vec<_> = (0..10).map(|_| ct.list(&Filter::new()).unwrap()).collect();
    netfilter_sockets_when(|count| count >= 10);
    // Ended lists give their sockets back; only some of those are kept.
    for list in lists {
        assert_eq!(list.count(), 0);
    }
    netfilter_sockets_when(|count| count <= 4);
}

#[test]
fn deadlines_belong_to_the_handle() {
    let ct = open();
    assert_eq!(ct.deadline(), ctnetlink::Builder::DEADLINE);
    let hasty = ct.with_deadline(Duration::ZERO);
    assert_eq!(hasty.deadline(), Duration::ZERO);
    // The kernel answers while it is asked, so even no time at all is enough.
    hasty.create(&udp(1).build().unwrap()).unwrap();
    assert_eq!(listed(&hasty, &Filter::new()).len(), 1);
    assert_eq!(ct.count().unwrap().entries, 1);
}
