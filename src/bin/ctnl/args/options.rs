//! The options of conntrack(8): their names, which command takes which, and those of each protocol.

use ctnetlink::Protocol;

/// Whether an option has an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Argument,
    MayBe,
}

/// A command's letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Letter {
    List,
    Create,
    Add,
    Update,
    Delete,
    Get,
    Flush,
    Event,
    Count,
    Stats,
    Version,
    Help,
}

/// An option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opt {
    Command(Letter),
    OrigSrc,
    OrigDst,
    ReplySrc,
    ReplyDst,
    Protocol,
    Timeout,
    Status,
    Zero,
    EventMask,
    TupleSrc,
    TupleDst,
    MaskSrc,
    MaskDst,
    NatRange,
    Mark,
    Id,
    Family,
    SrcNat,
    DstNat,
    Output,
    Secmark,
    BufferSize,
    AnyNat,
    Zone,
    Label,
    LabelAdd,
    LabelDel,
    OrigZone,
    ReplyZone,
    Field(Field),
    Added(Added),
}

/// What a protocol adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    OrigSrcPort,
    OrigDstPort,
    ReplySrcPort,
    ReplyDstPort,
    MaskSrcPort,
    MaskDstPort,
    TupleSrcPort,
    TupleDstPort,
    State,
    OrigVtag,
    ReplyVtag,
    Role,
    IcmpType,
    IcmpCode,
    IcmpId,
}

/// What conntrack(8) does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    Netns,
    DryRun,
    MaxDeletes,
    Verify,
    ProtectZone,
    Filter,
}

/// A long option.
#[derive(Debug)]
pub(super) struct Long {
    pub(super) name: &'static str,
    pub(super) takes: Takes,
    pub(super) opt: Opt,
}

const fn long(name: &'static str, takes: Takes, opt: Opt) -> Long {
    Long { name, takes, opt }
}

const fn field(name: &'static str, field: Field) -> Long {
    long(name, Takes::Argument, Opt::Field(field))
}

const fn command(letter: Letter) -> Opt {
    Opt::Command(letter)
}

pub(super) const SHORT: &[(char, Takes, Opt)] = &[
    ('L', Takes::MayBe, command(Letter::List)),
    ('I', Takes::MayBe, command(Letter::Create)),
    ('A', Takes::MayBe, command(Letter::Add)),
    ('U', Takes::MayBe, command(Letter::Update)),
    ('D', Takes::MayBe, command(Letter::Delete)),
    ('G', Takes::MayBe, command(Letter::Get)),
    ('F', Takes::MayBe, command(Letter::Flush)),
    ('E', Takes::MayBe, command(Letter::Event)),
    ('C', Takes::MayBe, command(Letter::Count)),
    ('S', Takes::Nothing, command(Letter::Stats)),
    ('V', Takes::Nothing, command(Letter::Version)),
    ('h', Takes::Nothing, command(Letter::Help)),
    ('s', Takes::Argument, Opt::OrigSrc),
    ('d', Takes::Argument, Opt::OrigDst),
    ('r', Takes::Argument, Opt::ReplySrc),
    ('q', Takes::Argument, Opt::ReplyDst),
    ('p', Takes::Argument, Opt::Protocol),
    ('t', Takes::Argument, Opt::Timeout),
    ('u', Takes::Argument, Opt::Status),
    ('z', Takes::Nothing, Opt::Zero),
    ('e', Takes::Argument, Opt::EventMask),
    ('[', Takes::Argument, Opt::TupleSrc),
    (']', Takes::Argument, Opt::TupleDst),
    ('{', Takes::Argument, Opt::MaskSrc),
    ('}', Takes::Argument, Opt::MaskDst),
    ('a', Takes::Argument, Opt::NatRange),
    ('m', Takes::Argument, Opt::Mark),
    ('i', Takes::Argument, Opt::Id),
    ('f', Takes::Argument, Opt::Family),
    ('n', Takes::MayBe, Opt::SrcNat),
    ('g', Takes::MayBe, Opt::DstNat),
    ('j', Takes::MayBe, Opt::AnyNat),
    ('o', Takes::Argument, Opt::Output),
    ('c', Takes::Argument, Opt::Secmark),
    ('b', Takes::Argument, Opt::BufferSize),
    ('w', Takes::Argument, Opt::Zone),
    ('l', Takes::Argument, Opt::Label),
    ('<', Takes::Argument, Opt::LabelAdd),
    ('>', Takes::MayBe, Opt::LabelDel),
    ('(', Takes::Argument, Opt::OrigZone),
    (')', Takes::Argument, Opt::ReplyZone),
];

