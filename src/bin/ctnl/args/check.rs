//! What goes together: which options a command needs and takes, and which a protocol does.

use std::fmt;

use ctnetlink::Protocol;

use super::Refusal;
use super::options::{Added, Field, Opt, name_of};
use super::request::{Action, Request};

/// What a command or a protocol makes of options.
struct Rule<T: 'static> {
    needs: &'static [T],
    takes: &'static [T],
    /// Either both of the first pair, or both of the second; perhaps all.
    either: Option<[[T; 2]; 2]>,
}

impl<T: Copy + PartialEq> Rule<T> {
    const fn takes(takes: &'static [T]) -> Self {
        Self {
            needs: &[],
            takes,
            either: None,
        }
    }

    fn check(
        &self,
        given: &(impl Iterator<Item = T> + Clone),
        name: impl Fn(T) -> &'static str,
        whose: &impl fmt::Display,
    ) -> Result<(), Refusal> {
        let has = |wanted: T| given.clone().any(|one| one == wanted);
        if let Some(missing) = self.needs.iter().find(|needed| !has(**needed)) {
            return Err(Refusal::usage(format!(
                "{whose} needs --{}",
                name(*missing)
            )));
        }
        let pair = self.either.iter().flatten().flatten();
        let known = self.needs.iter().chain(self.takes).chain(pair);
        for one in given.clone() {
            if !known.clone().any(|known| *known == one) {
                let name = name(one);
                return Err(Refusal::usage(format!("{whose} does not take --{name}")));
            }
        }
        if let Some([first, second]) = self.either {
            if ![first, second]
                .iter()
                .any(|pair| pair.iter().all(|one| has(*one)))
            {
                return Err(Refusal::usage(format!(
                    "{whose} needs --{} and --{}, or --{} and --{}",
                    name(first[0]),
                    name(first[1]),
                    name(second[0]),
                    name(second[1])
                )));
            }
        }
        Ok(())
    }
}

const ADDRESSES: Option<[[Opt; 2]; 2]> =
    Some([[Opt::OrigSrc, Opt::OrigDst], [Opt::ReplySrc, Opt::ReplyDst]]);

const LIST: Rule<Opt> = Rule::takes(&[
    Opt::OrigSrc,
    Opt::OrigDst,
    Opt::ReplySrc,
    Opt::ReplyDst,
    Opt::Protocol,
    Opt::Status,
    Opt::Zero,
    Opt::MaskSrc,
    Opt::MaskDst,
    Opt::Mark,
    Opt::Family,
    Opt::SrcNat,
    Opt::DstNat,
    Opt::Output,
    Opt::Secmark,
    Opt::AnyNat,
    Opt::Zone,
    Opt::Label,
    Opt::OrigZone,
    Opt::ReplyZone,
]);
const CREATE: Rule<Opt> = Rule {
    needs: &[Opt::Protocol, Opt::Timeout],
    takes: &[
        Opt::Status,
        Opt::Mark,
        Opt::SrcNat,
        Opt::DstNat,
        Opt::Zone,
        Opt::LabelAdd,
        Opt::OrigZone,
        Opt::ReplyZone,
    ],
    either: ADDRESSES,
};
const UPDATE: Rule<Opt> = Rule::takes(&[
    Opt::OrigSrc,
    Opt::OrigDst,
    Opt::ReplySrc,
    Opt::ReplyDst,
    Opt::Protocol,
    Opt::Timeout,
    Opt::Status,
    Opt::MaskSrc,
    Opt::MaskDst,
    Opt::Mark,
    Opt::Id,
    Opt::Family,
    Opt::SrcNat,
    Opt::DstNat,
    Opt::Output,
    Opt::Label,
    Opt::LabelAdd,
    Opt::LabelDel,
]);
const DELETE: Rule<Opt> = Rule::takes(&[
    Opt::OrigSrc,
    Opt::OrigDst,
    Opt::ReplySrc,
    Opt::ReplyDst,
    Opt::Protocol,
    Opt::Timeout,
    Opt::Status,
    Opt::MaskSrc,
    Opt::MaskDst,
    Opt::Mark,
    Opt::Id,
    Opt::Family,
    Opt::SrcNat,
    Opt::DstNat,
    Opt::Output,
    Opt::Zone,
    Opt::Label,
    Opt::OrigZone,
    Opt::ReplyZone,
]);
const GET: Rule<Opt> = Rule {
    needs: &[Opt::Protocol],
    takes: &[Opt::Id, Opt::Output, Opt::Label],
    either: ADDRESSES,
};
const EVENT: Rule<Opt> = Rule::takes(&[
    Opt::OrigSrc,
    Opt::OrigDst,
    Opt::ReplySrc,
    Opt::ReplyDst,
    Opt::Protocol,
    Opt::EventMask,
    Opt::MaskSrc,
    Opt::MaskDst,
    Opt::Mark,
    Opt::Family,
    Opt::SrcNat,
    Opt::DstNat,
    Opt::Output,
    Opt::Secmark,
    Opt::BufferSize,
    Opt::AnyNat,
    Opt::Zone,
    Opt::Label,
    Opt::OrigZone,
    Opt::ReplyZone,
]);
const EXPECT_CREATE: Rule<Opt> = Rule {
    needs: &[
        Opt::OrigSrc,
        Opt::OrigDst,
        Opt::Protocol,
        Opt::Timeout,
        Opt::TupleSrc,
        Opt::TupleDst,
        Opt::MaskSrc,
        Opt::MaskDst,
    ],
    takes: &[Opt::ReplySrc, Opt::ReplyDst, Opt::Status],
    either: None,
};
const EXPECT_ONE: Rule<Opt> = Rule {
    needs: &[Opt::OrigSrc, Opt::OrigDst, Opt::Protocol],
    takes: &[Opt::ReplySrc, Opt::ReplyDst],
    either: None,
};

