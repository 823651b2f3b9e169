//! What the gateway does to packets, in nftables' own words.

use std::net::IpAddr;

use super::world::{Side, V4, V6};
use crate::support::run;

/// Ports of the gateway's front, and those of the server that they lead to.
pub(super) const WEB: (u16, u16) = (8080, 80);
pub(super) const DNS: (u16, u16) = (5353, 53);
pub(super) const FTP: u16 = 21;
/// A UDP port of the server that nobody tracks.
pub(super) const UNTRACKED: u16 = 7003;
/// UDP ports of the server with a mark, a zone, and a zone of one direction.
pub(super) const MARKED: (u16, u32) = (7005, 0x00be_ef05);
pub(super) const ZONED: (u16, u16) = (7007, 7);
pub(super) const ORIG_ZONED: (u16, u16) = (7009, 9);
pub(super) const REPLY_ZONED: (u16, u16) = (7011, 11);

/// Translation of destinations: ports of the front lead to the server.
fn destinations(family: &str, side: Side) -> String {
    let to = |port: u16| match side.server {
        IpAddr::V4(server) => format!("{family} to {server}:{port}"),
        IpAddr::V6(server) => format!("{family} to [{server}]:{port}"),
    };
    [("tcp", WEB), ("udp", DNS), ("tcp", (FTP, FTP))]
        .map(|(protocol, (outside, inside))| {
            let front = side.front;
            let to = to(inside);
            format!("{family} daddr {front} {protocol} dport {outside} dnat {to}")
        })
        .join("\n")
}

/// The zones of the ports that have one. Zones of both directions, and of the answers, are
/// said for packets of both.
fn zones() -> String {
    let ((zoned, zone), (answers, reply), (orig_zoned, orig)) = (ZONED, REPLY_ZONED, ORIG_ZONED);
    let mut rules = vec![format!(
        "udp dport {orig_zoned} ct original zone set {orig}"
    )];
    for way in ["dport", "sport"] {
        rules.push(format!("udp {way} {UNTRACKED} notrack"));
        rules.push(format!("udp {way} {zoned} ct zone set {zone}"));
        rules.push(format!("udp {way} {answers} ct reply zone set {reply}"));
    }
    rules.join("\n")
}

/// All of it.
pub(super) fn rules() -> String {
    let (port, mark) = MARKED;
    let zones = zones();
    let (to4, to6) = (destinations("ip", V4), destinations("ip6", V6));
    let (plain4, plain6, back6) = (V4.plain, V6.plain, V6.back);
    format!(
        "table inet gateway {{
            ct helper ftp {{ type \"ftp\" protocol tcp; }}
            counter orig {{ }}
            counter reply {{ }}
            chain early {{ type filter hook prerouting priority raw;
                {zones}
            }}
            # Right behind conntrack, which counts a packet as it finds it.
            chain seen {{ type filter hook prerouting priority -199;
                meta l4proto tcp ct direction original counter name orig
                meta l4proto tcp ct direction reply counter name reply
                udp dport {port} ct mark set {mark}
            }}
            chain pre {{ type nat hook prerouting priority dstnat;
                {to4}
                {to6}
            }}
            chain help {{ type filter hook prerouting priority filter;
                tcp dport {FTP} ct helper set \"ftp\"
            }}
            # Sources are translated in one way in each family.
            chain post {{ type nat hook postrouting priority srcnat;
                ip daddr {plain4} return
                ip6 daddr {plain6} return
                oifname back meta nfproto ipv4 masquerade
                oifname back meta nfproto ipv6 snat ip6 to {back6}
            }}
        }}"
    )
}

/// Packets and bytes of TCP that nftables counted in this thread's namespace, in the original and
/// the reply direction.
pub(super) fn tcp_counted() -> [(u64, u64); 2] {
    ["orig", "reply"].map(|name| {
        let text = run("nft", &["list", "counter", "inet", "gateway", name]);
        let words: Vec<_> = text.split_whitespace().collect();
        let after = |word: &str| {
            let at = words.iter().position(|found| *found == word).unwrap();
            words[at + 1].parse().unwrap()
        };
        (after("packets"), after("bytes"))
    })
}
