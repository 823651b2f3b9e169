//! Filters as objects of their conditions, behind the feature `serde`.

use ipnet::IpNet;
use serde::{Deserializer, Serializer, de};

use super::text::prefix;
use super::{Filter, NatKind, PortRange, TimeoutRange, TupleFilter, ZoneIn};
use crate::model::json::form::{Formed, Part, Side, form, need};
use crate::model::json::scalar::{LabelMask, PortSpan, Word, read_text};
use crate::model::json::serde_traits;
use crate::model::{Family, Helper, Labels, Mark, Protocol, Status, TcpState, Zone};

serde_traits!(Input: Filter, PortRange, TimeoutRange, NatKind);

form!(FilterForm {
    "family" => family: Family,
    "zone" => zone: Zone,
    "orig_zone" => orig_zone: Zone,
    "reply_zone" => reply_zone: Zone,
    "mark" => mark: Mark,
    "status" => status: Status,
    "status_mask" => status_mask: Status,
    "labels" => labels: Labels,
    "labels_mask" => labels_mask: LabelMask,
    "protocol" => protocol: Protocol,
    "orig_src" => orig_src: Prefix,
    "orig_dst" => orig_dst: Prefix,
    "orig_src_port" => orig_src_port: PortRange,
    "orig_dst_port" => orig_dst_port: PortRange,
    "reply_src" => reply_src: Prefix,
    "reply_dst" => reply_dst: Prefix,
    "reply_src_port" => reply_src_port: PortRange,
    "reply_dst_port" => reply_dst_port: PortRange,
    "icmp_type" => icmp_type: u8,
    "icmp_code" => icmp_code: u8,
    "icmp_id" => icmp_id: u16,
    "tcp_state" => tcp_state: TcpState,
    "helper" => helper: Helper,
    "nat" => nat: NatKind,
    "timeout" => timeout: TimeoutRange,
    "id" => id: u32,
});

impl Formed for Filter {
    type Form = FilterForm;
    const WHAT: &'static str = "a filter";

    fn form(&self, _: Side) -> FilterForm {
        // A condition that is not here would be lost, so all are named.
        let Self {
            family,
            zone,
            zone_in:
                ZoneIn {
                    orig: orig_zone,
                    reply: reply_zone,
                },
            mark,
            status,
            labels,
            protocol,
            orig,
            reply,
            icmp_type,
            icmp_code,
            icmp_id,
            tcp_state,
            helper,
            nat,
            timeout,
            id,
        } = self;
        FilterForm {
            family: *family,
            zone: *zone,
            orig_zone: *orig_zone,
            reply_zone: *reply_zone,
            mark: *mark,
            status: status.map(|(status, _)| status),
            status_mask: status.and_then(|(status, mask)| (status != mask).then_some(mask)),
            labels: labels.map(|(labels, _)| labels),
            labels_mask: labels
                .and_then(|(labels, mask)| (labels != mask).then_some(LabelMask(mask))),
            protocol: *protocol,
            orig_src: orig.src.map(Prefix),
            orig_dst: orig.dst.map(Prefix),
            orig_src_port: orig.src_port,
            orig_dst_port: orig.dst_port,
            reply_src: reply.src.map(Prefix),
            reply_dst: reply.dst.map(Prefix),
            reply_src_port: reply.src_port,
            reply_dst_port: reply.dst_port,
            icmp_type: *icmp_type,
            icmp_code: *icmp_code,
            icmp_id: *icmp_id,
            tcp_state: *tcp_state,
            helper: *helper,
            nat: *nat,
            timeout: *timeout,
            id: *id,
        }
    }

