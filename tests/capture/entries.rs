//! Entries that a request made, as a dump shows them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ctnetlink::{
    Conntrack, DccpInfo, DccpRole, DccpState, Entry, EntryBuilder, EntryZone, GreKeys, Helper,
    Icmp, Icmpv6, Labels, NatRange, Protocol, SctpInfo, SctpState, SeqAdjust, Status, Synproxy,
    TcpFlagChange, TcpFlags, TcpInfo, TcpState, Zone,
};

use crate::bytes::{AF_INET, AF_UNSPEC, DUMP, ENTRIES, be32, request, tuple};
use crate::store::Store;
use crate::talk::Talk;
use crate::world::{rules, set};

const LONG: Duration = Duration::from_secs(100_000);

/// What makes room for labels.
pub(crate) const LABEL_RULE: &str =
    "add table inet t; add chain inet t c; add rule inet t c ct label set 1";

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The ends of a flow: of a family.
pub(crate) fn ends(family: u8, dst_port: u16) -> (SocketAddr, SocketAddr) {
    match family {
        4 => (
            (address("10.0.0.1"), 40_000).into(),
            (address("10.0.0.2"), dst_port).into(),
        ),
        _ => (
            (address("2001:db8::1"), 40_000).into(),
            (address("2001:db8::2"), dst_port).into(),
        ),
    }
}

/// Makes entries one at a time, and keeps what the kernel shows of each.
pub(crate) struct Maker<'a> {
    store: &'a mut Store,
    pub(crate) ct: Conntrack,
    pub(crate) talk: Talk,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(store: &'a mut Store) -> Self {
        Self {
            store,
            ct: Conntrack::open().unwrap(),
            talk: Talk::open(),
        }
    }

    fn entry(&mut self, name: &str, what: &str, builder: EntryBuilder) {
        self.entry_after(name, what, "", builder);
    }

    /// `setup`: what had been done before.
    fn entry_after(&mut self, name: &str, what: &str, setup: &str, builder: EntryBuilder) {
        let new = builder.timeout(LONG).build().unwrap();
        match self.ct.create(&new) {
            Ok(()) => {}
            Err(error) if error.is_unsupported() => {
                return self.store.lacks(name, error);
            }
            Err(error) => panic!("{name}: {error}"),
        }
        let shown = self.talk.only();
        let request =
            format!("{setup}IPCTNL_MSG_CT_NEW of \"{new}\"; IPCTNL_MSG_CT_GET, NLM_F_DUMP");
        self.store.keep(name, what, &request, &shown);
        self.ct.flush_all().unwrap();
    }
}

pub(crate) fn protocols(store: &mut Store) {
    let mut maker = Maker::new(store);
    for (name, state) in [
        ("syn-sent", TcpState::SynSent),
        ("syn-recv", TcpState::SynRecv),
        ("established", TcpState::Established),
        ("fin-wait", TcpState::FinWait),
        ("close-wait", TcpState::CloseWait),
        ("last-ack", TcpState::LastAck),
        ("time-wait", TcpState::TimeWait),
        ("close", TcpState::Close),
        ("syn-sent2", TcpState::SynSent2),
    ] {
        let (src, dst) = ends(4, 80);
        let what = format!("an entry of TCP over IPv4, {state}");
        maker.entry(
            &format!("tcp4-{name}"),
            &what,
            Entry::tcp(src, dst).state(state),
        );
    }
    tcp_flags(&mut maker);
    for family in [4, 6] {
        of_family(&mut maker, family);
    }
    icmp(&mut maker);
}

fn tcp_flags(maker: &mut Maker<'_>) {
    let (src, dst) = ends(4, 80);
    let on = TcpFlagChange::on(TcpFlags::WINDOW_SCALE | TcpFlags::SACK_PERM);
    let info = TcpInfo {
        orig_window_scale: Some(7),
        reply_window_scale: Some(14),
        orig_flags: Some(on),
        reply_flags: Some(TcpFlagChange::on(
            TcpFlags::BE_LIBERAL | TcpFlags::WINDOW_SCALE,
        )),
        ..TcpInfo::new(TcpState::Established)
    };
    maker.entry(
        "tcp4-flags",
        "an entry of TCP with window scales and flags",
        Entry::tcp(src, dst).tcp_info(info),
    );
}

