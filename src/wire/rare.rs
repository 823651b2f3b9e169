//! Attributes that few entries have: labels, time stamps, helper, master, sequence adjustment,
//! security context, translation.

use std::net::IpAddr;

use super::Malformed;
use super::attr::{
    CTA_HELP, CTA_HELP_INFO, CTA_HELP_NAME, CTA_LABELS, CTA_NAT_PROTO, CTA_NAT_V4_MAXIP,
    CTA_NAT_V4_MINIP, CTA_NAT_V6_MAXIP, CTA_NAT_V6_MINIP, CTA_PROTONAT_PORT_MAX,
    CTA_PROTONAT_PORT_MIN, CTA_SECCTX, CTA_SECCTX_NAME, CTA_SECMARK, CTA_SEQ_ADJ_ORIG,
    CTA_SEQ_ADJ_REPLY, CTA_SEQADJ_CORRECTION_POS, CTA_SEQADJ_OFFSET_AFTER,
    CTA_SEQADJ_OFFSET_BEFORE, CTA_SYNPROXY_ISN, CTA_SYNPROXY_ITS, CTA_SYNPROXY_TSOFF,
    CTA_TIMESTAMP, CTA_TIMESTAMP_EVENT, CTA_TIMESTAMP_PAD, CTA_TIMESTAMP_START, CTA_TIMESTAMP_STOP,
    CTA_TUPLE_MASTER,
};
use super::reader::{Attr, Attrs, Unknowns, header, word};
use super::tuple;
use super::writer::Writer;
#[cfg(any(test, fuzzing, feature = "interop"))]
use crate::model::Timestamps;
use crate::model::{Helper, Labels, NatRange, Rare, SeqAdjust, Synproxy};

/// Takes an attribute of an entry that none of the common fields wants. Of one that is given twice
/// the first counts.
pub(super) fn decode(
    rare: &mut Rare,
    attrs: &Attrs<'_>,
    attr: Attr<'_>,
    unknowns: &mut Unknowns,
) -> Result<(), Malformed> {
    match attr.kind {
        CTA_LABELS if rare.labels.is_none() => rare.labels = Some(labels(attrs, attr)?),
        CTA_TIMESTAMP => {
            let (start, stop) = timestamps(attrs.nested(attr), unknowns)?;
            if start.or(stop).is_some() {
                let stamps = rare.timestamps.get_or_insert_default();
                (stamps.start, stamps.stop) = (stamps.start.or(start), stamps.stop.or(stop));
            }
        }
        CTA_TIMESTAMP_EVENT => {
            let event = attrs.be64(attr)?;
            let stamps = rare.timestamps.get_or_insert_default();
            stamps.event.get_or_insert(event);
        }
        CTA_HELP if rare.helper.is_none() => {
            (rare.helper, rare.helper_info) = help(attrs.nested(attr), unknowns)?;
        }
        CTA_TUPLE_MASTER if rare.master.is_none() => {
            rare.master = Some(tuple::decode(attrs.nested(attr), None, unknowns)?);
        }
        CTA_SEQ_ADJ_ORIG if rare.orig_seq_adjust.is_none() => {
            rare.orig_seq_adjust = Some(seq_adjust(attrs.nested(attr), unknowns)?);
        }
        CTA_SEQ_ADJ_REPLY if rare.reply_seq_adjust.is_none() => {
            rare.reply_seq_adjust = Some(seq_adjust(attrs.nested(attr), unknowns)?);
        }
        CTA_SECCTX if rare.secctx.is_none() => {
            rare.secctx = Some(context(attrs.nested(attr), unknowns)?);
        }
        CTA_SECMARK => {
            let mark = attrs.be32(attr)?;
            rare.secmark.get_or_insert(mark);
        }
        CTA_LABELS | CTA_HELP | CTA_TUPLE_MASTER | CTA_SEQ_ADJ_ORIG | CTA_SEQ_ADJ_REPLY
        | CTA_SECCTX => {}
        _ => attrs.unknown(attr, unknowns),
    }
    Ok(())
}

/// The kernel copies its own words (`unsigned long bits[]`), at most 128 bits of them.
pub(super) fn labels(attrs: &Attrs<'_>, attr: Attr<'_>) -> Result<Labels, Malformed> {
    const WORD: usize = size_of::<usize>();
    if attr.value.len() % WORD != 0 || attr.value.len() > 16 {
        return Err(attrs.wrong(attr, "not 128 bits in whole words"));
    }
    let words = attr.value.chunks_exact(WORD);
    let bits = words.enumerate().fold(0_u128, |bits, (at, word)| {
        // `chunks_exact` gives exact chunks.
        let word = word.try_into().map_or(0, usize::from_ne_bytes);
        bits | (word as u128) << (at * WORD * 8)
    });
    Ok(Labels::from_bits(bits))
}

