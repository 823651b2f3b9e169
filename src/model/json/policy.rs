//! Time-out policies: reported ones, new ones, and the time-outs of a protocol.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserializer, Serializer};

use super::entry::listed;
use super::form::{Formed, Name, Part, Side, form, need, read_value, within};
use super::scalar::Word;
use crate::error::Error;
use crate::model::policy::DATA;
use crate::model::{
    Family, NewTimeoutPolicy, Protocol, TimeoutDefaults, TimeoutPolicy, Timeouts, Unknown,
};

/// States by their names, with their seconds. Which names there are is known when the protocol is.
pub(crate) struct States(Vec<(String, u32)>);

impl From<&Timeouts> for States {
    fn from(timeouts: &Timeouts) -> Self {
        let names = timeouts.states().iter().zip(&timeouts.states);
        let named = names.filter_map(|(name, secs)| Some(((*name).to_owned(), (*secs)?)));
        Self(named.collect())
    }
}

impl Part for States {
    fn write<S: Serializer>(&self, _: Side, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, secs)| (name, secs)))
    }

    fn read<'de, D: Deserializer<'de>>(side: Side, from: D) -> Result<Self, D::Error> {
        struct StatesVisitor(Side);

        impl<'de> Visitor<'de> for StatesVisitor {
            type Value = States;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of states and their seconds")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<States, M::Error> {
                let (mut states, mut seen) = (Vec::new(), BTreeSet::new());
                while let Some(name) = map.next_key_seed(Name)? {
                    if !seen.insert(name.clone()) {
                        let again = format_args!("duplicate field `{name}`");
                        return Err(de::Error::custom(again));
                    }
                    if let Some(secs) = read_value(&name, self.0, &mut map)? {
                        states.push((name.into_owned(), secs));
                    }
                }
                Ok(States(states))
            }
        }

        from.deserialize_map(StatesVisitor(side))
    }
}

impl States {
    /// Of any protocol and any length, as the kernel may report them, and what is unknown beside
    /// them. Names that are not known are passed over.
    fn reported(self, protocol: Protocol, unknown: Vec<Unknown>) -> (Timeouts, Vec<Unknown>) {
        // Unknown states are inside of an attribute.
        let (unknown, beside) = unknown.into_iter().partition(|one| one.path.len() > 1);
        let unknown: Vec<Unknown> = unknown;
        let mut timeouts = Timeouts::empty(protocol);
        let names = timeouts.states();
        for (state, secs) in self.0 {
            let place = names.iter().position(|name| *name == state);
            if let Some(slot) = place.and_then(|place| timeouts.states.get_mut(place)) {
                *slot = Some(secs);
            }
        }
        for one in unknown {
            let state = nameless(&one);
            let slot = state.and_then(|(place, _)| timeouts.states.get_mut(place?));
            match (slot, state) {
                (Some(slot), Some((_, secs))) if slot.is_none() => *slot = Some(secs),
                _ => timeouts.unknown.push(one),
            }
        }
        (timeouts, beside)
    }

    /// By the rules of the constructors.
    fn asked<E: de::Error>(self, protocol: Protocol, unknown: Vec<Unknown>) -> Result<Timeouts, E> {
        let mut timeouts = Timeouts::new(protocol).map_err(E::custom)?;
        let names = timeouts.states();
        for (state, secs) in self.0 {
            let secs = Duration::from_secs(secs.into());
            timeouts = timeouts.with(&state, secs).map_err(|error| {
                let error: E = within(&state, &E::custom(error));
                within::<E>("timeouts", &error)
            })?;
        }
        for one in unknown {
            let refuse = |problem, expected: String| {
                let input = format!("{:?}", one.path);
                Err(E::custom(Error::invalid(
                    "unknown", input, problem, expected,
                )))
            };
            let Some((place, secs)) = nameless(&one) else {
                let expected = format!("[{DATA}, N] and 4 bytes");
                return refuse("not a state", expected);
            };
            match place.and_then(|place| names.get(place)) {
                Some(name) if timeouts.get(name).is_some() => {
                    return refuse("given twice", format!("{name} once"));
                }
                Some(name) => {
                    let secs = Duration::from_secs(secs.into());
                    timeouts = timeouts.with(name, secs).map_err(E::custom)?;
                }
                None => timeouts.unknown.push(one),
            }
        }
        timeouts.check().map_err(E::custom)?;
        Ok(timeouts)
    }
}

/// A state without a name: its place and its seconds. Where it was written it had none; here it may
/// have one.
fn nameless(one: &Unknown) -> Option<(Option<usize>, u32)> {
    let secs = <[u8; 4]>::try_from(&one.value[..]).ok()?;
    match one.path[..] {
        // Flags in a number would reach the kernel.
        [DATA, number] if one.is_possible() => {
            let place = usize::from(number).checked_sub(1);
            Some((place, u32::from_be_bytes(secs)))
        }
        _ => None,
    }
}

form!(TimeoutsForm {
    "protocol" => protocol: Protocol,
    "timeouts" => timeouts: States,
    "unknown" => unknown: Vec<Unknown>,
});

