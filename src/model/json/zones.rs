//! Who uses zones: claims, rules, and counts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{self, SeqAccess, Unexpected, Visitor};
use serde::{Deserializer, Serializer};
use uuid::Uuid;

use super::form::{Formed, Out, Part, Side, form, need, plain};
use super::scalar::{Word, read_text};
use crate::error::Error;
use crate::model::{
    Claim, ClaimKind, Direction, DirectionCounts, Exhausted, Instance, OwnerKey, RuleFamily,
    RuledBy, RuledZones, Zone, ZoneRule, ZoneUse,
};

/// Of a report a UUID alone: a name there is a UUID that was damaged, and would mean somebody else.
impl Part for OwnerKey {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }

    fn read<'de, D: Deserializer<'de>>(side: Side, from: D) -> Result<Self, D::Error> {
        match side {
            Side::Report => read_text(from, "an owner's UUID as a string", |text| {
                let expected = "a UUID";
                let refused = |_| Error::invalid("owner key", text, "not a UUID", expected);
                Self::from_bytes(Uuid::parse_str(text).map_err(refused)?.into_bytes())
            }),
            Side::Input => read_text(from, "an owner's UUID or name as a string", str::parse),
        }
    }
}

impl Part for Instance {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }

    fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
        read_text(from, "an instance as a string", str::parse)
    }
}

form!(ClaimForm {
    "zone" => zone: Zone,
    "kind" => kind: ClaimKind,
    "owner" => owner: OwnerKey,
    "instance" => instance: Instance,
    "ends_in" => ends_in: u32,
});

impl Formed for Claim {
    type Form = ClaimForm;
    const WHAT: &'static str = "a claim";

    fn form(&self, _: Side) -> ClaimForm {
        ClaimForm {
            zone: Some(self.zone),
            kind: Some(self.kind),
            owner: Some(self.owner),
            instance: Some(self.instance),
            // It came out of 32 bits.
            ends_in: self
                .ends_in
                .map(|left| u32::try_from(left.as_secs()).unwrap_or(u32::MAX)),
        }
    }

    fn of<E: de::Error>(form: ClaimForm, _: Side) -> Result<Self, E> {
        let zone: Zone = need(form.zone, "zone")?;
        if zone.is_default() {
            return Err(E::custom(nobodys(zone)));
        }
        Ok(Self {
            zone,
            kind: need(form.kind, "kind")?,
            owner: need(form.owner, "owner")?,
            instance: need(form.instance, "instance")?,
            ends_in: form.ends_in.map(|left| Duration::from_secs(left.into())),
        })
    }
}

fn nobodys(zone: Zone) -> Error {
    Error::invalid(
        "zone",
        zone.to_string(),
        "the default of everything, which nobody holds",
        "a zone from 1 to 65535",
    )
}

const FAMILIES: [RuleFamily; 6] = [
    RuleFamily::INET,
    RuleFamily::IP,
    RuleFamily::ARP,
    RuleFamily::NETDEV,
    RuleFamily::BRIDGE,
    RuleFamily::IP6,
];

/// As nft(8) has it, else the number.
impl Part for RuleFamily {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        if FAMILIES.contains(self) {
            to.collect_str(self)
        } else {
            to.serialize_u8(self.number())
        }
    }

    fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "a family's name, or its number from 0 to 255";
        Word::read(from, EXPECTED)?.either(EXPECTED, Self::new, |text| {
            let mut named = FAMILIES.into_iter();
            named
                .find(|family| family.to_string() == text)
                .ok_or_else(|| {
                    let expected = "inet, ip, arp, netdev, bridge, ip6 or a number";
                    Error::invalid("family of rules", text, "not known", expected)
                })
        })
    }
}

/// A list of zones, or that it may be any.
impl Part for RuledZones {
    fn write<S: Serializer>(&self, side: Side, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::These(zones) => to.collect_seq(zones.iter().map(|zone| Out(zone, side))),
            Self::Any => to.serialize_str("any"),
        }
    }

    fn read<'de, D: Deserializer<'de>>(side: Side, from: D) -> Result<Self, D::Error> {
        struct ZonesVisitor(Side);

        impl<'de> Visitor<'de> for ZonesVisitor {
            type Value = RuledZones;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of zones, or \"any\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RuledZones, E> {
                match text {
                    "any" => Ok(RuledZones::Any),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }

            fn visit_seq<S: SeqAccess<'de>>(self, items: S) -> Result<RuledZones, S::Error> {
                let items = de::value::SeqAccessDeserializer::new(items);
                let zones = Vec::<Zone>::read(self.0, items)?;
                let mut pairs = zones.iter().zip(zones.iter().skip(1));
                if let Some((zone, next)) = pairs.find(|(zone, next)| zone >= next) {
                    return Err(de::Error::custom(Error::invalid(
                        "zones of a rule",
                        format!("{zone}, {next}"),
                        "not in order",
                        "ascending zones, each once",
                    )));
                }
                Ok(RuledZones::These(zones.into()))
            }
        }

        from.deserialize_any(ZonesVisitor(side))
    }
}