    fn of<E: de::Error>(form: FilterForm, _: Side) -> Result<Self, E> {
        let filter = Self {
            family: form.family,
            zone: form.zone,
            zone_in: ZoneIn {
                orig: form.orig_zone,
                reply: form.reply_zone,
            },
            mark: form.mark,
            status: None,
            labels: None,
            protocol: form.protocol,
            orig: TupleFilter {
                src: form.orig_src.map(|Prefix(net)| net),
                dst: form.orig_dst.map(|Prefix(net)| net),
                src_port: form.orig_src_port,
                dst_port: form.orig_dst_port,
            },
            reply: TupleFilter {
                src: form.reply_src.map(|Prefix(net)| net),
                dst: form.reply_dst.map(|Prefix(net)| net),
                src_port: form.reply_src_port,
                dst_port: form.reply_dst_port,
            },
            icmp_type: form.icmp_type,
            icmp_code: form.icmp_code,
            icmp_id: form.icmp_id,
            tcp_state: form.tcp_state,
            helper: form.helper,
            nat: form.nat,
            timeout: form.timeout,
            id: form.id,
        };
        let filter = match (form.status, form.status_mask) {
            (None, None) => filter,
            (status, None) => filter.status(need(status, "status")?),
            (status, Some(mask)) => filter
                .status_masked(need(status, "status")?, mask)
                .map_err(E::custom)?,
        };
        match (form.labels, form.labels_mask) {
            (None, None) => Ok(filter),
            (labels, None) => Ok(filter.labels(need(labels, "labels")?)),
            (labels, Some(LabelMask(mask))) => filter
                .labels_masked(need(labels, "labels")?, mask)
                .map_err(E::custom),
        }
    }
}

impl Part for PortRange {
    fn write<S: Serializer>(&self, side: Side, to: S) -> Result<S::Ok, S::Error> {
        PortSpan(self.first(), self.last()).write(side, to)
    }

    fn read<'de, D: Deserializer<'de>>(side: Side, from: D) -> Result<Self, D::Error> {
        let PortSpan(first, last) = PortSpan::read(side, from)?;
        Self::new(first, last).map_err(de::Error::custom)
    }
}

impl Part for TimeoutRange {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        match self.one() {
            Some(seconds) => to.serialize_u32(seconds),
            None => to.collect_str(self),
        }
    }

    fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "a number of seconds, or a string such as 30..600";
        Word::read(from, EXPECTED)?.either(EXPECTED, Self::exactly, str::parse)
    }
}

impl Part for NatKind {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }

    fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
        read_text(from, "src, dst, any or none as a string", str::parse)
    }
}

/// `ADDRESS/LENGTH`, or an address alone for a prefix of nothing else.
pub(crate) struct Prefix(IpNet);

