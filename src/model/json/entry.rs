//! Entries: reported ones, new ones, and the keys that name them.

use serde::de;

use super::form::{Formed, Side, form, need, plain, within};
use super::protoinfo::ProtoInfoForm;
use super::scalar::Hex;
use super::tuple::{EntryZoneForm, TupleForm, check_family, entry_zone};
use crate::error::Error;
use crate::model::nat::Nat;
use crate::model::{
    Counters, DccpInfo, Direction, Entry, Family, Helper, Key, Labels, NatRange, NewEntry,
    Protocol, Rare, SctpInfo, SeqAdjust, Status, Synproxy, TcpInfo, Timestamps, Tuple, Unknown,
    Zone,
};

form!(EntryForm {
    "family" => family: Family,
    "protocol" => protocol: Protocol,
    "orig" => orig: TupleForm,
    "reply" => reply: TupleForm,
    "zone" => zone: Zone,
    "zone_direction" => zone_direction: Direction,
    "status" => status: Status,
    "timeout" => timeout: u32,
    "mark" => mark: u32,
    "id" => id: u32,
    "use" => use_count: u32,
    "tcp" => tcp: TcpInfo,
    "sctp" => sctp: SctpInfo,
    "dccp" => dccp: DccpInfo,
    "orig_counters" => orig_counters: Counters,
    "reply_counters" => reply_counters: Counters,
    "labels" => labels: Labels,
    "timestamps" => timestamps: Timestamps,
    "helper" => helper: Helper,
    "helper_info" => helper_info: Hex,
    "master" => master: Tuple,
    "orig_seq_adjust" => orig_seq_adjust: SeqAdjust,
    "reply_seq_adjust" => reply_seq_adjust: SeqAdjust,
    "synproxy" => synproxy: Synproxy,
    "secctx" => secctx: String,
    "secmark" => secmark: u32,
    "unknown" => unknown: Vec<Unknown>,
});

impl Formed for Entry {
    type Form = EntryForm;
    const WHAT: &'static str = "an entry";

    fn form(&self, _: Side) -> EntryForm {
        // A field that is not here would be lost, so all are named.
        let Self {
            orig,
            reply,
            zone,
            status,
            timeout,
            mark,
            id,
            use_count,
            proto_info,
            orig_counters,
            reply_counters,
            synproxy,
            rare,
        } = self;
        let none = Rare::default();
        let Rare {
            labels,
            timestamps,
            helper,
            helper_info,
            master,
            orig_seq_adjust,
            reply_seq_adjust,
            secctx,
            secmark,
            unknown,
        } = rare.as_deref().unwrap_or(&none);
        let protocol = self.protocol();
        let zone = EntryZoneForm::from(*zone);
        let info = ProtoInfoForm::from(*proto_info);
        EntryForm {
            family: Some(self.family()),
            protocol: Some(protocol),
            orig: Some(TupleForm::inside(orig, protocol)),
            reply: Some(TupleForm::inside(reply, protocol)),
            zone: zone.zone,
            zone_direction: zone.direction,
            status: *status,
            timeout: *timeout,
            mark: *mark,
            id: *id,
            use_count: *use_count,
            tcp: info.tcp,
            sctp: info.sctp,
            dccp: info.dccp,
            orig_counters: *orig_counters,
            reply_counters: *reply_counters,
            labels: *labels,
            timestamps: *timestamps,
            helper: *helper,
            helper_info: helper_info.clone().map(Hex),
            master: *master,
            orig_seq_adjust: *orig_seq_adjust,
            reply_seq_adjust: *reply_seq_adjust,
            synproxy: *synproxy,
            secctx: secctx.clone(),
            secmark: *secmark,
            unknown: listed(unknown),
        }
    }