pub(super) const LONG: &[Long] = &[
    long("dump", Takes::MayBe, command(Letter::List)),
    long("create", Takes::MayBe, command(Letter::Create)),
    long("add", Takes::MayBe, command(Letter::Add)),
    long("update", Takes::MayBe, command(Letter::Update)),
    long("delete", Takes::MayBe, command(Letter::Delete)),
    long("get", Takes::MayBe, command(Letter::Get)),
    long("flush", Takes::MayBe, command(Letter::Flush)),
    long("event", Takes::MayBe, command(Letter::Event)),
    long("counter", Takes::MayBe, command(Letter::Count)),
    long("stats", Takes::Nothing, command(Letter::Stats)),
    long("version", Takes::Nothing, command(Letter::Version)),
    long("help", Takes::Nothing, command(Letter::Help)),
    long("orig-src", Takes::Argument, Opt::OrigSrc),
    long("src", Takes::Argument, Opt::OrigSrc),
    long("orig-dst", Takes::Argument, Opt::OrigDst),
    long("dst", Takes::Argument, Opt::OrigDst),
    long("reply-src", Takes::Argument, Opt::ReplySrc),
    long("reply-dst", Takes::Argument, Opt::ReplyDst),
    long("protonum", Takes::Argument, Opt::Protocol),
    long("timeout", Takes::Argument, Opt::Timeout),
    long("status", Takes::Argument, Opt::Status),
    long("zero", Takes::Nothing, Opt::Zero),
    long("event-mask", Takes::Argument, Opt::EventMask),
    long("tuple-src", Takes::Argument, Opt::TupleSrc),
    long("tuple-dst", Takes::Argument, Opt::TupleDst),
    long("mask-src", Takes::Argument, Opt::MaskSrc),
    long("mask-dst", Takes::Argument, Opt::MaskDst),
    long("nat-range", Takes::Argument, Opt::NatRange),
    long("mark", Takes::Argument, Opt::Mark),
    long("secmark", Takes::Argument, Opt::Secmark),
    long("id", Takes::MayBe, Opt::Id),
    long("family", Takes::Argument, Opt::Family),
    long("src-nat", Takes::MayBe, Opt::SrcNat),
    long("dst-nat", Takes::MayBe, Opt::DstNat),
    long("any-nat", Takes::MayBe, Opt::AnyNat),
    long("output", Takes::Argument, Opt::Output),
    long("buffer-size", Takes::Argument, Opt::BufferSize),
    long("zone", Takes::Argument, Opt::Zone),
    long("label", Takes::Argument, Opt::Label),
    long("label-add", Takes::Argument, Opt::LabelAdd),
    long("label-del", Takes::MayBe, Opt::LabelDel),
    long("orig-zone", Takes::Argument, Opt::OrigZone),
    long("reply-zone", Takes::Argument, Opt::ReplyZone),
];

pub(super) const ADDED: &[Long] = &[
    long("netns", Takes::Argument, Opt::Added(Added::Netns)),
    long("dry-run", Takes::Nothing, Opt::Added(Added::DryRun)),
    long(
        "max-deletes",
        Takes::Argument,
        Opt::Added(Added::MaxDeletes),
    ),
    long("verify", Takes::Argument, Opt::Added(Added::Verify)),
    long(
        "protect-zone",
        Takes::Argument,
        Opt::Added(Added::ProtectZone),
    ),
    long("filter", Takes::Argument, Opt::Added(Added::Filter)),
];

