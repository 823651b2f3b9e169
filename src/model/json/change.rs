//! What is asked for beside entries: updates, translation, labels.

use std::fmt;
use std::time::Duration;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserializer, Serializer};

use super::form::{Formed, Part, Side, form, need};
use super::protoinfo::ProtoInfoForm;
use super::scalar::{AddressSpan, LabelMask, PortSpan};
use crate::error::Error;
use crate::model::{
    DccpInfo, LabelChange, LabelNames, Labels, Mark, NatRange, ProtoInfo, SctpInfo, SeqAdjust,
    Status, Synproxy, TcpInfo, Update,
};

form!(UpdateForm {
    "timeout" => timeout: u32,
    "mark" => mark: Mark,
    "status" => status: Status,
    "tcp" => tcp: TcpInfo,
    "sctp" => sctp: SctpInfo,
    "dccp" => dccp: DccpInfo,
    "labels" => labels: LabelChange,
    "orig_seq_adjust" => orig_seq_adjust: SeqAdjust,
    "reply_seq_adjust" => reply_seq_adjust: SeqAdjust,
    "synproxy" => synproxy: Synproxy,
    "remove_helper" => remove_helper: bool,
});

impl Formed for Update {
    type Form = UpdateForm;
    const WHAT: &'static str = "an update";

    fn form(&self, _: Side) -> UpdateForm {
        let info = ProtoInfoForm::from(self.proto_info);
        UpdateForm {
            timeout: self.timeout,
            mark: self.mark,
            status: Some(self.set).filter(|set| !set.is_empty()),
            tcp: info.tcp,
            sctp: info.sctp,
            dccp: info.dccp,
            labels: self.labels,
            orig_seq_adjust: self.orig_seq_adjust,
            reply_seq_adjust: self.reply_seq_adjust,
            synproxy: self.synproxy,
            remove_helper: Some(self.remove_helper).filter(|remove| *remove),
        }
    }

    /// By way of the builder.
    fn of<E: de::Error>(form: UpdateForm, _: Side) -> Result<Self, E> {
        const CAN_BE_SET: Status = Status::SETTABLE.difference(Status::CONFIRMED);

        let mut update = Self::builder();
        if let Some(timeout) = form.timeout {
            update = update.timeout(Duration::from_secs(timeout.into()));
        }
        if let Some(mark) = form.mark {
            update = update.mark(mark);
        }
        let status = form.status.unwrap_or_default();
        let beyond = status.difference(CAN_BE_SET);
        if !beyond.is_empty() {
            return Err(E::custom(Error::invalid(
                "status",
                beyond.to_string(),
                "these status bits cannot be set",
                CAN_BE_SET.to_string(),
            )));
        }
        if status.contains(Status::SEEN_REPLY) {
            update = update.seen_reply();
        }
        if status.contains(Status::ASSURED) {
            update = update.assured();
        }
        if status.contains(Status::FIXED_TIMEOUT) {
            update = update.fixed_timeout();
        }
        let info = ProtoInfoForm {
            tcp: form.tcp,
            sctp: form.sctp,
            dccp: form.dccp,
        };
        match info.info()? {
            Some(ProtoInfo::Tcp(info)) => update = update.tcp_info(info),
            Some(ProtoInfo::Sctp(info)) => update = update.sctp_info(info),
            Some(ProtoInfo::Dccp(info)) => update = update.dccp_info(info),
            None => {}
        }
        if let Some(labels) = form.labels {
            update = update.labels(labels);
        }
        if let Some(adjust) = form.orig_seq_adjust {
            update = update.orig_seq_adjust(adjust);
        }
        if let Some(adjust) = form.reply_seq_adjust {
            update = update.reply_seq_adjust(adjust);
        }
        if let Some(synproxy) = form.synproxy {
            update = update.synproxy(synproxy);
        }
        if form.remove_helper == Some(true) {
            update = update.remove_helper();
        }
        update.build().map_err(E::custom)
    }
}

form!(LabelChangeForm {
    "labels" => labels: Labels,
    "mask" => mask: LabelMask,
});

impl Formed for LabelChange {
    type Form = LabelChangeForm;
    const WHAT: &'static str = "a change of labels";

    fn form(&self, _: Side) -> LabelChangeForm {
        LabelChangeForm {
            labels: Some(self.labels),
            mask: Some(self.mask)
                .filter(|mask| *mask != self.labels)
                .map(LabelMask),
        }
    }

    fn of<E: de::Error>(form: LabelChangeForm, _: Side) -> Result<Self, E> {
        let labels = need(form.labels, "labels")?;
        let mask = form.mask.map_or(labels, |LabelMask(mask)| mask);
        Ok(Self { labels, mask })
    }
}

form!(NatRangeForm {
    "addresses" => addresses: AddressSpan,
    "ports" => ports: PortSpan,
});

impl Formed for NatRange {
    type Form = NatRangeForm;
    const WHAT: &'static str = "a NAT range";

    fn form(&self, _: Side) -> NatRangeForm {
        NatRangeForm {
            addresses: Some(AddressSpan(self.first, self.last)),
            ports: self.ports.map(|(first, last)| PortSpan(first, last)),
        }
    }

    fn of<E: de::Error>(form: NatRangeForm, _: Side) -> Result<Self, E> {
        let AddressSpan(first, last) = need(form.addresses, "addresses")?;
        let range = Self::addresses(first, last).map_err(E::custom)?;
        match form.ports {
            Some(PortSpan(first, last)) => range.ports(first, last).map_err(E::custom),
            None => Ok(range),
        }
    }
}

/// An object of number and name.
impl Part for LabelNames {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map((0..128_u8).filter_map(|number| Some((number, self.name(number)?))))
    }

    fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
        struct NamesVisitor;

        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = LabelNames;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of label numbers and their names")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<LabelNames, M::Error> {
                let mut names = LabelNames::default();
                while let Some((number, name)) = map.next_entry::<u8, String>()? {
                    names.insert(number, &name).map_err(|problem| {
                        let input = format!("{number} {name}");
                        let expected = LabelNames::EXPECTED;
                        de::Error::custom(Error::invalid("label names", input, problem, expected))
                    })?;
                }
                Ok(names)
            }
        }

        from.deserialize_map(NamesVisitor)
    }
}