fn words(labels: Labels) -> [u8; 16] {
    const WORD: usize = size_of::<usize>();
    let mut bytes = [0; 16];
    for (at, word) in bytes.chunks_exact_mut(WORD).enumerate() {
        #[allow(clippy::cast_possible_truncation, reason = "a word of it at a time")]
        let bits = (labels.bits() >> (at * WORD * 8)) as usize;
        word.copy_from_slice(&bits.to_ne_bytes());
    }
    bytes
}

pub(super) fn encode_labels(w: &mut Writer<'_>, kind: u16, labels: Labels) {
    w.put(kind, words(labels));
}

fn timestamps(
    mut attrs: Attrs<'_>,
    unknowns: &mut Unknowns,
) -> Result<(Option<u64>, Option<u64>), Malformed> {
    let (mut start, mut stop) = (None, None);
    while let Some(attr) = attrs.next() {
        match attr.kind {
            CTA_TIMESTAMP_START => start = Some(attrs.be64(attr)?),
            CTA_TIMESTAMP_STOP => stop = Some(attrs.be64(attr)?),
            CTA_TIMESTAMP_PAD => {}
            _ => attrs.unknown(attr, unknowns),
        }
    }
    attrs.finish()?;
    Ok((start, stop))
}

pub(super) fn helper(attrs: &Attrs<'_>, attr: Attr<'_>) -> Result<Helper, Malformed> {
    Helper::new(attrs.text(attr)?).map_err(|_| attrs.wrong(attr, "not a name of 1 to 15 bytes"))
}

/// The name alone, nothing allocated.
pub(super) fn help_name(mut attrs: Attrs<'_>) -> Result<Helper, Malformed> {
    let mut name = None;
    while let Some(attr) = attrs.next() {
        if attr.kind == CTA_HELP_NAME {
            name = Some(helper(&attrs, attr)?);
        }
    }
    attrs.finish()?;
    name.ok_or_else(|| attrs.lacks("CTA_HELP_NAME is missing"))
}

type Help = (Option<Helper>, Option<Vec<u8>>);

fn help(mut attrs: Attrs<'_>, unknowns: &mut Unknowns) -> Result<Help, Malformed> {
    let (mut name, mut info) = (None, None);
    while let Some(attr) = attrs.next() {
        match attr.kind {
            CTA_HELP_NAME => name = Some(helper(&attrs, attr)?),
            CTA_HELP_INFO => info = Some(attr.value.to_vec()),
            _ => attrs.unknown(attr, unknowns),
        }
    }
    attrs.finish()?;
    if name.is_none() {
        return Err(attrs.lacks("CTA_HELP_NAME is missing"));
    }
    Ok((name, info))
}

fn context(mut attrs: Attrs<'_>, unknowns: &mut Unknowns) -> Result<String, Malformed> {
    let mut name = None;
    while let Some(attr) = attrs.next() {
        match attr.kind {
            CTA_SECCTX_NAME => name = Some(attrs.text(attr)?.to_owned()),
            _ => attrs.unknown(attr, unknowns),
        }
    }
    attrs.finish()?;
    name.ok_or_else(|| attrs.lacks("CTA_SECCTX_NAME is missing"))
}

/// The kernel keeps offsets as `s32` and sends their bits.
fn signed(bits: u32) -> i32 {
    i32::from_ne_bytes(bits.to_ne_bytes())
}

fn unsigned(offset: i32) -> u32 {
    u32::from_ne_bytes(offset.to_ne_bytes())
}

fn seq_adjust(mut attrs: Attrs<'_>, unknowns: &mut Unknowns) -> Result<SeqAdjust, Malformed> {
    let (mut pos, mut before, mut after) = (None, None, None);
    while let Some(attr) = attrs.next() {
        match attr.kind {
            CTA_SEQADJ_CORRECTION_POS => pos = Some(attrs.be32(attr)?),
            CTA_SEQADJ_OFFSET_BEFORE => before = Some(signed(attrs.be32(attr)?)),
            CTA_SEQADJ_OFFSET_AFTER => after = Some(signed(attrs.be32(attr)?)),
            _ => attrs.unknown(attr, unknowns),
        }
    }
    attrs.finish()?;
    match (pos, before, after) {
        (Some(correction_pos), Some(offset_before), Some(offset_after)) => Ok(SeqAdjust {
            correction_pos,
            offset_before,
            offset_after,
        }),
        _ => Err(attrs.lacks("a part of the sequence adjustment is missing")),
    }
}

/// Length of the SYN proxy's state as the kernel lays it out (`ctnetlink_dump_ct_synproxy`).
const USUAL_SYNPROXY: usize = 24;

/// The SYN proxy's state in the kernel's own layout; what differs in anything is left to
/// [`synproxy`].
#[inline]
pub(super) fn usual_synproxy(value: &[u8]) -> Option<Synproxy> {
    let bytes: &[u8; USUAL_SYNPROXY] = value.try_into().ok()?;
    if word(bytes, 0) != header(8, CTA_SYNPROXY_ISN)
        || word(bytes, 8) != header(8, CTA_SYNPROXY_ITS)
        || word(bytes, 16) != header(8, CTA_SYNPROXY_TSOFF)
    {
        return None;
    }
    Some(Synproxy {
        isn: u32::from_be(word(bytes, 4)),
        its: u32::from_be(word(bytes, 12)),
        tsoff: u32::from_be(word(bytes, 20)),
    })
}