fn of_family(maker: &mut Maker<'_>, family: u8) {
    let (src, dst) = ends(family, 80);
    let over = format!("over IPv{family}");
    if family == 6 {
        maker.entry(
            "tcp6-established",
            "an entry of TCP over IPv6, ESTABLISHED",
            Entry::tcp(src, dst).state(TcpState::Established),
        );
    }
    let mut entry = |protocol: &str, label: &str, builder: EntryBuilder| {
        let what = format!("an entry of {label} {over}");
        maker.entry(&format!("{protocol}{family}"), &what, builder);
    };
    entry("udp", "UDP", Entry::udp(src, dst));
    // What has nothing to do with addresses is asked for once.
    let sctp = |state| SctpInfo::new(state, 0x0102_0304, 0xffff_fffe);
    let dccp = |state, role| Entry::dccp(src, dst).dccp_info(DccpInfo::new(state, role));
    if family == 4 {
        entry(
            "sctp-cookie-wait",
            "SCTP, COOKIE_WAIT,",
            Entry::sctp(src, dst).sctp_info(sctp(SctpState::CookieWait)),
        );
        entry(
            "dccp-request",
            "DCCP, REQUEST,",
            dccp(DccpState::Request, DccpRole::Server),
        );
        entry(
            "udp-assured",
            "UDP that was answered, SEEN_REPLY and ASSURED,",
            Entry::udp(src, dst).status(Status::SEEN_REPLY | Status::ASSURED),
        );
    }
    entry("udplite", "UDP-Lite", Entry::udplite(src, dst));
    entry(
        "sctp-established",
        "SCTP, ESTABLISHED,",
        Entry::sctp(src, dst).sctp_info(sctp(SctpState::Established)),
    );
    entry(
        "dccp-open",
        "DCCP, OPEN,",
        dccp(DccpState::Open, DccpRole::Client),
    );
    entry(
        "gre",
        "GRE",
        Entry::gre(src.ip(), dst.ip(), GreKeys { src: 7, dst: 9 }),
    );
    entry(
        "esp",
        "ESP (50), which has no tracker,",
        Entry::other(Protocol::new(50), src.ip(), dst.ip()),
    );
}

fn icmp(maker: &mut Maker<'_>) {
    let (src, dst) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    maker.entry(
        "icmp-echo",
        "an entry of ICMP, echo",
        Entry::icmp(src, dst, Icmp::echo_request(0x1234)),
    );
    maker.entry(
        "icmp-timestamp",
        "an entry of ICMP, timestamp",
        Entry::icmp(src, dst, Icmp::new(13, 0, 7).unwrap()),
    );
    let (src, dst) = (
        "2001:db8::1".parse().unwrap(),
        "2001:db8::2".parse().unwrap(),
    );
    maker.entry(
        "icmpv6-echo",
        "an entry of ICMPv6, echo",
        Entry::icmpv6(src, dst, Icmpv6::echo_request(0x1234)),
    );
}

pub(crate) fn zones(store: &mut Store) {
    let mut maker = Maker::new(store);
    for family in [4, 6] {
        let (src, dst) = ends(family, 53);
        let zones = [
            ("both", "both directions", EntryZone::Both(Zone::new(4097))),
            (
                "orig",
                "the original direction",
                EntryZone::Orig(Zone::new(5)),
            ),
            ("reply", "the reply direction", EntryZone::Reply(Zone::MAX)),
        ];
        for (name, what, zone) in zones {
            maker.entry(
                &format!("zone-{name}{family}"),
                &format!("an entry over IPv{family} whose zone holds in {what}"),
                Entry::udp(src, dst).zone(zone),
            );
        }
    }
}

