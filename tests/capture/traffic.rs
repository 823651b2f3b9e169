//! Entries that packets made.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::bytes::{ACK, AF_INET, AF_UNSPEC, DUMP, ENTRIES, EXPECTATIONS, request};
use crate::events::{GROUPS, is_destroy, is_new, is_update};
use crate::expect::EVENTS as EXPECT_EVENTS;
use crate::store::Store;
use crate::talk::{Talk, kind};
use crate::world::{Routed, rules, rules_if_built_in, set};

const PATIENCE: Duration = Duration::from_secs(20);
/// A rule that speaks of conntrack lets the namespace track.
const TRACK: &str =
    "table inet t { chain c { type filter hook output priority 0; ct state new accept; }; }";
const DELETE_ALL: &str = "IPCTNL_MSG_CT_DELETE of the whole table";

fn flush(talk: &Talk) {
    let all = request(ENTRIES, 2, ACK, AF_UNSPEC, &[]);
    assert_eq!(talk.acknowledged(&all), 0);
}

/// A connection, with its listener's end.
fn connect(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Sends a line and reads it on the other side.
fn say(from: &mut TcpStream, to: &mut TcpStream, line: &str) {
    from.write_all(line.as_bytes()).unwrap();
    to.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut got = vec![0; line.len()];
    to.read_exact(&mut got).unwrap();
    assert_eq!(got, line.as_bytes());
}

pub(crate) fn loopback(store: &mut Store) {
    let talk = Talk::open();
    let events = Talk::listen(GROUPS);
    rules(TRACK);
    set("nf_conntrack_acct", "1");
    set("nf_conntrack_timestamp", "1");
    let setup = format!("nft '{TRACK}'; nf_conntrack_acct=1 nf_conntrack_timestamp=1; ");
    for (family, address) in [(4, "127.0.0.1:0"), (6, "[::1]:0")] {
        let request = format!("{setup}a connection of TCP to {address}");
        let listener = TcpListener::bind(address).unwrap();
        let (mut client, mut server) = connect(&listener);
        let mut keep = |name: &str, what: &str, message: &[u8]| {
            let what = format!("{what} a real connection of TCP over IPv{family}");
            store.keep(&format!("{name}{family}"), &what, &request, message);
        };
        keep(
            "event-new-traffic-tcp",
            "the event NEW of",
            &events.wait_for("NEW", is_new),
        );
        keep(
            "event-update-traffic-tcp",
            "the event UPDATE of",
            &events.wait_for("UPDATE", is_update),
        );
        say(&mut client, &mut server, "a line\n");
        say(&mut server, &mut client, "and another\n");
        keep("traffic-tcp-established", "an entry of", &talk.only());
        drop(client);
        drop(server);
        keep(
            "traffic-tcp-closed",
            "an entry after the end of",
            &talk.only(),
        );
        events.drain();
        flush(&talk);
        store.keep(
            &format!("event-destroy-traffic-tcp{family}"),
            &format!("the event DESTROY of a real connection of TCP over IPv{family}, with counters and both time stamps"),
            &format!("{request}; {DELETE_ALL}"),
            &events.wait_for("DESTROY", is_destroy),
        );
    }
    let request = format!("{setup}datagrams of UDP to 127.0.0.1:0");
    let (one, two) = (
        UdpSocket::bind("127.0.0.1:0").unwrap(),
        UdpSocket::bind("127.0.0.1:0").unwrap(),
    );
    let mut buffer = [0; 16];
    let (at, back) = (two.local_addr().unwrap(), one.local_addr().unwrap());
    one.send_to(b"ask", at).unwrap();
    two.recv(&mut buffer).unwrap();
    store.keep(
        "traffic-udp-unreplied4",
        "an entry of UDP before the answer",
        &request,
        &talk.only(),
    );
    two.send_to(b"answer", back).unwrap();
    one.recv(&mut buffer).unwrap();
    store.keep(
        "traffic-udp-replied4",
        "an entry of UDP after the answer",
        &request,
        &talk.only(),
    );
}

/// A transfer over a router that helps FTP: an expectation, and the entry that it becomes.
pub(crate) fn ftp(store: &mut Store) {
    const RULES: &str = "table ip t { ct helper ftp { type \"ftp\" protocol tcp; }; chain c { type filter hook prerouting priority 0; tcp dport 21 ct helper set \"ftp\"; }; chain f { type filter hook forward priority 0; ct state invalid drop; }; }";
    let net = Routed::new();
    let (talk, events) = net.router.enter(|| {
        rules(RULES);
        let groups = [GROUPS, EXPECT_EVENTS].concat();
        (Talk::open(), Talk::listen(&groups))
    });
    let setup = format!("nft '{RULES}' on a router; ");
    let (listener, data) = net.server.enter(|| {
        (
            TcpListener::bind("10.9.2.2:21").unwrap(),
            TcpListener::bind("10.9.2.2:51210").unwrap(),
        )
    });
    let (mut client, mut server) = net.client.enter(|| connect(&listener));
    say(&mut server, &mut client, "220 ready\r\n");
    say(&mut client, &mut server, "PASV\r\n");
    say(
        &mut server,
        &mut client,
        "227 Entering Passive Mode (10,9,2,2,200,10)\r\n",
    );
    let request_made = format!("{setup}a session of FTP that asks for passive mode");
    let is_expect = |wanted: u16| move |message: &[u8]| kind(message) == wanted;
    store.keep(
        "event-expect-new-ftp",
        "the event NEW of an expectation that the helper made",
        &request_made,
        &events.wait_for("EXP_NEW", is_expect(0x200)),
    );
    let expected = talk.dump(&request(EXPECTATIONS, 1, DUMP, AF_UNSPEC, &[]));
    assert_eq!(expected.len(), 1);
    store.keep(
        "expect-traffic-ftp",
        "an expectation that the helper ftp made",
        &format!("{request_made}; IPCTNL_MSG_EXP_GET, NLM_F_DUMP"),
        &expected[0],
    );
    store.keep(
        "traffic-ftp-control",
        "an entry with a helper that a rule gave it",
        &request_made,
        &talk.only(),
    );
    let transfer = net.client.enter(|| connect(&data));
    let request_made = format!("{request_made}, and the connection for the data");
    // The first packet takes the expectation away before its own entry is confirmed.
    store.keep(
        "event-expect-destroy-ftp",
        "the event DESTROY of an expectation that was met",
        &request_made,
        &events.wait_for("EXP_DESTROY", is_expect(0x202)),
    );
    store.keep(
        "event-new-traffic-ftp-data",
        "the event NEW of an entry that was expected",
        &request_made,
        &events.wait_for("NEW", is_new),
    );
    let table = talk.dump(&request(ENTRIES, 1, DUMP, AF_INET, &[]));
    // CTA_TUPLE_MASTER, nested.
    let master = table
        .iter()
        .find(|message| message.windows(2).any(|bytes| bytes == [14, 0x80]));
    store.keep(
        "traffic-ftp-data",
        "an entry that was expected, with its master",
        &request_made,
        master.expect("the connection for the data is tracked"),
    );
    drop(transfer);
}

/// A connection that a flow table took over has neither time-out nor state.
pub(crate) fn offload(store: &mut Store) {
    const RULES: &str = "table ip t { flowtable f { hook ingress priority 0; devices = { c0, s0 }; }; chain c { type filter hook forward priority 0; ip protocol tcp flow add @f; ct state new accept; }; }";
    let net = Routed::new();
    let opened = net.router.enter(|| {
        let built_in = rules_if_built_in(RULES);
        built_in.then(|| (Talk::open(), Talk::listen(GROUPS)))
    });
    let Some((talk, events)) = opened else {
        return store.lacks("offload", "nf_tables has no flow tables");
    };
    let listener = net
        .server
        .enter(|| TcpListener::bind("10.9.2.2:80").unwrap());
    let (mut client, mut server) = net.client.enter(|| connect(&listener));
    let end = Instant::now() + PATIENCE;
    let shown = loop {
        say(&mut client, &mut server, "ask\n");
        say(&mut server, &mut client, "answer\n");
        let entry = talk.only();
        if status(&entry) & (1 << 14) != 0 {
            break entry;
        }
        assert!(Instant::now() < end, "the flow table takes no connection");
    };
    let made = format!("nft '{RULES}' on a router; a connection of TCP over it");
    store.keep(
        "offload",
        "an entry that a flow table took over, OFFLOAD",
        &made,
        &shown,
    );
    events.drain();
    flush(&talk);
    store.keep(
        "event-destroy-offload",
        "the event DESTROY of an entry that a flow table took over",
        &format!("{made}; {DELETE_ALL}"),
        &events.wait_for("DESTROY", is_destroy),
    );
}

/// `CTA_STATUS`, which follows the two tuples.
fn status(entry: &[u8]) -> u32 {
    let at = entry
        .windows(4)
        .position(|bytes| bytes == [8, 0, 3, 0])
        .expect("an entry has a status");
    u32::from_be_bytes(entry[at + 4..at + 8].try_into().unwrap())
}

/// A connection that the SYN proxy made: its own state, and adjusted sequence numbers.
pub(crate) fn syn_proxy(store: &mut Store) {
    const RULES: &str = "table ip t { chain r { type filter hook prerouting priority -300; tcp dport 80 tcp flags & (fin|syn|rst|ack) == syn notrack; }; chain f { type filter hook forward priority 0; ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm; }; }";
    let net = Routed::new();
    let opened = net.router.enter(|| {
        let built_in = rules_if_built_in(RULES);
        set("nf_conntrack_tcp_loose", "0");
        built_in.then(Talk::open)
    });
    let Some(talk) = opened else {
        return store.lacks("synproxy", "nf_tables has no SYN proxy");
    };
    let listener = net
        .server
        .enter(|| TcpListener::bind("10.9.2.2:80").unwrap());
    let (mut client, mut server) = net.client.enter(|| connect(&listener));
    say(&mut client, &mut server, "ask\n");
    say(&mut server, &mut client, "answer\n");
    store.keep(
        "synproxy",
        "an entry that the SYN proxy made, with adjusted sequence numbers",
        &format!(
            "nf_conntrack_tcp_loose=0; nft '{RULES}' on a router; a connection of TCP over it"
        ),
        &talk.only(),
    );
}
