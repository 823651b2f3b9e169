//! Filters as objects of their conditions, behind the feature `serde`.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserializer, Serializer, de};

use super::{Filter, PortRange, TupleFilter};
use crate::error::Error;
use crate::model::json::form::{Formed, Part, Side, form, need};
use crate::model::json::scalar::{PortSpan, read_text};
use crate::model::json::serde_traits;
use crate::model::{Family, Mark, Protocol, Status, Zone};

serde_traits!(Input: Filter, PortRange);

form!(FilterForm {
    "family" => family: Family,
    "zone" => zone: Zone,
    "mark" => mark: Mark,
    "status" => status: Status,
    "status_mask" => status_mask: Status,
    "protocol" => protocol: Protocol,
    "orig_src" => orig_src: Prefix,
    "orig_dst" => orig_dst: Prefix,
    "orig_src_port" => orig_src_port: PortRange,
    "orig_dst_port" => orig_dst_port: PortRange,
    "reply_src" => reply_src: Prefix,
    "reply_dst" => reply_dst: Prefix,
    "reply_src_port" => reply_src_port: PortRange,
    "reply_dst_port" => reply_dst_port: PortRange,
});

impl Formed for Filter {
    type Form = FilterForm;
    const WHAT: &'static str = "a filter";

    fn form(&self, _: Side) -> FilterForm {
        // A condition that is not here would be lost, so all are named.
        let Self {
            family,
            zone,
            mark,
            status,
            protocol,
            orig,
            reply,
        } = self;
        FilterForm {
            family: *family,
            zone: *zone,
            mark: *mark,
            status: status.map(|(status, _)| status),
            status_mask: status.and_then(|(status, mask)| (status != mask).then_some(mask)),
            protocol: *protocol,
            orig_src: orig.src.map(Prefix),
            orig_dst: orig.dst.map(Prefix),
            orig_src_port: orig.src_port,
            orig_dst_port: orig.dst_port,
            reply_src: reply.src.map(Prefix),
            reply_dst: reply.dst.map(Prefix),
            reply_src_port: reply.src_port,
            reply_dst_port: reply.dst_port,
        }
    }

    fn of<E: de::Error>(form: FilterForm, _: Side) -> Result<Self, E> {
        let filter = Self {
            family: form.family,
            zone: form.zone,
            mark: form.mark,
            status: None,
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
        };
        match (form.status, form.status_mask) {
            (None, None) => Ok(filter),
            (status, None) => Ok(filter.status(need(status, "status")?)),
            (status, Some(mask)) => filter
                .status_masked(need(status, "status")?, mask)
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

/// `ADDRESS/LENGTH`, or an address alone for a prefix of nothing else.
pub(crate) struct Prefix(IpNet);

impl Part for Prefix {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }

    fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
        let expected = "a prefix such as 10.0.0.0/24, or an address";
        read_text(from, expected, |text| {
            text.parse()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .map(Self)
                .map_err(|_| Error::invalid("prefix", text, "not a prefix", expected))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::option::of;
    use proptest::prelude::*;

    use super::*;
    use crate::model::json::form::Fields;

    fn net() -> impl Strategy<Value = IpNet> {
        let v4 = (any::<[u8; 4]>(), 0..=32_u8);
        let v6 = (any::<[u8; 16]>(), 0..=128_u8);
        // Bits beyond the prefix are kept, so that a filter is what it was.
        prop_oneof![
            v4.prop_map(|(address, length)| IpNet::new(address.into(), length).unwrap()),
            v6.prop_map(|(address, length)| IpNet::new(address.into(), length).unwrap()),
        ]
    }

    fn ports() -> impl Strategy<Value = PortRange> {
        (any::<u16>(), any::<u16>(), any::<bool>()).prop_map(|(a, b, one)| {
            let last = if one { a } else { b };
            PortRange::new(a.min(last), a.max(last)).unwrap()
        })
    }

    prop_compose! {
        fn end()(src in of(net()), dst in of(net()), src_port in of(ports()), dst_port in of(ports())) -> TupleFilter {
            TupleFilter { src, dst, src_port, dst_port }
        }
    }

    prop_compose! {
        fn filter()(
            numbers in any::<(Option<bool>, Option<u16>, Option<u8>)>(),
            mark in of(any::<(u32, u32)>()),
            status in of(any::<(u32, u32, bool)>()),
            orig in end(),
            reply in end(),
        ) -> Filter {
            let (six, zone, protocol) = numbers;
            Filter {
                family: six.map(|six| if six { Family::Ipv6 } else { Family::Ipv4 }),
                zone: zone.map(Zone::new),
                mark: mark.map(|(value, mask)| Mark::masked(value & mask, mask).unwrap()),
                status: status.map(|(bits, mask, same)| {
                    let mask = if same { bits } else { mask };
                    (Status::from_bits_retain(bits & mask), Status::from_bits_retain(mask))
                }),
                protocol: protocol.map(Protocol::new),
                orig,
                reply,
            }
        }
    }

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
        let host: Filter = serde_json::from_str("{\"orig_src\":\"10.0.0.7\"}").unwrap();
        assert_eq!(host, Filter::new().orig_src(prefix("10.0.0.7/32")));
    }

    #[test]
    fn the_document_has_the_conditions() {
        let document = include_str!("../../docs/json.md");
        let section = document.split_once("\n## Filter\n").unwrap().1;
        let section = section.split("\n## ").next().unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let mut names: Vec<_> = rows
            .flat_map(|line| {
                line.split('|')
                    .nth(1)
                    .unwrap()
                    .split('`')
                    .skip(1)
                    .step_by(2)
            })
            .collect();
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
