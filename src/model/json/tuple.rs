//! Tuples and zones.

use std::net::IpAddr;

use serde::de;

use super::form::{Formed, Side, form, need, plain};
use crate::error::Error;
use crate::model::{
    Addresses, Direction, EntryZone, Family, GreKeys, Icmp, Icmpv6, Layer4, Ports, Protocol, Tuple,
    Zone,
};

form!(
    /// A tuple. Inside of an entry the protocol stands in the entry.
    TupleForm {
        "protocol" => protocol: Protocol,
        "src" => src: IpAddr,
        "dst" => dst: IpAddr,
        "src_port" => src_port: u16,
        "dst_port" => dst_port: u16,
        "type" => kind: u8,
        "code" => code: u8,
        "id" => id: u16,
        "src_key" => src_key: u16,
        "dst_key" => dst_key: u16,
    }
);

/// Inside of an entry, what it is a tuple of is known when the whole entry is read.
impl Formed for TupleForm {
    type Form = Self;
    const WHAT: &'static str = Tuple::WHAT;

    fn form(&self, _: Side) -> Self {
        Self { ..*self }
    }

    fn of<E: de::Error>(form: Self, _: Side) -> Result<Self, E> {
        Ok(form)
    }
}

impl TupleForm {
    /// As part of an entry whose protocol is `outer`.
    pub(super) fn inside(tuple: &Tuple, outer: Protocol) -> Self {
        Self {
            protocol: Some(tuple.protocol()).filter(|protocol| *protocol != outer),
            src: Some(tuple.src()),
            dst: Some(tuple.dst()),
            ..Self::from(tuple.layer4)
        }
    }

    /// The tuple; `outer` is the protocol where it does not say one itself.
    pub(super) fn tuple<E: de::Error>(
        self,
        outer: Option<Protocol>,
        side: Side,
    ) -> Result<Tuple, E> {
        let (src, dst) = (need(self.src, "src")?, need(self.dst, "dst")?);
        let layer4 = self.layer4(outer, side)?;
        let Some(addresses) = Addresses::new(src, dst) else {
            // Says what is wrong with these.
            return Tuple::new(src, dst, layer4).map_err(E::custom);
        };
        let tuple = Tuple { addresses, layer4 };
        // A tuple that lacks ports was looked at above.
        if side == Side::Input && !matches!(layer4, Layer4::Other(_)) {
            tuple.check().map_err(E::custom)?;
        }
        Ok(tuple)
    }

    fn layer4<E: de::Error>(&self, outer: Option<Protocol>, side: Side) -> Result<Layer4, E> {
        let protocol = need(self.protocol.or(outer), "protocol")?;
        let ports = both([self.src_port, self.dst_port], ["src_port", "dst_port"])?;
        let keys = both([self.src_key, self.dst_key], ["src_key", "dst_key"])?;
        let icmp = if (self.kind, self.code, self.id) == (None, None, None) {
            None
        } else {
            Some((
                need(self.kind, "type")?,
                need(self.code, "code")?,
                need(self.id, "id")?,
            ))
        };
        let ports = ports.map(|[src, dst]| Ports { src, dst });
        let others = || {
            E::custom(Error::invalid(
                "tuple",
                protocol.to_string(),
                "has fields of another protocol",
                "src_port and dst_port for tcp, udp, udplite, sctp and dccp, \
                 src_key and dst_key for gre, type, code and id for icmp and icmpv6, \
                 addresses alone for others",
            ))
        };
        Ok(match (protocol, ports, keys, icmp) {
            (_, Some(ports), None, None) => {
                Layer4::with_ports(protocol, ports).ok_or_else(others)?
            }
            (Protocol::GRE, None, Some([src, dst]), None) => Layer4::Gre(GreKeys { src, dst }),
            (Protocol::ICMP, None, None, Some((kind, code, id))) => {
                Layer4::Icmp(Icmp { kind, code, id })
            }
            (Protocol::ICMPV6, None, None, Some((kind, code, id))) => {
                Layer4::Icmpv6(Icmpv6 { kind, code, id })
            }
            (Protocol::ICMP | Protocol::ICMPV6, None, None, None) => {
                return Err(E::missing_field("type"));
            }
            // Every kernel tracks these two; of the others one may lack the tracker, and reports
            // no ports then.
            (Protocol::TCP | Protocol::UDP, None, None, None) if side == Side::Input => {
                return Err(E::missing_field("src_port"));
            }
            (_, None, None, None) => Layer4::Other(protocol),
            _ => return Err(others()),
        })
    }
}

