//! The options of conntrack(8), how each is spelled, and what may stand behind it.

use crate::random::Random;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    Value,
    Optional,
}

/// What a value says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Nothing,
    Table,
    File,
    Address,
    Prefix,
    Mask,
    Nat,
    Protocol,
    Seconds,
    Status,
    Events,
    Output,
    Mark,
    Number,
    Bytes,
    Zone,
    Family,
    Label,
    Port,
    State,
    Tag,
    Role,
    Byte,
    Key,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Word {
    /// What it is called here: its short form where it has one.
    pub(crate) name: char,
    pub(crate) long: &'static [&'static str],
    pub(crate) takes: Takes,
    pub(crate) kind: Kind,
}

impl Word {
    /// Those called by a letter have that as their short form.
    pub(crate) fn short(&self) -> Option<char> {
        self.name.is_ascii_alphabetic().then_some(self.name)
    }
}

const fn word(name: char, long: &'static [&'static str], takes: Takes, kind: Kind) -> Word {
    Word {
        name,
        long,
        takes,
        kind,
    }
}

use Takes::{Nothing, Optional, Value};

pub(crate) const COMMANDS: &[Word] = &[
    word('L', &["dump"], Optional, Kind::Table),
    word('I', &["create"], Optional, Kind::Table),
    word('A', &["add"], Optional, Kind::Table),
    word('D', &["delete"], Optional, Kind::Table),
    word('U', &["update"], Optional, Kind::Table),
    word('G', &["get"], Optional, Kind::Table),
    word('F', &["flush"], Optional, Kind::Table),
    word('E', &["event"], Optional, Kind::Table),
    word('C', &["counter"], Optional, Kind::Table),
    word('S', &["stats"], Nothing, Kind::Nothing),
    word('V', &["version"], Nothing, Kind::Nothing),
    word('h', &["help"], Nothing, Kind::Nothing),
    word('R', &["load-file"], Value, Kind::File),
];

pub(crate) const OPTIONS: &[Word] = &[
    word('s', &["src", "orig-src"], Value, Kind::Prefix),
    word('d', &["dst", "orig-dst"], Value, Kind::Prefix),
    word('r', &["reply-src"], Value, Kind::Address),
    word('q', &["reply-dst"], Value, Kind::Address),
    word('p', &["protonum"], Value, Kind::Protocol),
    word('t', &["timeout"], Value, Kind::Seconds),
    word('u', &["status"], Value, Kind::Status),
    word('z', &["zero"], Nothing, Kind::Nothing),
    word('e', &["event-mask"], Value, Kind::Events),
    word('[', &["tuple-src"], Value, Kind::Prefix),
    word(']', &["tuple-dst"], Value, Kind::Prefix),
    word('{', &["mask-src"], Value, Kind::Mask),
    word('}', &["mask-dst"], Value, Kind::Mask),
    word('a', &["nat-range"], Value, Kind::Address),
    word('m', &["mark"], Value, Kind::Mark),
    word('c', &["secmark"], Value, Kind::Number),
    word('i', &["id"], Value, Kind::Number),
    word('f', &["family"], Value, Kind::Family),
    word('n', &["src-nat"], Optional, Kind::Nat),
    word('g', &["dst-nat"], Optional, Kind::Nat),
    word('j', &["any-nat"], Optional, Kind::Nat),
    word('o', &["output"], Value, Kind::Output),
    word('b', &["buffer-size"], Value, Kind::Bytes),
    word('w', &["zone"], Value, Kind::Zone),
    word('l', &["label"], Value, Kind::Label),
    word('<', &["label-add"], Value, Kind::Label),
    word('>', &["label-del"], Optional, Kind::Label),
    word('(', &["orig-zone"], Value, Kind::Zone),
    word(')', &["reply-zone"], Value, Kind::Zone),
];

const PORTS: [Word; 8] = [
    word('1', &["sport", "orig-port-src"], Value, Kind::Port),
    word('2', &["dport", "orig-port-dst"], Value, Kind::Port),
    word('3', &["reply-port-src"], Value, Kind::Port),
    word('4', &["reply-port-dst"], Value, Kind::Port),
    word('5', &["mask-port-src"], Value, Kind::Port),
    word('6', &["mask-port-dst"], Value, Kind::Port),
    word('7', &["tuple-port-src"], Value, Kind::Port),
    word('8', &["tuple-port-dst"], Value, Kind::Port),
];
const STATE: Word = word('9', &["state"], Value, Kind::State);
const SCTP: [Word; 3] = [
    STATE,
    word('0', &["orig-vtag"], Value, Kind::Tag),
    word('0', &["reply-vtag"], Value, Kind::Tag),
];
const DCCP: [Word; 2] = [STATE, word('0', &["role"], Value, Kind::Role)];
const ICMP: [Word; 3] = [
    word('1', &["icmp-type"], Value, Kind::Byte),
    word('2', &["icmp-code"], Value, Kind::Byte),
    word('3', &["icmp-id"], Value, Kind::Port),
];
const ICMPV6: [Word; 3] = [
    word('1', &["icmpv6-type"], Value, Kind::Byte),
    word('2', &["icmpv6-code"], Value, Kind::Byte),
    word('3', &["icmpv6-id"], Value, Kind::Port),
];
const GRE: [Word; 8] = [
    word('1', &["srckey", "orig-key-src"], Value, Kind::Key),
    word('2', &["dstkey", "orig-key-dst"], Value, Kind::Key),
    word('3', &["reply-key-src"], Value, Kind::Key),
    word('4', &["reply-key-dst"], Value, Kind::Key),
    word('5', &["mask-key-src"], Value, Kind::Key),
    word('6', &["mask-key-dst"], Value, Kind::Key),
    word('7', &["tuple-key-src"], Value, Kind::Key),
    word('8', &["tuple-key-dst"], Value, Kind::Key),
];

