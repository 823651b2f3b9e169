//! Command lines as programs write them, word for word, and what exactly comes of them.

use crate::base::Base;
use crate::compare::Pair;
use crate::differences;
use crate::grammar::Case;

/// Who runs it, the line, its exit status, what it counts, and how many entries are gone after it.
type Literal = (&'static str, &'static str, i32, &'static str, usize);

const LITERALS: &[Literal] = &[
    // Neutron: ip_conntrack.py for security groups, and the routers' floating addresses.
    (
        "Neutron, a rule is gone",
        "-D -p tcp -f ipv4 -d 10.0.0.2 -w 5",
        0,
        "1 flow entries have been deleted.",
        1,
    ),
    (
        "Neutron, a remote is gone",
        "-D -p udp -f ipv4 -s 10.0.0.1 -d 10.0.0.2 -w 5",
        0,
        "2 flow entries have been deleted.",
        2,
    ),
    (
        "Neutron, any protocol",
        "-D -f ipv4 -s 10.0.0.1 -w 5",
        0,
        "4 flow entries have been deleted.",
        4,
    ),
    (
        "Neutron, by mark",
        "-D -f ipv4 -d 10.0.0.2 -w 5 -m 0x5",
        0,
        "1 flow entries have been deleted.",
        1,
    ),
    (
        "Neutron, nothing there",
        "-D -f ipv6 -s 2001:db8::77 -w 4097",
        1,
        "0 flow entries have been deleted.",
        0,
    ),
    (
        "Neutron, ICMP",
        "-D -p icmp -f ipv4 -d 10.0.0.2 -w 5",
        1,
        "0 flow entries have been deleted.",
        0,
    ),
    (
        "Neutron, a floating address is gone",
        "-D -d 192.0.2.10",
        0,
        "3 flow entries have been deleted.",
        3,
    ),
    (
        "Neutron, the other side of a floating address",
        "-D -q 203.0.113.9",
        0,
        "3 flow entries have been deleted.",
        3,
    ),
    // kube-proxy: pkg/proxy/conntrack before it spoke netlink.
    (
        "kube-proxy, a service's address is gone",
        "-D --orig-dst 10.0.0.2 -p udp",
        0,
        "11 flow entries have been deleted.",
        11,
    ),
    (
        "kube-proxy, an endpoint is gone",
        "-D --orig-dst 10.0.0.2 --dst-nat 10.1.0.7 -p udp",
        0,
        "1 flow entries have been deleted.",
        1,
    ),
    (
        "kube-proxy, a port of the node",
        "-D -p udp --dport 53",
        0,
        "14 flow entries have been deleted.",
        14,
    ),
    (
        "kube-proxy, a port and an endpoint",
        "-D -p udp --dport 53 --dst-nat 10.1.0.7",
        0,
        "1 flow entries have been deleted.",
        1,
    ),
    (
        "kube-proxy, IPv6",
        "-D --orig-dst 2001:db8::2 -p udp -f ipv6",
        0,
        "2 flow entries have been deleted.",
        2,
    ),
    (
        "kube-proxy, no connections",
        "-D --orig-dst 10.96.0.10 -p udp",
        1,
        "0 flow entries have been deleted.",
        0,
    ),
    // Calico's Felix, one direction after the other.
    (
        "Felix",
        "--family ipv4 --delete --orig-src 10.0.0.5",
        0,
        "2 flow entries have been deleted.",
        2,
    ),
    (
        "Felix, the reply's source",
        "--family ipv4 --delete --reply-src 10.1.0.7",
        0,
        "3 flow entries have been deleted.",
        3,
    ),
    (
        "Felix, IPv6",
        "--family ipv6 --delete --reply-dst 2001:db8::1",
        0,
        "4 flow entries have been deleted.",
        4,
    ),
    // Docker's and others' cleaning up of UDP.
    (
        "Docker, a published port",
        "-D -p udp --orig-port-dst 53 --orig-src 10.0.1.1",
        0,
        "1 flow entries have been deleted.",
        1,
    ),
    // OVN's and OpenStack's operators: a zone.
    (
        "OVN, a zone",
        "-D -w 5",
        0,
        "5 flow entries have been deleted.",
        5,
    ),
    (
        "OVN, an empty zone",
        "-D -w 4097",
        1,
        "0 flow entries have been deleted.",
        0,
    ),
    // Scripts of keepalived, fail2ban, and of whoever wrote /etc/ppp/ip-up.
    (
        "keepalived, the state changes",
        "-F",
        0,
        "connection tracking table has been emptied.",
        usize::MAX,
    ),
    (
        "fail2ban",
        "-D -s 10.0.1.1",
        0,
        "1 flow entries have been deleted.",
        1,
    ),
    (
        "a link is up",
        "-D --src-nat",
        0,
        "4 flow entries have been deleted.",
        4,
    ),
    (
        "a mark of policy routing",
        "-D -m 0x10000/0x10000",
        0,
        "1 flow entries have been deleted.",
        1,
    ),
    (
        "expectations are forgotten",
        "-F expect",
        0,
        "expectation table has been emptied.",
        0,
    ),
    // What monitoring reads.
    (
        "a count of the established",
        "-L -p tcp --state ESTABLISHED",
        0,
        "7 flow entries have been shown.",
        0,
    ),
    (
        "assured ones",
        "-L -o extended -u ASSURED -f ipv4",
        0,
        "4 flow entries have been shown.",
        0,
    ),
    (
        "translated ones",
        "-L -j -o id",
        0,
        "6 flow entries have been shown.",
        0,
    ),
    (
        "expectations",
        "-L expect",
        0,
        "1 expectations have been shown.",
        0,
    ),
];

#[test]
fn programs_find_what_they_know() {
    let mut pair = Pair::new(Base::All);
    let all = pair.entries();
    let mut wrong = Vec::new();
    for (who, line, exit, counts, gone) in LITERALS {
        let args: Vec<_> = line.split(' ').collect();
        let case = Case::new(&args);
        let meeting = pair.meet(&case, false);
        let gone = *gone.min(&all);
        for (name, seen) in [("conntrack", &meeting.theirs), ("ctnl", &meeting.ours)] {
            let left = seen.table.as_ref().map_or(all, |table| table.entries.len());
            let told = (seen.class(), seen.counts.concat(), all - left);
            if told != (*exit, (*counts).to_owned(), gone) {
                wrong.push(format!("{who}: {name} {line}: {told:?}\n"));
            }
        }
        let left = differences::not_meant(&case, &meeting);
        if !left.is_empty() {
            wrong.push(format!("{who}: {}\n{}", case.shell(), meeting.describe()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

/// What kube-proxy and Felix look for in all that was printed, when nothing was there.
#[test]
fn nothing_deleted_is_said_as_ever() {
    let mut pair = Pair::new(Base::All);
    for line in [
        "-D -p udp --dport 5",
        "-D -f ipv6 -q 2001:db8::9",
        "-D -w 77",
    ] {
        let args: Vec<_> = line.split(' ').collect();
        let meeting = pair.meet(&Case::new(&args), false);
        let said = &meeting.ours.outcome.stderr;
        assert!(said.contains("0 flow entries have been deleted"), "{said}");
        assert_eq!(meeting.ours.class(), 1);
        assert_eq!(meeting.ours.outcome.stdout, "");
    }
}

/// `conntrack -L | wc -l`, and the word that comes first in a line of a count.
#[test]
fn counts_are_counts() {
    let mut pair = Pair::new(Base::All);
    let all = pair.entries();
    let meeting = pair.meet(&Case::new(&["-L"]), false);
    assert_eq!(meeting.ours.lines.len(), all);
    let meeting = pair.meet(&Case::new(&["-C"]), false);
    assert_eq!(meeting.ours.outcome.stdout, format!("{all}\n"));
    assert_eq!(meeting.differs, []);
}