plain!(ZoneRule as ZoneRuleForm, "a rule that puts packets into a zone",
    needs {
        "by" => by: RuledBy,
        "family" => family: RuleFamily,
        "table" => table: String,
        "chain" => chain: String,
        "handle" => handle: u64,
        "zones" => zones: RuledZones,
    }
    may {
        "direction" => direction: Direction,
    }
);

impl<T: Part> Part for Arc<T> {
    fn write<S: Serializer>(&self, side: Side, to: S) -> Result<S::Ok, S::Error> {
        T::write(self, side, to)
    }

    fn read<'de, D: Deserializer<'de>>(side: Side, from: D) -> Result<Self, D::Error> {
        T::read(side, from).map(Self::new)
    }
}

plain!(DirectionCounts as DirectionCountsForm, "entries by direction",
    needs {
        "both" => both: u32,
        "orig" => orig: u32,
        "reply" => reply: u32,
    }
    may {}
);

form!(ZoneUseForm {
    "zone" => zone: Zone,
    "ipv4" => ipv4: DirectionCounts,
    "ipv6" => ipv6: DirectionCounts,
    "dying" => dying: u32,
    "expectations" => expectations: u32,
    "claims" => claims: Vec<Claim>,
    "rules" => rules: Vec<Arc<ZoneRule>>,
    "sources" => sources: Vec<String>,
    "reserved" => reserved: bool,
    "quarantined" => quarantined: bool,
});

impl Formed for ZoneUse {
    type Form = ZoneUseForm;
    const WHAT: &'static str = "the use of a zone";

    fn form(&self, _: Side) -> ZoneUseForm {
        // A field that is not here would be lost, so all are named.
        let Self {
            zone,
            ipv4,
            ipv6,
            dying,
            expectations,
            claims,
            rules,
            sources,
            reserved,
            quarantined,
        } = self;
        ZoneUseForm {
            zone: Some(*zone),
            ipv4: Some(*ipv4),
            ipv6: Some(*ipv6),
            dying: Some(*dying),
            expectations: Some(*expectations),
            claims: Some(claims.clone()).filter(|all| !all.is_empty()),
            rules: Some(rules.clone()).filter(|all| !all.is_empty()),
            sources: Some(sources.clone()).filter(|all| !all.is_empty()),
            reserved: Some(*reserved),
            quarantined: Some(*quarantined),
        }
    }

    fn of<E: de::Error>(form: ZoneUseForm, _: Side) -> Result<Self, E> {
        let zone: Zone = need(form.zone, "zone")?;
        let claims = form.claims.unwrap_or_default();
        let rules = form.rules.unwrap_or_default();
        let elsewhere = |what, there: String| {
            let expected = format!("zone {zone}, as the rest");
            E::custom(Error::invalid(what, there, "another zone's", expected))
        };
        if let Some(claim) = claims.iter().find(|claim| claim.zone != zone) {
            return Err(elsewhere("claims", claim.zone.to_string()));
        }
        if let Some(rule) = rules.iter().find(|rule| !rule.zones.may_be(zone)) {
            return Err(elsewhere("rules", rule.zones.to_string()));
        }
        Ok(Self {
            zone,
            ipv4: need(form.ipv4, "ipv4")?,
            ipv6: need(form.ipv6, "ipv6")?,
            dying: need(form.dying, "dying")?,
            expectations: need(form.expectations, "expectations")?,
            claims,
            rules,
            sources: form.sources.unwrap_or_default(),
            reserved: need(form.reserved, "reserved")?,
            quarantined: need(form.quarantined, "quarantined")?,
        })
    }
}

form!(ExhaustedForm {
    "first" => first: Zone,
    "last" => last: Zone,
    "reserved" => reserved: u32,
    "ruled" => ruled: u32,
    "quarantined" => quarantined: u32,
    "leased" => leased: u32,
    "occupied" => occupied: u32,
    "free" => free: u32,
});

impl Formed for Exhausted {
    type Form = ExhaustedForm;
    const WHAT: &'static str = "why no zone is free";

    fn form(&self, _: Side) -> ExhaustedForm {
        // A field that is not here would be lost, so all are named.
        let Self {
            first,
            last,
            reserved,
            ruled,
            leased,
            quarantined,
            occupied,
            free,
        } = *self;
        ExhaustedForm {
            first: Some(first),
            last: Some(last),
            reserved: Some(reserved),
            ruled: Some(ruled),
            quarantined: Some(quarantined),
            leased: Some(leased),
            occupied: Some(occupied),
            free: Some(free),
        }
    }

    fn of<E: de::Error>(form: ExhaustedForm, _: Side) -> Result<Self, E> {
        let first: Zone = need(form.first, "first")?;
        let last: Zone = need(form.last, "last")?;
        if first.is_default() {
            return Err(E::custom(nobodys(first)));
        }
        if first > last {
            let expected = "a first zone that is not behind the last";
            let range = format!("{first} to {last}");
            return Err(E::custom(Error::invalid(
                "range of zones",
                range,
                "there is no zone in it",
                expected,
            )));
        }
        Ok(Self {
            first,
            last,
            reserved: need(form.reserved, "reserved")?,
            ruled: need(form.ruled, "ruled")?,
            leased: need(form.leased, "leased")?,
            quarantined: need(form.quarantined, "quarantined")?,
            occupied: need(form.occupied, "occupied")?,
            free: need(form.free, "free")?,
        })
    }
}