/// A protocol as it is named, and the options that it adds.
pub(crate) fn of_protocol(name: &str) -> Vec<Word> {
    match name.to_ascii_lowercase().as_str() {
        "tcp" | "6" => [&PORTS[..], &[STATE]].concat(),
        "udp" | "17" | "udplite" | "136" => PORTS.to_vec(),
        "sctp" | "132" => [&PORTS[..], &SCTP].concat(),
        "dccp" | "33" => [&PORTS[..], &DCCP].concat(),
        "icmp" | "1" => ICMP.to_vec(),
        "icmpv6" | "58" => ICMPV6.to_vec(),
        "gre" | "47" => GRE.to_vec(),
        _ => Vec::new(),
    }
}

/// Which options go with a command on a table, by their names; those in capitals of the manual page
/// (`must`) are asked for.
pub(crate) fn legal(command: char, expect: bool) -> (&'static str, &'static str) {
    match (command, expect) {
        ('L', false) => ("", "sdrqpuz{}mfngocjwl()"),
        ('L', true) => ("", "fo"),
        ('I' | 'A', false) => ("sdp", "rqtumngcw<()i"),
        ('I', true) => ("sdpt[]{}", "rqu"),
        ('U', false) => ("", "sdrqptu{}mingcol<>wf"),
        ('D', false) => ("", "sdrqpt{}mingcowlfu()"),
        ('D' | 'G', true) => ("sdp", "rq"),
        ('G', false) => ("sdp", "rqow"),
        ('F', false) => ("", "f"),
        ('E', false) => ("", "sdrqp{}e{}mfngocbjwl()"),
        ('E', true) => ("", "ob"),
        ('h', _) => ("", "p"),
        _ => ("", ""),
    }
}