pub(crate) fn extensions(store: &mut Store) {
    let mut maker = Maker::new(store);
    let (src, dst) = ends(4, 53);
    let udp = || Entry::udp(src, dst);
    let (src, dst) = ends(4, 21);
    let ftp = || Entry::tcp(src, dst).state(TcpState::Established);

    maker.entry("mark", "an entry with a mark", udp().mark(0xdead_beef));
    maker.entry(
        "status-fixed-timeout",
        "an entry with FIXED_TIMEOUT",
        udp().status(Status::FIXED_TIMEOUT | Status::CONFIRMED),
    );
    maker.entry(
        "helper-ftp",
        "an entry with the helper ftp",
        ftp().helper(Helper::FTP),
    );
    let (src6, dst6) = ends(6, 21);
    maker.entry(
        "helper-ftp6",
        "an entry over IPv6 with the helper ftp",
        Entry::tcp(src6, dst6)
            .state(TcpState::Established)
            .helper(Helper::FTP),
    );
    let adjust = |pos| SeqAdjust {
        correction_pos: pos,
        offset_before: -7,
        offset_after: 12,
    };
    maker.entry(
        "seq-adjust",
        "an entry with adjusted sequence numbers in both directions",
        ftp()
            .nat_src(NatRange::address(address("203.0.113.9")))
            .seq_adjust(adjust(1000), adjust(2000)),
    );
    let proxy = Synproxy {
        isn: 1,
        its: 0xffff_ffff,
        tsoff: 3,
    };
    maker.entry(
        "synproxy-requested",
        "an entry for which the SYN proxy's state was given",
        ftp().synproxy(proxy),
    );

    master(&mut maker);
    recorded(&mut maker);
}

/// A master has to be there, so the table has two.
fn master(maker: &mut Maker<'_>) {
    let (src, dst) = ends(4, 21);
    let control = Entry::tcp(src, dst)
        .state(TcpState::Established)
        .timeout(LONG)
        .build()
        .unwrap();
    maker.ct.create(&control).unwrap();
    let data = Entry::tcp(
        (address("10.0.0.2"), 20).into(),
        (address("10.0.0.1"), 1024).into(),
    );
    let data = data.timeout(LONG).master(*control.entry().orig());
    let data = data.build().unwrap();
    maker.ct.create(&data).unwrap();
    let shown = maker.talk.table().into_iter().find(|message| {
        // Only its tuple has this port, as the source: CTA_PROTO_SRC_PORT, 1024.
        message.windows(6).any(|bytes| bytes == [6, 0, 2, 0, 4, 0])
    });
    let request = format!(
        "IPCTNL_MSG_CT_NEW of \"{control}\"; IPCTNL_MSG_CT_NEW of \"{data}\"; IPCTNL_MSG_CT_GET, NLM_F_DUMP"
    );
    maker.store.keep(
        "master",
        "an entry that was expected, with its master",
        &request,
        &shown.expect("the entry is in the table"),
    );
    maker.ct.flush_all().unwrap();
}

