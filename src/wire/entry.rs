//! Entries as requests speak of them.

use super::attr::{
    CTA_HELP, CTA_HELP_NAME, CTA_ID, CTA_LABELS, CTA_LABELS_MASK, CTA_MARK, CTA_MARK_MASK,
    CTA_NAT_DST, CTA_NAT_SRC, CTA_STATUS, CTA_SYNPROXY, CTA_TIMEOUT, CTA_TUPLE_ORIG,
    CTA_TUPLE_REPLY, CTA_ZONE,
};
use super::writer::Writer;
use super::{protoinfo, rare, tuple};
use crate::model::{Direction, EntryZone, Key, LabelChange, NewEntry, Rare, Status, Update, Zone};

/// `CTA_ZONE`, left out for zone 0: a kernel without zones refuses the attribute.
pub(super) fn encode_zone(w: &mut Writer<'_>, zone: EntryZone) {
    match zone {
        EntryZone::Both(zone) if !zone.is_default() => w.be16(CTA_ZONE, zone.get()),
        _ => {}
    }
}

pub(super) fn orig_only(zone: EntryZone) -> Option<Zone> {
    match zone {
        EntryZone::Orig(zone) => Some(zone),
        _ => None,
    }
}

pub(super) fn reply_only(zone: EntryZone) -> Option<Zone> {
    match zone {
        EntryZone::Reply(zone) => Some(zone),
        _ => None,
    }
}

/// Everything that creation takes.
pub(super) fn encode_new(w: &mut Writer<'_>, new: &NewEntry) {
    let entry = new.entry();
    tuple::encode(w, CTA_TUPLE_ORIG, &entry.orig, orig_only(entry.zone));
    tuple::encode(w, CTA_TUPLE_REPLY, &entry.reply, reply_only(entry.zone));
    encode_zone(w, entry.zone);
    if let Some(status) = entry.status {
        // ctnetlink_create_conntrack sets CONFIRMED before it compares: without the bit, EBUSY.
        w.be32(CTA_STATUS, (status | Status::CONFIRMED).bits());
    }
    if let Some(timeout) = entry.timeout {
        w.be32(CTA_TIMEOUT, timeout);
    }
    if let Some(mark) = entry.mark {
        w.be32(CTA_MARK, mark);
    }
    if let Some(info) = &entry.proto_info {
        protoinfo::encode(w, info);
    }
    if let Some(proxy) = entry.synproxy {
        rare::encode_synproxy(w, CTA_SYNPROXY, proxy);
    }
    if let Some(rare) = &entry.rare {
        rare::encode(w, rare);
    }
    if let Some(range) = &new.nat.src {
        rare::encode_nat(w, CTA_NAT_SRC, range);
    }
    if let Some(range) = &new.nat.dst {
        rare::encode_nat(w, CTA_NAT_DST, range);
    }
}

/// What the kernel looks an entry up by.
pub(super) fn encode_key(w: &mut Writer<'_>, key: &Key) {
    match key.direction {
        Direction::Original => {
            tuple::encode(w, CTA_TUPLE_ORIG, &key.tuple, orig_only(key.zone));
        }
        Direction::Reply => tuple::encode(w, CTA_TUPLE_REPLY, &key.tuple, reply_only(key.zone)),
    }
    encode_zone(w, key.zone);
}

/// The id, which the kernel compares on deletion (`ctnetlink_del_conntrack`).
pub(super) fn encode_id(w: &mut Writer<'_>, id: Option<u32>) {
    if let Some(id) = id {
        w.be32(CTA_ID, id);
    }
}

/// What changes. `status` is what [`Update::status_for`] made of the entry's present status.
pub(super) fn encode_update(w: &mut Writer<'_>, update: &Update, status: Option<Status>) {
    if let Some(status) = status {
        w.be32(CTA_STATUS, status.bits());
    }
    if let Some(timeout) = update.timeout {
        w.be32(CTA_TIMEOUT, timeout);
    }
    if let Some(mark) = update.mark {
        w.be32(CTA_MARK, mark.value());
        if mark.mask() != u32::MAX {
            w.be32(CTA_MARK_MASK, mark.mask());
        }
    }
    if let Some(LabelChange { labels, mask }) = update.labels {
        rare::encode_labels(w, CTA_LABELS, labels);
        rare::encode_labels(w, CTA_LABELS_MASK, mask);
    }
    if let Some(info) = &update.proto_info {
        protoinfo::encode(w, info);
    }
    rare::encode_seq_adjust(
        w,
        &Rare {
            orig_seq_adjust: update.orig_seq_adjust,
            reply_seq_adjust: update.reply_seq_adjust,
            ..Rare::default()
        },
    );
    if let Some(proxy) = update.synproxy {
        rare::encode_synproxy(w, CTA_SYNPROXY, proxy);
    }
    if update.remove_helper {
        // No name (`ctnetlink_change_helper`).
        w.nest(CTA_HELP, |w| w.text(CTA_HELP_NAME, ""));
    }
}