/// Values that are right, and at home in the table that the lines meet; and values that are not.
const VALUES: &[(Kind, &[&str], &[&str])] = &[
    (Kind::Nothing, &[""], &[""]),
    (
        Kind::Table,
        &[
            "conntrack",
            "conntrack",
            "expect",
            "expect",
            "dying",
            "unconfirmed",
            "exp",
            "c",
            "d",
        ],
        &["table", "conntracks", "x"],
    ),
    (
        Kind::File,
        &["FILE", "FILE", "-", "-", "EMPTY"],
        &["MISSING", "BAD"],
    ),
    (
        Kind::Address,
        &[
            "10.0.0.1",
            "10.0.0.2",
            "10.1.0.7",
            "203.0.113.9",
            "2001:db8::1",
            "2001:db8::2",
        ],
        &[
            "10.0.0.256",
            "10.0.0.0/33",
            "10.0.0",
            "2001:db8::/129",
            "localhost",
            "",
            "10.0.0.1/",
            "10.0.0.1/-1",
            "0xa000001",
            "10.0.0.1/24x",
        ],
    ),
    (
        Kind::Prefix,
        &[
            "10.0.0.1",
            "10.0.0.1",
            "10.0.0.2",
            "10.0.0.5",
            "192.0.2.10",
            "2001:db8::1",
            "2001:db8::2",
            "10.0.0.0/8",
            "10.0.0.0/24",
            "10.0.0.1/32",
            "0.0.0.0/0",
            "2001:db8::/32",
            "2001:db8::/128",
            "::/0",
        ],
        &[
            "10.0.0.256",
            "10.0.0.0/33",
            "10.0.0",
            "2001:db8::/129",
            "localhost",
            "",
            "10.0.0.1/",
            "10.0.0.1/-1",
            "0xa000001",
            "10.0.0.1/24x",
        ],
    ),
    (
        Kind::Mask,
        &[
            "255.255.255.255",
            "255.255.255.0",
            "255.0.0.0",
            "ffff:ffff::",
            "0.0.0.0",
        ],
        &[
            "10.0.0.256",
            "10.0.0.0/33",
            "10.0.0",
            "2001:db8::/129",
            "localhost",
            "",
            "10.0.0.1/",
            "10.0.0.1/-1",
            "0xa000001",
            "10.0.0.1/24x",
        ],
    ),
    (
        Kind::Nat,
        &[
            "203.0.113.9",
            "203.0.113.9:7000",
            "10.1.0.7",
            "10.1.0.7:8080",
            "2001:db8::99",
            "[2001:db8::99]:80",
            "203.0.113.77",
        ],
        &[
            "203.0.113.9:",
            "203.0.113.9:65536",
            "[2001:db8::99",
            "[]:80",
            "203.0.113.9:x",
            "x",
            ":80",
        ],
    ),
    (
        Kind::Protocol,
        &[
            "tcp", "tcp", "tcp", "udp", "udp", "udp", "icmp", "icmpv6", "sctp", "dccp", "gre",
            "udplite", "6", "17", "50", "esp", "200", "TCP", "132", "0x11",
        ],
        &["none", "256", "-1", "", "tcpx", "6x"],
    ),
    (
        Kind::Seconds,
        &["60", "600", "7000", "0", "100000"],
        &["-1", "x", "", "4294967296", "1.5", "12x"],
    ),
    (
        Kind::Status,
        &[
            "ASSURED",
            "SEEN_REPLY",
            "ASSURED,SEEN_REPLY",
            "SEEN_REPLY,ASSURED",
            "UNSET",
            "FIXED_TIMEOUT",
            "EXPECTED",
            "assured",
            "SEEN",
            "A",
            "OFFLOAD",
            "SRC_NAT",
            "!ASSURED",
            "SEEN_REPLY,!ASSURED",
        ],
        &["x", "", "ASSURED,", ",ASSURED", "ASSURED,x", "ASSURED SEEN"],
    ),
    (
        Kind::Events,
        &["ALL", "NEW", "UPDATES", "DESTROY", "NEW,DESTROY", "new"],
        &["x", "", "NEW,,DESTROY", "ALL,x"],
    ),
    (
        Kind::Output,
        &[
            "extended",
            "xml",
            "save",
            "id",
            "labels",
            "timestamp",
            "ktimestamp",
            "userspace",
            "extended,id",
            "xml,id",
            "id,labels",
            "extended,ktimestamp,labels",
            "ext",
            "xml,extended",
            "save,id",
        ],
        &["x", "", "xml,", "json5", "id,x"],
    ),
    (
        Kind::Mark,
        &[
            "1",
            "0",
            "2",
            "7",
            "0xff",
            "0x1/0x1",
            "0/1",
            "1/0xff",
            "0/0",
            "4294967295",
            "010",
            "0xff/0xf0",
        ],
        &["-1", "x", "4294967296", "", "1/", "/1", "1/x", "1x"],
    ),
    (
        Kind::Number,
        &["1", "0", "0x10", "4096", "65536"],
        &["-1", "x", "4294967296", "", "1x"],
    ),
    // So many that nothing is lost.
    (
        Kind::Bytes,
        &["1000000", "500000"],
        &["-1", "x", "4294967296", "", "1x"],
    ),
    (
        Kind::Zone,
        &["5", "5", "0", "6", "7", "65535", "0x5", "99"],
        &["-1", "65536", "x", "", "5x", " 5"],
    ),
    (
        Kind::Family,
        &["ipv4", "ipv6", "ipv4", "ipv6", "ipv4x"],
        &["ipv5", "4", "", "IPv4", "inet"],
    ),
    (
        Kind::Label,
        &[
            "one",
            "zero",
            "last",
            "1",
            "one,zero",
            "sixtythree",
            "three",
        ],
        &["none", "128", "-1", "", "one,", ",one", "one,none"],
    ),
    (
        Kind::Port,
        &[
            "1001", "1002", "443", "53", "9", "36412", "21", "65535", "0", "80", "7",
        ],
        &["65536", "-1", "x", "", "80x", "http"],
    ),
    (
        Kind::State,
        &[
            "ESTABLISHED",
            "SYN_SENT",
            "TIME_WAIT",
            "NONE",
            "CLOSE",
            "LISTEN",
            "established",
            "COOKIE_WAIT",
            "OPEN",
            "CLOSED",
        ],
        &["OPENED", "", "7", "X"],
    ),
    (
        Kind::Tag,
        &["16", "32", "0x10", "4294967295", "0"],
        &["-1", "x", "4294967296", "", "1x"],
    ),
    (
        Kind::Role,
        &["client", "server", "CLIENT"],
        &["x", "", "clients"],
    ),
    (
        Kind::Byte,
        &["8", "0", "13", "128", "129", "14"],
        &["256", "-1", "x", "", "echo"],
    ),
    (
        Kind::Key,
        &["1", "2", "0x3", "4", "65535"],
        &["65536", "-1", "x", "", "80x", "http"],
    ),
];

/// A value, right most of the time.
pub(crate) fn value(kind: Kind, random: &mut Random) -> String {
    let of_kind = VALUES.iter().find(|(of, ..)| *of == kind);
    let (_, good, bad) = of_kind.unwrap();
    let wrong = random.chance(4);
    random.pick(if wrong { bad } else { good }).to_owned()
}
