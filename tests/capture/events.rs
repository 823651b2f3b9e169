//! Events that requests cause, and entries that wait to be reported.

use std::time::Duration;

use ctnetlink::{
    Conntrack, Entry, EntryBuilder, Helper, LabelChange, Labels, NatRange, TcpState, Update, Zone,
};

use crate::bytes::{AF_UNSPEC, DUMP, ENTRIES, request};
use crate::entries::{LABEL_RULE, address, ends};
use crate::store::Store;
use crate::talk::{Talk, flags, kind};
use crate::world::{rules, set};

/// `NFNLGRP_CONNTRACK_NEW`, `.._UPDATE`, `.._DESTROY`
pub(crate) const GROUPS: &[u32] = &[1, 2, 3];
const NLM_F_CREATE: u16 = 0x400;
const LONG: Duration = Duration::from_secs(100_000);

/// `IPCTNL_MSG_CT_NEW` that says that the entry is new.
pub(crate) fn is_new(message: &[u8]) -> bool {
    kind(message) == 0x100 && flags(message) & NLM_F_CREATE != 0
}

pub(crate) fn is_update(message: &[u8]) -> bool {
    kind(message) == 0x100 && flags(message) & NLM_F_CREATE == 0
}

pub(crate) fn is_destroy(message: &[u8]) -> bool {
    kind(message) == 0x102
}

/// Makes an entry, may change it, deletes it; keeps the event of each step.
fn life(
    store: &mut Store,
    name: &str,
    of: &str,
    setup: &str,
    entry: EntryBuilder,
    update: Option<(&str, &Update)>,
) {
    let ct = Conntrack::open().unwrap();
    let events = Talk::listen(GROUPS);
    let new = entry.timeout(LONG).build().unwrap();
    let made = format!("{setup}IPCTNL_MSG_CT_NEW of \"{new}\"");
    ct.create(&new).unwrap();
    let event = events.wait_for("NEW", is_new);
    store.keep(
        &format!("event-new-{name}"),
        &format!("the event NEW of {of}"),
        &made,
        &event,
    );
    if let Some((change, update)) = update {
        ct.update(&new, update).unwrap();
        let event = events.wait_for("UPDATE", is_update);
        store.keep(
            &format!("event-update-{name}"),
            &format!("the event UPDATE of {of}"),
            &format!("{made}; IPCTNL_MSG_CT_NEW that changes {change}"),
            &event,
        );
    }
    ct.delete(&new).unwrap();
    let event = events.wait_for("DESTROY", is_destroy);
    store.keep(
        &format!("event-destroy-{name}"),
        &format!("the event DESTROY of {of}"),
        &format!("{made}; IPCTNL_MSG_CT_DELETE"),
        &event,
    );
}

pub(crate) fn of_requests(store: &mut Store) {
    let (src, dst) = ends(4, 21);
    let (src6, dst6) = ends(6, 53);
    let tcp = || Entry::tcp(src, dst).state(TcpState::Established);
    let change = |builder: ctnetlink::UpdateBuilder| builder.build().unwrap();
    let mark = change(Update::builder().mark(9));
    let wait = change(Update::builder().state(TcpState::TimeWait));
    let assured = change(Update::builder().assured());

    life(
        store,
        "tcp4",
        "an entry of TCP over IPv4",
        "",
        tcp(),
        Some(("the state to TIME_WAIT", &wait)),
    );
    life(
        store,
        "udp6",
        "an entry of UDP over IPv6",
        "",
        Entry::udp(src6, dst6),
        Some(("the status to ASSURED", &assured)),
    );
    life(
        store,
        "mark",
        "an entry with mark and zone",
        "",
        tcp().mark(7).zone(Zone::new(5)),
        Some(("the mark", &mark)),
    );
    life(
        store,
        "nat",
        "an entry with translation and helper",
        "",
        tcp()
            .nat_src(NatRange::address(address("203.0.113.9")))
            .helper(Helper::FTP),
        None,
    );
    rules(LABEL_RULE);
    set("nf_conntrack_acct", "1");
    set("nf_conntrack_timestamp", "1");
    let labels = change(Update::builder().labels(LabelChange::add(Labels::bit(64).unwrap())));
    life(
        store,
        "labels",
        "an entry with labels, counters and time stamps",
        &format!("nft '{LABEL_RULE}'; nf_conntrack_acct=1 nf_conntrack_timestamp=1; "),
        tcp().labels(Labels::bit(1).unwrap()),
        Some(("labels", &labels)),
    );
}

/// An entry whose end no listener could be told is kept until one can.
pub(crate) fn dying(store: &mut Store) {
    let ct = Conntrack::open().unwrap();
    let talk = Talk::open();
    // A listener that wants every event and takes none: its buffer is soon full.
    let deaf = Talk::listen(&[3]);
    deaf.socket.set_rx_buf_sz(1_u32).unwrap();
    deaf.socket.set_broadcast_error(true).unwrap();
    let get_dying = request(ENTRIES, 6, DUMP, AF_UNSPEC, &[]);
    for port in 1..200_u16 {
        let (src, dst) = ((address("10.0.0.1"), port), (address("10.0.0.2"), 53));
        let new = Entry::udp(src.into(), dst.into())
            .timeout(LONG)
            .build()
            .unwrap();
        ct.create(&new).unwrap();
        ct.delete(&new).unwrap();
        if let Some(entry) = talk.dump(&get_dying).first() {
            store.keep(
                "dying",
                "an entry of the dying list",
                "IPCTNL_MSG_CT_NEW and IPCTNL_MSG_CT_DELETE of UDP flows, with a listener (NETLINK_BROADCAST_ERROR) that reads nothing; IPCTNL_MSG_CT_GET_DYING, NLM_F_DUMP",
                entry,
            );
            return;
        }
    }
    store.lacks("dying", "the dying list stays empty");
}