    fn of<E: de::Error>(form: EntryForm, side: Side) -> Result<Self, E> {
        let ends = Ends {
            family: form.family,
            protocol: form.protocol,
        };
        let orig = ends.tuple(form.orig, "orig", side)?;
        let reply = ends.tuple(form.reply, "reply", side)?;
        let info = ProtoInfoForm {
            tcp: form.tcp,
            sctp: form.sctp,
            dccp: form.dccp,
        };
        let rare = Rare {
            labels: form.labels,
            timestamps: form.timestamps,
            helper: form.helper,
            helper_info: form.helper_info.map(|Hex(info)| info),
            master: form.master,
            orig_seq_adjust: form.orig_seq_adjust,
            reply_seq_adjust: form.reply_seq_adjust,
            secctx: form.secctx,
            secmark: form.secmark,
            unknown: form.unknown.unwrap_or_default(),
        };
        Ok(Self {
            orig,
            reply,
            zone: entry_zone(form.zone, form.zone_direction, side)?,
            status: form.status,
            timeout: form.timeout,
            mark: form.mark,
            id: form.id,
            use_count: form.use_count,
            proto_info: info.info()?,
            orig_counters: form.orig_counters,
            reply_counters: form.reply_counters,
            synproxy: form.synproxy,
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
        })
    }
}

/// Without any, the field is absent.
pub(super) fn listed(unknown: &[Unknown]) -> Option<Vec<Unknown>> {
    (!unknown.is_empty()).then(|| unknown.to_vec())
}

/// What is said once for all tuples of an object.
pub(super) struct Ends {
    pub(super) family: Option<Family>,
    pub(super) protocol: Option<Protocol>,
}

impl Ends {
    pub(super) fn tuple<E: de::Error>(
        &self,
        form: Option<TupleForm>,
        name: &'static str,
        side: Side,
    ) -> Result<Tuple, E> {
        let protocol = need(self.protocol, "protocol")?;
        let form = need(form, name)?;
        // A damaged report may have a reply of another protocol or family, which survives.
        let tuple = form
            .tuple(Some(protocol), side)
            .map_err(|error| within::<E>(name, &error))?;
        if name != "reply" || side == Side::Input {
            check_family(self.family, &tuple)?;
            if tuple.protocol() != protocol {
                return Err(E::custom(Error::invalid(
                    name,
                    tuple.protocol().to_string(),
                    "of another protocol than the entry",
                    "the entry's protocol, or none of its own",
                )));
            }
        }
        Ok(tuple)
    }
}

form!(NewEntryForm {
    "family" => family: Family,
    "protocol" => protocol: Protocol,
    "orig" => orig: TupleForm,
    "reply" => reply: TupleForm,
    "zone" => zone: Zone,
    "zone_direction" => zone_direction: Direction,
    "status" => status: Status,
    "timeout" => timeout: u32,
    "mark" => mark: u32,
    "tcp" => tcp: TcpInfo,
    "sctp" => sctp: SctpInfo,
    "dccp" => dccp: DccpInfo,
    "labels" => labels: Labels,
    "helper" => helper: Helper,
    "helper_info" => helper_info: Hex,
    "master" => master: Tuple,
    "nat_src" => nat_src: NatRange,
    "nat_dst" => nat_dst: NatRange,
    "orig_seq_adjust" => orig_seq_adjust: SeqAdjust,
    "reply_seq_adjust" => reply_seq_adjust: SeqAdjust,
    "synproxy" => synproxy: Synproxy,
});

impl Formed for NewEntry {
    type Form = NewEntryForm;
    const WHAT: &'static str = "a new entry";

    fn form(&self, side: Side) -> NewEntryForm {
        let entry = self.entry().form(side);
        NewEntryForm {
            family: entry.family,
            protocol: entry.protocol,
            orig: entry.orig,
            reply: entry.reply,
            zone: entry.zone,
            zone_direction: entry.zone_direction,
            status: entry.status,
            timeout: entry.timeout,
            mark: entry.mark,
            tcp: entry.tcp,
            sctp: entry.sctp,
            dccp: entry.dccp,
            labels: entry.labels,
            helper: entry.helper,
            helper_info: entry.helper_info,
            master: entry.master,
            nat_src: self.nat.src,
            nat_dst: self.nat.dst,
            orig_seq_adjust: entry.orig_seq_adjust,
            reply_seq_adjust: entry.reply_seq_adjust,
            synproxy: entry.synproxy,
        }
    }