impl Formed for Timeouts {
    type Form = TimeoutsForm;
    const WHAT: &'static str = "time-outs of a protocol";

    fn form(&self, _: Side) -> TimeoutsForm {
        TimeoutsForm {
            protocol: Some(self.protocol()),
            timeouts: Some(States::from(self)),
            unknown: listed(&self.unknown),
        }
    }

    fn of<E: de::Error>(form: TimeoutsForm, _: Side) -> Result<Self, E> {
        let protocol = need(form.protocol, "protocol")?;
        let states: States = need(form.timeouts, "timeouts")?;
        states.asked(protocol, form.unknown.unwrap_or_default())
    }
}

impl Formed for TimeoutDefaults {
    type Form = TimeoutsForm;
    const WHAT: &'static str = "the defaults of a protocol";

    fn form(&self, side: Side) -> TimeoutsForm {
        let Self { timeouts, unknown } = self;
        TimeoutsForm {
            unknown: listed(&[&unknown[..], &timeouts.unknown].concat()),
            ..timeouts.form(side)
        }
    }

    fn of<E: de::Error>(form: TimeoutsForm, _: Side) -> Result<Self, E> {
        let protocol = need(form.protocol, "protocol")?;
        let states: States = need(form.timeouts, "timeouts")?;
        let unknown = form.unknown.unwrap_or_default();
        let (timeouts, unknown) = states.reported(protocol, unknown);
        Ok(Self { timeouts, unknown })
    }
}

form!(NewTimeoutPolicyForm {
    "name" => name: String,
    "family" => family: Family,
    "protocol" => protocol: Protocol,
    "timeouts" => timeouts: States,
    "unknown" => unknown: Vec<Unknown>,
});

impl Formed for NewTimeoutPolicy {
    type Form = NewTimeoutPolicyForm;
    const WHAT: &'static str = "a new time-out policy";

    fn form(&self, side: Side) -> NewTimeoutPolicyForm {
        let timeouts = self.timeouts().form(side);
        NewTimeoutPolicyForm {
            name: Some(self.name().to_owned()),
            family: Some(self.family()),
            protocol: timeouts.protocol,
            timeouts: timeouts.timeouts,
            unknown: timeouts.unknown,
        }
    }

    fn of<E: de::Error>(form: NewTimeoutPolicyForm, side: Side) -> Result<Self, E> {
        let (name, family) = (need(form.name, "name")?, need(form.family, "family")?);
        let timeouts = TimeoutsForm {
            protocol: form.protocol,
            timeouts: form.timeouts,
            unknown: form.unknown,
        };
        Self::new(&name, family, Timeouts::of(timeouts, side)?).map_err(E::custom)
    }
}

/// A family of a policy: its number, of which the kernel takes any.
pub(crate) struct AnyFamily(u16);

impl Part for AnyFamily {
    fn write<S: Serializer>(&self, side: Side, to: S) -> Result<S::Ok, S::Error> {
        match Family::from_number(self.0) {
            Some(family) => family.write(side, to),
            None => to.serialize_u16(self.0),
        }
    }

    fn read<'de, D: Deserializer<'de>>(_: Side, from: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "ipv4, ipv6, or a number from 0 to 65535";
        Word::read(from, EXPECTED)?.either(EXPECTED, Self, |text| match text {
            "ipv4" => Ok(Self(Family::Ipv4.number())),
            "ipv6" => Ok(Self(Family::Ipv6.number())),
            _ => Err(Error::invalid(
                "address family",
                text,
                "not known",
                EXPECTED,
            )),
        })
    }
}

form!(TimeoutPolicyForm {
    "name" => name: String,
    "family" => family: AnyFamily,
    "protocol" => protocol: Protocol,
    "timeouts" => timeouts: States,
    "use" => use_count: u32,
    "unknown" => unknown: Vec<Unknown>,
});

impl Formed for TimeoutPolicy {
    type Form = TimeoutPolicyForm;
    const WHAT: &'static str = "a time-out policy";

    fn form(&self, _: Side) -> TimeoutPolicyForm {
        // A field that is not here would be lost, so all are named.
        let Self {
            name,
            family,
            timeouts,
            use_count,
            unknown,
        } = self;
        let unknown = [&unknown[..], &timeouts.unknown].concat();
        TimeoutPolicyForm {
            name: Some(name.clone()),
            family: Some(AnyFamily(*family)),
            protocol: Some(timeouts.protocol()),
            timeouts: Some(States::from(timeouts)),
            use_count: *use_count,
            unknown: listed(&unknown),
        }
    }

    fn of<E: de::Error>(form: TimeoutPolicyForm, _: Side) -> Result<Self, E> {
        let AnyFamily(family) = need(form.family, "family")?;
        let protocol = need(form.protocol, "protocol")?;
        let states: States = need(form.timeouts, "timeouts")?;
        let unknown = form.unknown.unwrap_or_default();
        let (timeouts, unknown) = states.reported(protocol, unknown);
        Ok(Self {
            name: need(form.name, "name")?,
            family,
            timeouts,
            use_count: form.use_count,
            unknown,
        })
    }
}