pub(super) fn synproxy(
    mut attrs: Attrs<'_>,
    unknowns: &mut Unknowns,
) -> Result<Synproxy, Malformed> {
    let (mut isn, mut its, mut tsoff) = (None, None, None);
    while let Some(attr) = attrs.next() {
        match attr.kind {
            CTA_SYNPROXY_ISN => isn = Some(attrs.be32(attr)?),
            CTA_SYNPROXY_ITS => its = Some(attrs.be32(attr)?),
            CTA_SYNPROXY_TSOFF => tsoff = Some(attrs.be32(attr)?),
            _ => attrs.unknown(attr, unknowns),
        }
    }
    attrs.finish()?;
    match (isn, its, tsoff) {
        (Some(isn), Some(its), Some(tsoff)) => Ok(Synproxy { isn, its, tsoff }),
        _ => Err(attrs.lacks("a part of the SYN proxy's state is missing")),
    }
}

pub(super) fn encode_synproxy(w: &mut Writer<'_>, kind: u16, proxy: Synproxy) {
    w.nest(kind, |w| {
        w.be32(CTA_SYNPROXY_ISN, proxy.isn);
        w.be32(CTA_SYNPROXY_ITS, proxy.its);
        w.be32(CTA_SYNPROXY_TSOFF, proxy.tsoff);
    });
}

/// What of it creation takes.
pub(super) fn encode(w: &mut Writer<'_>, rare: &Rare) {
    if let Some(labels) = rare.labels {
        encode_labels(w, CTA_LABELS, labels);
    }
    encode_help(w, rare);
    if let Some(master) = &rare.master {
        tuple::encode(w, CTA_TUPLE_MASTER, master, None);
    }
    encode_seq_adjust(w, rare);
}

pub(super) fn encode_help(w: &mut Writer<'_>, rare: &Rare) {
    if let Some(helper) = &rare.helper {
        w.nest(CTA_HELP, |w| {
            w.text(CTA_HELP_NAME, helper.as_str());
            if let Some(info) = &rare.helper_info {
                w.bytes(CTA_HELP_INFO, info);
            }
        });
    }
}

/// Creation takes neither these nor the security context.
#[cfg(any(test, fuzzing, feature = "interop"))]
pub(super) fn encode_timestamps(w: &mut Writer<'_>, stamps: Timestamps) {
    let stamps = [
        (CTA_TIMESTAMP_START, stamps.start),
        (CTA_TIMESTAMP_STOP, stamps.stop),
    ];
    if stamps.iter().all(|(_, nanos)| nanos.is_none()) {
        return;
    }
    w.nest(CTA_TIMESTAMP, |w| {
        for (kind, nanos) in stamps {
            if let Some(nanos) = nanos {
                w.put(kind, nanos.to_be_bytes());
            }
        }
    });
}

#[cfg(any(test, fuzzing, feature = "interop"))]
pub(super) fn encode_context(w: &mut Writer<'_>, context: &str) {
    w.nest(CTA_SECCTX, |w| w.text(CTA_SECCTX_NAME, context));
}

pub(super) fn encode_seq_adjust(w: &mut Writer<'_>, rare: &Rare) {
    for (kind, adjust) in [
        (CTA_SEQ_ADJ_ORIG, rare.orig_seq_adjust),
        (CTA_SEQ_ADJ_REPLY, rare.reply_seq_adjust),
    ] {
        if let Some(adjust) = adjust {
            w.nest(kind, |w| {
                w.be32(CTA_SEQADJ_CORRECTION_POS, adjust.correction_pos);
                w.be32(CTA_SEQADJ_OFFSET_BEFORE, unsigned(adjust.offset_before));
                w.be32(CTA_SEQADJ_OFFSET_AFTER, unsigned(adjust.offset_after));
            });
        }
    }
}

pub(super) fn encode_nat(w: &mut Writer<'_>, kind: u16, range: &NatRange) {
    w.nest(kind, |w| {
        match (range.first, range.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                w.put(CTA_NAT_V4_MINIP, first.octets());
                w.put(CTA_NAT_V4_MAXIP, last.octets());
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                w.put(CTA_NAT_V6_MINIP, first.octets());
                w.put(CTA_NAT_V6_MAXIP, last.octets());
            }
            // A range of two families cannot be built.
            _ => {}
        }
        if let Some((first, last)) = range.ports {
            w.nest(CTA_NAT_PROTO, |w| {
                w.be16(CTA_PROTONAT_PORT_MIN, first);
                w.be16(CTA_PROTONAT_PORT_MAX, last);
            });
        }
    });
}