    /// By the rules of [`EntryBuilder::build`](crate::model::EntryBuilder::build).
    fn of<E: de::Error>(form: NewEntryForm, side: Side) -> Result<Self, E> {
        let ends = Ends {
            family: form.family,
            protocol: form.protocol,
        };
        let orig = ends.tuple(form.orig, "orig", side)?;
        let reply = match form.reply {
            Some(reply) => ends.tuple(Some(reply), "reply", side)?,
            None => orig.reply(),
        };
        let nat = Nat {
            src: form.nat_src,
            dst: form.nat_dst,
        };
        let info = ProtoInfoForm {
            tcp: form.tcp,
            sctp: form.sctp,
            dccp: form.dccp,
        };
        let rare = Rare {
            labels: form.labels,
            helper: form.helper,
            helper_info: form.helper_info.map(|Hex(info)| info),
            master: form.master,
            orig_seq_adjust: form.orig_seq_adjust,
            reply_seq_adjust: form.reply_seq_adjust,
            ..Rare::default()
        };
        let entry = Entry {
            zone: entry_zone(form.zone, form.zone_direction, side)?,
            status: form.status,
            timeout: form.timeout,
            mark: form.mark,
            proto_info: info.info()?,
            synproxy: form.synproxy,
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
            ..Entry::new(orig, reply)
        };
        Self::check(entry, nat).map_err(E::custom)
    }
}

form!(KeyForm {
    "family" => family: Family,
    "protocol" => protocol: Protocol,
    "orig" => orig: TupleForm,
    "reply" => reply: TupleForm,
    "zone" => zone: Zone,
    "zone_direction" => zone_direction: Direction,
    "id" => id: u32,
});

impl Formed for Key {
    type Form = KeyForm;
    const WHAT: &'static str = "a key";

    fn form(&self, _: Side) -> KeyForm {
        let protocol = self.tuple.protocol();
        let tuple = Some(TupleForm::inside(&self.tuple, protocol));
        let (orig, reply) = match self.direction {
            Direction::Original => (tuple, None),
            Direction::Reply => (None, tuple),
        };
        let zone = EntryZoneForm::from(self.zone);
        KeyForm {
            family: Some(self.tuple.family()),
            protocol: Some(protocol),
            orig,
            reply,
            zone: zone.zone,
            zone_direction: zone.direction,
            id: self.id,
        }
    }

    fn of<E: de::Error>(form: KeyForm, side: Side) -> Result<Self, E> {
        let ends = Ends {
            family: form.family,
            protocol: form.protocol,
        };
        let key = match (form.orig, form.reply) {
            (orig, None) => Self::orig(ends.tuple(orig, "orig", side)?),
            (None, reply) => Self::reply(ends.tuple(reply, "reply", side)?),
            (Some(_), Some(_)) => {
                return Err(E::custom(Error::invalid(
                    "key",
                    "orig and reply",
                    "two tuples",
                    "the tuple of one direction",
                )));
            }
        };
        let key = key.zone(entry_zone(form.zone, form.zone_direction, side)?);
        Ok(Self { id: form.id, ..key })
    }
}

plain!(Counters as CountersForm, "counters",
    needs {
        "packets" => packets: u64,
        "bytes" => bytes: u64,
    }
    may {}
);

plain!(Timestamps as TimestampsForm, "time stamps",
    needs {}
    may {
        "start_ns" => start: u64,
        "stop_ns" => stop: u64,
        "event_ns" => event: u64,
    }
);

plain!(SeqAdjust as SeqAdjustForm, "an adjustment of sequence numbers",
    needs {
        "correction_pos" => correction_pos: u32,
        "offset_before" => offset_before: i32,
        "offset_after" => offset_after: i32,
    }
    may {}
);

plain!(Synproxy as SynproxyForm, "what the SYN proxy remembers",
    needs {
        "isn" => isn: u32,
        "its" => its: u32,
        "tsoff" => tsoff: u32,
    }
    may {}
);

form!(UnknownForm {
    "path" => path: Vec<u16>,
    "value" => value: Hex,
});

impl Formed for Unknown {
    type Form = UnknownForm;
    const WHAT: &'static str = "an unknown attribute";

    fn form(&self, _: Side) -> UnknownForm {
        UnknownForm {
            path: Some(self.path.clone()),
            value: Some(Hex(self.value.clone())),
        }
    }

    fn of<E: de::Error>(form: UnknownForm, _: Side) -> Result<Self, E> {
        let path = need(form.path, "path")?;
        let Hex(value) = need(form.value, "value")?;
        let unknown = Self { path, value };
        if !unknown.is_possible() {
            return Err(E::custom(Error::invalid(
                "path",
                format!("{:?}", unknown.path),
                "not the place of an attribute",
                "1 to 4 numbers up to 16383",
            )));
        }
        Ok(unknown)
    }
}
