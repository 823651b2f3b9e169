//! Strangers on the wire: other sockets can send to ours, and must not be believed.

use ctnetlink::{Conntrack, Filter};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use crate::support::{listed, netfilter_sockets_when, own_namespace, udp};

/// Fills the queue of the handle's only socket with acknowledgements for the next requests.
fn forge(code: i32) -> usize {
    // Its idle one; the last forger's was closed.
    let (port, _) = netfilter_sockets_when(|count| count == 1)[0];
    let mut forger = Socket::new(NETLINK_NETFILTER).unwrap();
    forger.bind_auto().unwrap();
    let mut sent = 0;
    for sequence in 0..64_u32 {
        let mut message = 36_u32.to_ne_bytes().to_vec();
        message.extend(2_u16.to_ne_bytes()); // NLMSG_ERROR
        message.extend(0_u16.to_ne_bytes());
        message.extend(sequence.to_ne_bytes());
        message.extend(port.to_ne_bytes());
        message.extend(code.to_ne_bytes());
        message.extend([0; 16]);
        forger
            .send_to(&message, &SocketAddr::new(port, 0), 0)
            .unwrap();
        sent += 1;
    }
    sent
}

#[test]
fn forged_answers_are_dropped() {
    own_namespace();
    let ct = Conntrack::open().unwrap();
    let entry = udp(1).build().unwrap();
    // A forged refusal does not hide a success,
    forge(-1);
    ct.create(&entry).unwrap();
    // and a forged success does not hide a refusal.
    forge(0);
    assert!(ct.create(&entry).unwrap_err().is_exists());
    forge(-2);
    assert_eq!(listed(&ct, &Filter::new()).len(), 1);
    forge(0);
    ct.delete(&entry).unwrap();
    assert_eq!(ct.count().unwrap().entries, 0);
}

/// Strangers that fill the receive buffer make answers get lost; that is told, never taken for
/// success.
#[test]
fn a_flooded_socket_never_reports_a_success_that_was_not_heard() {
    own_namespace();
    let ct = Conntrack::builder().receive_buffer(1).open().unwrap();
    let entry = udp(1).build().unwrap();
    let sockets = netfilter_sockets_when(|count| count == 1);
    let mut forger = Socket::new(NETLINK_NETFILTER).unwrap();
    forger.bind_auto().unwrap();
    let to = SocketAddr::new(sockets[0].0, 0);
    forger.set_non_blocking(true).unwrap();
    let mut sent = 0;
    // Down to the smallest, so that no gap is left that an acknowledgement fits into.
    for size in [512, 64, 1] {
        while forger.send_to(&[0; 512][..size], &to, 0).is_ok() {
            sent += 1;
        }
    }
    assert!(sent > 0, "the forger reached the handle's socket");
    // The queue is full: the kernel creates the entry and cannot say so.
    let error = ct.create(&entry).unwrap_err();
    assert!(error.is_overrun() && error.is_outcome_unknown(), "{error}");
    // The next conversation is unharmed, and tells what became of the last one.
    assert!(ct.create(&entry).unwrap_err().is_exists());
    assert_eq!(listed(&ct, &Filter::new()).len(), 1);
}