impl Part for Prefix {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }

    fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
        let expected = "a prefix such as 10.0.0.0/24, or an address";
        read_text(from, expected, |text| prefix(text).map(Self))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::row_names;
    use super::super::tests::values::filter;
    use super::*;
    use crate::model::json::form::Fields;

    proptest! {
        #[test]
        fn filters_survive(filter in filter()) {
            let text = serde_json::to_string(&filter).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Filter>(&text).unwrap(), &filter);
            prop_assert!(!text.contains("null"));
            prop_assert_eq!(text == "{}", filter.is_empty());
        }
    }

    #[test]
    fn a_filter_is_its_conditions() {
        let text = "{\"family\":\"ipv4\",\"zone\":0,\"mark\":\"0x100/0xff00\",\"status\":[\"ASSURED\"],\
                    \"status_mask\":[\"ASSURED\",\"DYING\"],\"protocol\":\"tcp\",\"orig_src\":\"10.0.0.0/24\",\
                    \"orig_dst_port\":443,\"reply_src\":\"2001:db8::/32\",\"reply_dst_port\":\"1024-65535\"}";
        let filter: Filter = serde_json::from_str(text).unwrap();
        let prefix = |text: &str| text.parse::<IpNet>().unwrap();
        let same = Filter::new()
            .family(Family::Ipv4)
            .zone(Zone::DEFAULT)
            .mark(Mark::masked(0x100, 0xff00).unwrap())
            .status_masked(Status::ASSURED, Status::ASSURED | Status::DYING)
            .unwrap()
            .protocol(Protocol::TCP)
            .orig_src(prefix("10.0.0.0/24"))
            .orig_dst_port(443)
            .reply_src(prefix("2001:db8::/32"))
            .reply_dst_port(PortRange::new(1024, 65535).unwrap());
        assert_eq!(filter, same);
        assert_eq!(serde_json::to_string(&filter).unwrap(), text);
        let text = "{\"orig_zone\":5,\"reply_zone\":0,\"labels\":[1],\"labels_mask\":\"all\",\
                    \"icmp_type\":8,\"icmp_code\":0,\"icmp_id\":7,\"tcp_state\":\"ESTABLISHED\",\
                    \"helper\":\"ftp\",\"nat\":\"src\",\"timeout\":\"30..600\",\"id\":123}";
        let filter: Filter = serde_json::from_str(text).unwrap();
        let words = "orig-zone=5 reply-zone=0 labels=1/all icmp-type=8 icmp-code=0 icmp-id=7 \
                     state=ESTABLISHED helper=ftp nat=src timeout=30..600 id=123";
        assert_eq!(filter, words.parse().unwrap());
        assert_eq!(serde_json::to_string(&filter).unwrap(), text);
        for (timeout, words) in [("60", "timeout=60"), ("\"..60\"", "timeout=..60")] {
            let text = format!("{{\"timeout\":{timeout}}}");
            let filter: Filter = serde_json::from_str(&text).unwrap();
            assert_eq!(filter.to_string(), words);
            assert_eq!(serde_json::to_string(&filter).unwrap(), text);
        }
        let host: Filter = serde_json::from_str("{\"orig_src\":\"10.0.0.7\"}").unwrap();
        assert_eq!(host, Filter::new().orig_src(prefix("10.0.0.7/32")));
    }

    #[test]
    fn the_document_has_the_conditions() {
        let document = include_str!("../../docs/json.md");
        let section = document.split_once("\n## Filter\n").unwrap().1;
        let section = section.split("\n## ").next().unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let mut names: Vec<_> = rows.flat_map(row_names).collect();
        let mut known = FilterForm::NAMES.to_vec();
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(names, known);
        let example = section.split("```json Filter\n").nth(1).unwrap();
        let example = example.split("```").next().unwrap();
        let filter: Filter = serde_json::from_str(example).unwrap();
        assert!(!filter.is_empty());
    }

    /// A condition that is lost would mean more entries than were meant, at worst all.
    #[test]
    fn no_condition_is_lost() {
        for (text, want) in [
            ("{\"zone\":null}", "zone: invalid type: null"),
            (
                "{\"zones\":5}",
                "unknown field `zones`, expected one of `family`",
            ),
            ("{\"zone\":5,\"zone\":6}", "duplicate field `zone`"),
            ("{\"zone\":-1}", "zone: zone \"-1\": negative"),
            (
                "{\"orig_src\":\"10.0.0.0/33\"}",
                "orig_src: prefix \"10.0.0.0/33\": not a prefix",
            ),
            ("{\"orig_src\":\"\"}", "orig_src: prefix \"\": not a prefix"),
            (
                "{\"orig_dst_port\":\"2-1\"}",
                "orig_dst_port: port range \"2-1\": the first port",
            ),
            (
                "{\"orig_dst_port\":70000}",
                "orig_dst_port: invalid value: integer `70000`",
            ),
            ("{\"status_mask\":[\"ASSURED\"]}", "missing field `status`"),
            (
                "{\"status\":[\"DYING\"],\"status_mask\":[]}",
                "status filter \"DYING/NONE\": DYING is outside",
            ),
            ("{\"labels_mask\":\"all\"}", "missing field `labels`"),
            (
                "{\"labels\":[2],\"labels_mask\":[1]}",
                "label filter \"2/1\": 2 is outside",
            ),
            ("{\"labels\":[128]}", "labels: label \"128\": too large"),
            (
                "{\"icmp_type\":256}",
                "icmp_type: invalid value: integer `256`",
            ),
            ("{\"nat\":\"snat\"}", "nat: translation \"snat\": not known"),
            ("{\"timeout\":-1}", "timeout: invalid value: integer `-1`"),
            (
                "{\"timeout\":\"60..30\"}",
                "timeout: time-out range \"60..30\": the first is longer",
            ),
            ("null", "invalid type: null, expected a filter as an object"),
            (
                "[]",
                "invalid type: sequence, expected a filter as an object",
            ),
        ] {
            let error = serde_json::from_str::<Filter>(text)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(want), "{text}: {error}");
        }
    }
}