const fn rule_of(action: Action) -> Rule<Opt> {
    match action {
        Action::List | Action::ListDying | Action::ListUnconfirmed => LIST,
        Action::Create | Action::Add => CREATE,
        Action::Update => UPDATE,
        Action::Delete => DELETE,
        Action::Get => GET,
        Action::Flush => Rule::takes(&[Opt::Family]),
        Action::Event => EVENT,
        Action::Help => Rule::takes(&[Opt::Protocol]),
        Action::ExpectList => Rule::takes(&[Opt::Family, Opt::Output]),
        Action::ExpectCreate => EXPECT_CREATE,
        Action::ExpectDelete | Action::ExpectGet => EXPECT_ONE,
        Action::ExpectEvent => Rule::takes(&[Opt::Output]),
        Action::Nothing
        | Action::Count
        | Action::Stats
        | Action::Version
        | Action::ExpectFlush
        | Action::ExpectCount
        | Action::ExpectStats => Rule::takes(&[]),
    }
}

use Field::{
    IcmpCode, IcmpId, IcmpType, MaskDstPort, MaskSrcPort, OrigDstPort, OrigSrcPort, OrigVtag,
    ReplyDstPort, ReplySrcPort, ReplyVtag, Role, State, TupleDstPort, TupleSrcPort,
};

const EITHER_PORTS: Option<[[Field; 2]; 2]> =
    Some([[OrigSrcPort, OrigDstPort], [ReplySrcPort, ReplyDstPort]]);
const ALL_PORTS: &[Field] = &[OrigSrcPort, OrigDstPort, ReplySrcPort, ReplyDstPort];

/// What is asked of a protocol's own options.
fn fields_rule(action: Action, protocol: Protocol) -> Rule<Field> {
    let selects = matches!(
        action,
        Action::List
            | Action::ListDying
            | Action::ListUnconfirmed
            | Action::Update
            | Action::Delete
            | Action::Event
    );
    let makes = matches!(action, Action::Create | Action::Add);
    let tracked = matches!(protocol, Protocol::TCP | Protocol::SCTP | Protocol::DCCP);
    if matches!(protocol, Protocol::ICMP | Protocol::ICMPV6) {
        return icmp_rule(action, selects);
    }
    match action {
        Action::Update if protocol == Protocol::SCTP => Rule::takes(&[
            OrigSrcPort,
            OrigDstPort,
            ReplySrcPort,
            ReplyDstPort,
            State,
            OrigVtag,
            ReplyVtag,
        ]),
        _ if selects && tracked => {
            Rule::takes(&[OrigSrcPort, OrigDstPort, ReplySrcPort, ReplyDstPort, State])
        }
        _ if selects => Rule::takes(ALL_PORTS),
        _ if makes => Rule {
            needs: match protocol {
                Protocol::TCP => &[State],
                Protocol::SCTP => &[State, OrigVtag, ReplyVtag],
                Protocol::DCCP => &[State, Role],
                _ => &[],
            },
            takes: &[],
            either: EITHER_PORTS,
        },
        Action::Get => Rule {
            needs: &[],
            takes: match protocol {
                Protocol::SCTP => &[State, OrigVtag, ReplyVtag],
                Protocol::TCP | Protocol::DCCP => &[State],
                _ => &[],
            },
            either: EITHER_PORTS,
        },
        Action::ExpectCreate => expectation_rule(protocol),
        Action::ExpectDelete | Action::ExpectGet => Rule {
            needs: ALL_PORTS,
            takes: &[],
            either: None,
        },
        _ => Rule::takes(&[]),
    }
}