/// Two fields that come together or not at all.
fn both<E: de::Error>(
    fields: [Option<u16>; 2],
    names: [&'static str; 2],
) -> Result<Option<[u16; 2]>, E> {
    match fields {
        [None, None] => Ok(None),
        [src, dst] => Ok(Some([need(src, names[0])?, need(dst, names[1])?])),
    }
}

impl From<Layer4> for TupleForm {
    fn from(layer4: Layer4) -> Self {
        let mut form = Self {
            protocol: Some(layer4.protocol()),
            ..Self::default()
        };
        if let Some(ports) = layer4.ports() {
            (form.src_port, form.dst_port) = (Some(ports.src), Some(ports.dst));
        }
        let icmp = match layer4 {
            Layer4::Icmp(key) => Some((key.kind, key.code, key.id)),
            Layer4::Icmpv6(key) => Some((key.kind, key.code, key.id)),
            Layer4::Gre(keys) => {
                (form.src_key, form.dst_key) = (Some(keys.src), Some(keys.dst));
                None
            }
            _ => None,
        };
        if let Some((kind, code, id)) = icmp {
            (form.kind, form.code, form.id) = (Some(kind), Some(code), Some(id));
        }
        form
    }
}

impl Formed for Tuple {
    type Form = TupleForm;
    const WHAT: &'static str = "a tuple";

    fn form(&self, _: Side) -> TupleForm {
        TupleForm {
            src: Some(self.src()),
            dst: Some(self.dst()),
            ..TupleForm::from(self.layer4)
        }
    }

    fn of<E: de::Error>(form: TupleForm, side: Side) -> Result<Self, E> {
        form.tuple(None, side)
    }
}

form!(Layer4Form {
    "protocol" => protocol: Protocol,
    "src_port" => src_port: u16,
    "dst_port" => dst_port: u16,
    "type" => kind: u8,
    "code" => code: u8,
    "id" => id: u16,
    "src_key" => src_key: u16,
    "dst_key" => dst_key: u16,
});

impl Formed for Layer4 {
    type Form = Layer4Form;
    const WHAT: &'static str = "a protocol with its ports";

    fn form(&self, _: Side) -> Layer4Form {
        let tuple = TupleForm::from(*self);
        Layer4Form {
            protocol: tuple.protocol,
            src_port: tuple.src_port,
            dst_port: tuple.dst_port,
            kind: tuple.kind,
            code: tuple.code,
            id: tuple.id,
            src_key: tuple.src_key,
            dst_key: tuple.dst_key,
        }
    }

    fn of<E: de::Error>(form: Layer4Form, side: Side) -> Result<Self, E> {
        let tuple = TupleForm {
            protocol: form.protocol,
            src_port: form.src_port,
            dst_port: form.dst_port,
            kind: form.kind,
            code: form.code,
            id: form.id,
            src_key: form.src_key,
            dst_key: form.dst_key,
            ..TupleForm::default()
        };
        let layer4 = tuple.layer4(None, side)?;
        match layer4 {
            Layer4::Icmp(key) => Icmp::new(key.kind, key.code, key.id).map(Layer4::Icmp),
            Layer4::Icmpv6(key) => Icmpv6::new(key.kind, key.code, key.id).map(Layer4::Icmpv6),
            other => Ok(other),
        }
        .map_err(E::custom)
    }
}

plain!(Ports as PortsForm, "ports",
    needs {
        "src_port" => src: u16,
        "dst_port" => dst: u16,
    }
    may {}
);

plain!(GreKeys as GreKeysForm, "GRE keys",
    needs {
        "src_key" => src: u16,
        "dst_key" => dst: u16,
    }
    may {}
);

form!(IcmpForm {
    "type" => kind: u8,
    "code" => code: u8,
    "id" => id: u16,
});

macro_rules! icmp {
    ($($type:ident, $what:literal;)*) => {$(
        impl Formed for $type {
            type Form = IcmpForm;
            const WHAT: &'static str = $what;

            fn form(&self, _: Side) -> IcmpForm {
                IcmpForm { kind: Some(self.kind), code: Some(self.code), id: Some(self.id) }
            }

            fn of<E: de::Error>(form: IcmpForm, _: Side) -> Result<Self, E> {
                let (kind, code) = (need(form.kind, "type")?, need(form.code, "code")?);
                Self::new(kind, code, need(form.id, "id")?).map_err(E::custom)
            }
        }
    )*};
}
icmp! {
    Icmp, "what identifies an ICMP flow";
    Icmpv6, "what identifies an ICMPv6 flow";
}

form!(EntryZoneForm {
    "zone" => zone: Zone,
    "zone_direction" => direction: Direction,
});

impl From<EntryZone> for EntryZoneForm {
    fn from(zone: EntryZone) -> Self {
        Self {
            zone: Some(zone.zone()),
            direction: match zone {
                EntryZone::Both(_) => None,
                EntryZone::Orig(_) => Some(Direction::Original),
                EntryZone::Reply(_) => Some(Direction::Reply),
            },
        }
    }
}

impl Formed for EntryZone {
    type Form = EntryZoneForm;
    const WHAT: &'static str = "a zone of an entry";

    fn form(&self, _: Side) -> EntryZoneForm {
        EntryZoneForm::from(*self)
    }

    fn of<E: de::Error>(form: EntryZoneForm, _: Side) -> Result<Self, E> {
        let zone = need(form.zone, "zone")?;
        Ok(match form.direction {
            None => Self::Both(zone),
            Some(Direction::Original) => Self::Orig(zone),
            Some(Direction::Reply) => Self::Reply(zone),
        })
    }
}

/// The zone of an entry or a key: without any, zone 0.
pub(super) fn entry_zone<E: de::Error>(
    zone: Option<Zone>,
    direction: Option<Direction>,
    side: Side,
) -> Result<EntryZone, E> {
    if (zone, direction) == (None, None) {
        return Ok(EntryZone::default());
    }
    EntryZone::of(EntryZoneForm { zone, direction }, side).map(EntryZone::canonical)
}

/// A family says nothing that the addresses do not say; it must not say another thing.
pub(super) fn check_family<E: de::Error>(said: Option<Family>, tuple: &Tuple) -> Result<(), E> {
    match said {
        Some(family) if family != tuple.family() => Err(E::custom(Error::invalid(
            "family",
            family.to_string(),
            "the addresses are of another family",
            "the family of the addresses",
        ))),
        _ => Ok(()),
    }
}