/// What the namespace has to be told to keep.
fn recorded(maker: &mut Maker<'_>) {
    let (src, dst) = ends(4, 53);
    let udp = || Entry::udp(src, dst);
    let (src, dst) = ends(4, 21);
    let ftp = || Entry::tcp(src, dst).state(TcpState::Established);
    rules(LABEL_RULE);
    let labels = [0, 1, 64, 127]
        .into_iter()
        .fold(Labels::EMPTY, |labels, n| labels.with(n).unwrap());
    let setup = format!("nft '{LABEL_RULE}'; ");
    maker.entry_after(
        "labels",
        "an entry with labels 0, 1, 64 and 127",
        &setup,
        udp().labels(labels),
    );
    maker.entry_after(
        "labels-none",
        "an entry that has room for labels, and none",
        &setup,
        udp(),
    );

    set("nf_conntrack_acct", "1");
    maker.entry_after(
        "counters",
        "an entry that counts, before its first packet",
        "nf_conntrack_acct=1; ",
        udp(),
    );
    set("nf_conntrack_timestamp", "1");
    maker.entry_after(
        "timestamp",
        "an entry with the time of its start",
        "nf_conntrack_acct=1 nf_conntrack_timestamp=1; ",
        udp(),
    );
    maker.entry_after(
        "everything",
        "an entry with labels, mark, zone, helper, counters, time stamp and translation",
        &format!("{setup}nf_conntrack_acct=1 nf_conntrack_timestamp=1; "),
        ftp()
            .labels(labels)
            .mark(7)
            .zone(Zone::new(9))
            .helper(Helper::FTP)
            .nat_src(NatRange::address(address("203.0.113.9")))
            .status(Status::SEEN_REPLY | Status::ASSURED),
    );
}

pub(crate) fn translation(store: &mut Store) {
    let mut maker = Maker::new(store);
    for family in [4, 6] {
        let (src, dst) = ends(family, 53);
        let to = address(if family == 4 {
            "203.0.113.9"
        } else {
            "2001:db8:1::9"
        });
        let ports = NatRange::address(to).ports(2000, 2009).unwrap();
        let mut entry = |name: &str, what: &str, builder| {
            let what = format!("an entry over IPv{family}, {what}");
            maker.entry(&format!("nat-{name}{family}"), &what, builder);
        };
        let udp = || Entry::udp(src, dst);
        if family == 4 {
            entry(
                "src",
                "source translated",
                udp().nat_src(NatRange::address(to)),
            );
            entry(
                "dst-ports",
                "destination and its port translated",
                udp().nat_dst(ports),
            );
        }
        entry(
            "src-ports",
            "source and its port translated",
            udp().nat_src(ports),
        );
        entry(
            "dst",
            "destination translated",
            udp().nat_dst(NatRange::address(to)),
        );
        entry(
            "both",
            "source and destination translated",
            udp().nat_src(NatRange::address(to)).nat_dst(ports),
        );
    }
}

/// The other answers that have entries: to a look-up, to a dump that zeroes, to a filtered dump.
pub(crate) fn replies(store: &mut Store) {
    let maker = Maker::new(store);
    set("nf_conntrack_acct", "1");
    let (src, dst) = ends(4, 53);
    let new = Entry::udp(src, dst).timeout(LONG).mark(7).build().unwrap();
    maker.ct.create(&new).unwrap();
    let made = format!("nf_conntrack_acct=1; IPCTNL_MSG_CT_NEW of \"{new}\"");
    let key = tuple(1, 17, (src.ip(), src.port()), (dst.ip(), dst.port()));
    let got = maker.talk.ask(&request(ENTRIES, 1, 0, AF_INET, &[key]));
    maker.store.keep(
        "get",
        "the answer to a look-up",
        &format!("{made}; IPCTNL_MSG_CT_GET of its original tuple"),
        &got[0],
    );
    let zeroed = maker.talk.dump(&request(ENTRIES, 3, DUMP, AF_UNSPEC, &[]));
    maker.store.keep(
        "get-ctrzero",
        "an entry of a dump that zeroes counters",
        &format!("{made}; IPCTNL_MSG_CT_GET_CTRZERO, NLM_F_DUMP"),
        &zeroed[0],
    );
    let filter = [be32(8, 7), be32(21, u32::MAX)];
    let filtered = maker
        .talk
        .dump(&request(ENTRIES, 1, DUMP, AF_INET, &filter));
    maker.store.keep(
        "dump-filtered",
        "an entry of a filtered dump",
        &format!("{made}; IPCTNL_MSG_CT_GET, NLM_F_DUMP, family IPv4, CTA_MARK 7, CTA_MARK_MASK 0xffffffff"),
        &filtered[0],
    );
}