fn icmp_rule(action: Action, selects: bool) -> Rule<Field> {
    match action {
        _ if selects => Rule::takes(&[IcmpType, IcmpCode, IcmpId]),
        Action::Create | Action::Add | Action::Get => Rule {
            needs: &[IcmpType, IcmpCode],
            takes: &[IcmpId],
            either: None,
        },
        _ => Rule::takes(&[]),
    }
}

fn expectation_rule(protocol: Protocol) -> Rule<Field> {
    Rule {
        needs: match protocol {
            Protocol::GRE => &[
                OrigSrcPort,
                OrigDstPort,
                ReplySrcPort,
                ReplyDstPort,
                MaskSrcPort,
                MaskDstPort,
                TupleSrcPort,
                TupleDstPort,
            ],
            Protocol::SCTP => &[
                OrigSrcPort,
                OrigDstPort,
                MaskSrcPort,
                MaskDstPort,
                TupleSrcPort,
                TupleDstPort,
                OrigVtag,
                ReplyVtag,
            ],
            Protocol::DCCP => &[
                OrigSrcPort,
                OrigDstPort,
                MaskSrcPort,
                MaskDstPort,
                TupleSrcPort,
                TupleDstPort,
                Role,
            ],
            _ => &[
                OrigSrcPort,
                OrigDstPort,
                MaskSrcPort,
                MaskDstPort,
                TupleSrcPort,
                TupleDstPort,
            ],
        },
        takes: &[],
        either: None,
    }
}

/// Refuses what conntrack(8) refuses.
pub(super) fn check(request: &Request) -> Result<(), Refusal> {
    let (action, given) = (request.action, &request.given);
    let own = |opt: &Opt| !matches!(opt, Opt::Field(_) | Opt::Added(_));
    if given.has(Opt::AnyNat) && given.any(&[Opt::SrcNat, Opt::DstNat]) {
        return Err(Refusal::usage(
            "--any-nat goes with neither --src-nat nor --dst-nat",
        ));
    }
    let options = given.iter().filter(own);
    rule_of(action).check(&options, name_of, &"this command")?;
    let protocol = request.protocol.filter(|_| action != Action::Help);
    if let Some(protocol) = protocol.filter(|protocol| protocol.name().is_some()) {
        let name = |field| name_of(Opt::Field(field));
        let whose = format_args!("this command with -p {protocol}");
        fields_rule(action, protocol).check(&given.fields(), name, &whose)?;
    }
    if action == Action::List && request.outputs.table && given.has(Opt::Zero) {
        return Err(Refusal::usage(
            "-z goes with no -o table, which looks at some entries first",
        ));
    }
    let compares = given.any(&[
        Opt::Protocol,
        Opt::OrigSrc,
        Opt::OrigDst,
        Opt::ReplySrc,
        Opt::ReplyDst,
        Opt::Mark,
        Opt::Secmark,
        Opt::Status,
        Opt::Id,
        Opt::Zone,
        Opt::Label,
        Opt::OrigZone,
        Opt::ReplyZone,
    ]);
    if action == Action::List
        && given.has(Opt::Zero)
        && (compares || request.extras.filter.is_some())
    {
        return Err(Refusal::usage(
            "-z zeroes what it lists, and lists everything",
        ));
    }
    let selects = !matches!(action, Action::ExpectCreate);
    for (mask, of) in [(Opt::MaskSrc, Opt::OrigSrc), (Opt::MaskDst, Opt::OrigDst)] {
        if selects && given.has(mask) && !given.has(of) {
            let (mask, of) = (name_of(mask), name_of(of));
            return Err(Refusal::usage(format!("--{mask} needs --{of}")));
        }
    }
    added(request)
}

/// What conntrack(8) does not have, and where it means something.
fn added(request: &Request) -> Result<(), Refusal> {
    for opt in request.given.iter() {
        let Opt::Added(added) = opt else { continue };
        let deletes = matches!(request.action, Action::Delete | Action::Flush);
        let fits = match added {
            Added::Netns => !matches!(request.action, Action::Version | Action::Help),
            Added::DryRun | Added::MaxDeletes | Added::Verify | Added::ProtectZone => deletes,
            Added::Filter => matches!(
                request.action,
                Action::List | Action::Delete | Action::Event | Action::Update
            ),
        };
        if !fits {
            let name = name_of(opt);
            return Err(Refusal::usage(format!(
                "this command does not take --{name}"
            )));
        }
    }
    Ok(())
}