const PORTS: &[Long] = &[
    field("orig-port-src", Field::OrigSrcPort),
    field("sport", Field::OrigSrcPort),
    field("orig-port-dst", Field::OrigDstPort),
    field("dport", Field::OrigDstPort),
    field("reply-port-src", Field::ReplySrcPort),
    field("reply-port-dst", Field::ReplyDstPort),
    field("mask-port-src", Field::MaskSrcPort),
    field("mask-port-dst", Field::MaskDstPort),
    field("tuple-port-src", Field::TupleSrcPort),
    field("tuple-port-dst", Field::TupleDstPort),
    field("state", Field::State),
    field("orig-vtag", Field::OrigVtag),
    field("reply-vtag", Field::ReplyVtag),
    field("role", Field::Role),
];

const KEYS: &[Long] = &[
    field("orig-key-src", Field::OrigSrcPort),
    field("srckey", Field::OrigSrcPort),
    field("orig-key-dst", Field::OrigDstPort),
    field("dstkey", Field::OrigDstPort),
    field("reply-key-src", Field::ReplySrcPort),
    field("reply-key-dst", Field::ReplyDstPort),
    field("mask-key-src", Field::MaskSrcPort),
    field("mask-key-dst", Field::MaskDstPort),
    field("tuple-key-src", Field::TupleSrcPort),
    field("tuple-key-dst", Field::TupleDstPort),
];

const ICMP: &[Long] = &[
    field("icmp-type", Field::IcmpType),
    field("icmp-code", Field::IcmpCode),
    field("icmp-id", Field::IcmpId),
];

const ICMPV6: &[Long] = &[
    field("icmpv6-type", Field::IcmpType),
    field("icmpv6-code", Field::IcmpCode),
    field("icmpv6-id", Field::IcmpId),
];

/// The long options of a protocol.
pub(super) fn fields_of(protocol: Protocol) -> &'static [Long] {
    match protocol {
        Protocol::UDP | Protocol::UDPLITE => &PORTS[..10],
        Protocol::TCP => &PORTS[..11],
        Protocol::SCTP => &PORTS[..13],
        Protocol::DCCP => DCCP,
        Protocol::GRE => KEYS,
        Protocol::ICMP => ICMP,
        Protocol::ICMPV6 => ICMPV6,
        _ => &[],
    }
}

const DCCP: &[Long] = &[
    field("orig-port-src", Field::OrigSrcPort),
    field("sport", Field::OrigSrcPort),
    field("orig-port-dst", Field::OrigDstPort),
    field("dport", Field::OrigDstPort),
    field("reply-port-src", Field::ReplySrcPort),
    field("reply-port-dst", Field::ReplyDstPort),
    field("mask-port-src", Field::MaskSrcPort),
    field("mask-port-dst", Field::MaskDstPort),
    field("tuple-port-src", Field::TupleSrcPort),
    field("tuple-port-dst", Field::TupleDstPort),
    field("state", Field::State),
    field("role", Field::Role),
];

/// The name under which an option is spoken of.
pub(super) fn name_of(opt: Opt) -> &'static str {
    let known = LONG.iter().chain(PORTS).chain(ICMP).chain(ADDED);
    let mut named = known.filter(|long| long.opt == opt).map(|long| long.name);
    // The shorter of two names comes second, and is the usual one.
    let first = named.next().unwrap_or("?");
    named.next().unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_one_meaning() {
        for (at, (letter, ..)) in SHORT.iter().enumerate() {
            assert!(SHORT[..at].iter().all(|(other, ..)| other != letter));
        }
        for protocol in 0..=255 {
            let all = || {
                LONG.iter()
                    .chain(ADDED)
                    .chain(fields_of(Protocol::new(protocol)))
            };
            for long in all() {
                assert_eq!(all().filter(|other| other.name == long.name).count(), 1);
            }
        }
        assert_eq!(name_of(Opt::OrigSrc), "src");
        assert_eq!(name_of(Opt::Field(Field::OrigSrcPort)), "sport");
    }
}
