//! Time-out policies and defaults: the messages of `NFNL_SUBSYS_CTNETLINK_TIMEOUT`, both ways.
//!
//! The states of each protocol are numbered from 1 in the order in which the model has them.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_netfilter::{NetfilterProtoFamily, NetfilterSubsystem};

use super::Malformed;
use super::attr::{
    CTA_TIMEOUT_DATA, CTA_TIMEOUT_L3PROTO, CTA_TIMEOUT_L4PROTO, CTA_TIMEOUT_NAME, CTA_TIMEOUT_USE,
};
use super::entry_ref::{BODY, attributes};
use super::path::{Path, Root, timeout_data};
use super::reader::{Attr, Attrs};
use super::writer::{Datagram, Writer};
use crate::error::Result;
use crate::model::{
    Family, NewTimeoutPolicy, PolicyName, Protocol, TimeoutDefaults, TimeoutPolicy, Timeouts,
    Unknown, unknown, unknown_number,
};

/// `NFNL_SUBSYS_CTNETLINK_TIMEOUT`
const TIMEOUTS: NetfilterSubsystem = NetfilterSubsystem::Other(8);

// `IPCTNL_MSG_TIMEOUT_*`
const NEW: u8 = 0;
const GET: u8 = 1;
const DELETE: u8 = 2;
const DEFAULT_SET: u8 = 3;
const DEFAULT_GET: u8 = 4;

fn message(
    datagram: &mut Datagram,
    kind: u8,
    flags: u16,
    attributes: impl FnOnce(&mut Writer<'_>),
) -> Result<()> {
    let family = NetfilterProtoFamily::Unspec;
    datagram.message_to(TIMEOUTS, kind, flags, family, attributes)
}

/// The policies of the namespace.
pub(crate) fn policies_dump(datagram: &mut Datagram) -> Result<()> {
    message(datagram, GET, NLM_F_DUMP, |_| {})
}

pub(crate) fn policy_get(datagram: &mut Datagram, name: &PolicyName) -> Result<()> {
    message(datagram, GET, 0, |w| {
        w.text(CTA_TIMEOUT_NAME, name.as_str());
    })
}

/// Exclusive: `EEXIST` where the name is taken.
pub(crate) fn policy_create(datagram: &mut Datagram, new: &NewTimeoutPolicy) -> Result<()> {
    message(datagram, NEW, NLM_F_CREATE | NLM_F_EXCL, |w| {
        w.text(CTA_TIMEOUT_NAME, new.name());
        encode_kind(w, new.family().number(), new.protocol());
        encode_states(w, new.timeouts());
    })
}

/// All of a policy. A state that were left out would become the protocol's default.
pub(crate) fn policy_replace(datagram: &mut Datagram, policy: &TimeoutPolicy) -> Result<()> {
    message(datagram, NEW, NLM_F_REPLACE, |w| {
        w.text(CTA_TIMEOUT_NAME, policy.name());
        encode_kind(w, policy.family_number(), policy.protocol());
        encode_states(w, policy.timeouts());
    })
}

/// Without a name the kernel would delete every policy that it can.
pub(crate) fn policy_delete(datagram: &mut Datagram, name: &PolicyName) -> Result<()> {
    message(datagram, DELETE, 0, |w| {
        w.text(CTA_TIMEOUT_NAME, name.as_str());
    })
}

pub(crate) fn defaults_get(datagram: &mut Datagram, protocol: Protocol) -> Result<()> {
    message(datagram, DEFAULT_GET, 0, |w| {
        encode_kind(w, any_family(), protocol);
    })
}

/// What is left out stays, other than with [`policy_replace`].
pub(crate) fn defaults_set(datagram: &mut Datagram, timeouts: &Timeouts) -> Result<()> {
    message(datagram, DEFAULT_SET, 0, |w| {
        encode_kind(w, any_family(), timeouts.protocol());
        encode_states(w, timeouts);
    })
}

/// The kernel insists on a family for defaults, and makes no use of it.
fn any_family() -> u16 {
    Family::Ipv4.number()
}

pub(super) fn encode_kind(w: &mut Writer<'_>, family: u16, protocol: Protocol) {
    w.be16(CTA_TIMEOUT_L3PROTO, family);
    w.put(CTA_TIMEOUT_L4PROTO, [protocol.number()]);
}

fn encode_states(w: &mut Writer<'_>, timeouts: &Timeouts) {
    w.nest(CTA_TIMEOUT_DATA, |w| {
        encode_known(w, timeouts);
        for state in &timeouts.unknown {
            // Others are refused before (`Timeouts::check_unknown`).
            if let Ok(bytes) = <[u8; 4]>::try_from(&state.value[..]) {
                w.put(unknown_number(state), bytes);
            }
        }
    });
}

pub(super) fn encode_known(w: &mut Writer<'_>, timeouts: &Timeouts) {
    for (kind, seconds) in (1..).zip(&timeouts.states) {
        if let Some(seconds) = seconds {
            w.be32(kind, *seconds);
        }
    }
}

/// What a message of this subsystem may hold.
#[derive(Default)]
struct Message {
    name: Option<String>,
    family: Option<u16>,
    use_count: Option<u32>,
    unknown: Vec<Unknown>,
}

fn decode(payload: &[u8]) -> Result<(Message, Timeouts, Attrs<'_>), Malformed> {
    let mut attrs = Attrs::new(attributes(payload)?, BODY, Path::root(Root::TimeoutPolicy));
    let (mut message, mut protocol, mut data) = (Message::default(), None, None);
    while let Some(attr) = attrs.next() {
        match attr.kind {
            CTA_TIMEOUT_NAME => message.name = Some(attrs.text(attr)?.to_owned()),
            CTA_TIMEOUT_L3PROTO => message.family = Some(attrs.be16(attr)?),
            CTA_TIMEOUT_L4PROTO => protocol = Some(Protocol::new(attrs.u8(attr)?)),
            CTA_TIMEOUT_DATA => data = Some(attr),
            CTA_TIMEOUT_USE => message.use_count = Some(attrs.be32(attr)?),
            _ => message.unknown.push(unknown(None, attr.kind, attr.value)),
        }
    }
    attrs.finish()?;
    let Some(protocol) = protocol else {
        return Err(attrs.lacks("CTA_TIMEOUT_L4PROTO is missing"));
    };
    let mut timeouts = Timeouts::empty(protocol);
    if let Some(data) = data {
        // The path says whose states these are: the numbers of protocols overlap.
        let kind = timeout_data(protocol.number());
        decode_states(&mut timeouts, attrs.nested(Attr { kind, ..data }))?;
    }
    Ok((message, timeouts, attrs))
}

fn decode_states(timeouts: &mut Timeouts, mut attrs: Attrs<'_>) -> Result<(), Malformed> {
    while let Some(attr) = attrs.next() {
        let place = usize::from(attr.kind).checked_sub(1);
        if let Some(state) = place.and_then(|place| timeouts.states.get_mut(place)) {
            *state = Some(attrs.be32(attr)?);
        } else {
            let state = unknown(Some(CTA_TIMEOUT_DATA), attr.kind, attr.value);
            timeouts.unknown.push(state);
        }
    }
    attrs.finish()
}

pub(crate) fn decode_policy(payload: &[u8]) -> Result<TimeoutPolicy, Malformed> {
    let (message, timeouts, attrs) = decode(payload)?;
    let Some(name) = message.name else {
        return Err(attrs.lacks("CTA_TIMEOUT_NAME is missing"));
    };
    let Some(family) = message.family else {
        return Err(attrs.lacks("CTA_TIMEOUT_L3PROTO is missing"));
    };
    Ok(TimeoutPolicy {
        name,
        family,
        timeouts,
        use_count: message.use_count,
        unknown: message.unknown,
    })
}

/// A name, a family or a use count would mean nothing here; kernels send the family of the request.
pub(crate) fn decode_defaults(payload: &[u8]) -> Result<TimeoutDefaults, Malformed> {
    let (message, timeouts, _) = decode(payload)?;
    Ok(TimeoutDefaults {
        timeouts,
        unknown: message.unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::by_hand::attr;
    use crate::wire::{NETLINK_HEADER, fuzzing};
    use proptest::prelude::*;

    fn payload(write: impl FnOnce(&mut Datagram) -> Result<()>) -> Vec<u8> {
        let mut datagram = Datagram::new(1);
        write(&mut datagram).unwrap();
        datagram.bytes()[NETLINK_HEADER..].to_vec()
    }

    /// Of any protocol, also of one that is not known; states that are not known among them.
    fn timeouts() -> impl Strategy<Value = Timeouts> {
        let protocol = prop_oneof![
            proptest::sample::select(Timeouts::protocols().collect::<Vec<_>>()),
            any::<u8>().prop_map(Protocol::new),
        ];
        let states = proptest::collection::vec(proptest::option::of(any::<u32>()), 11);
        let beyond = proptest::collection::vec((12..0x3fff_u16, any::<[u8; 4]>()), 0..3);
        (protocol, states, beyond).prop_map(|(protocol, states, beyond)| {
            let mut timeouts = Timeouts::empty(protocol);
            for (place, seconds) in timeouts.states.iter_mut().zip(states) {
                *place = seconds;
            }
            let kept = beyond
                .into_iter()
                .map(|(kind, value)| unknown(Some(CTA_TIMEOUT_DATA), kind, &value));
            timeouts.unknown.extend(kept);
            timeouts
        })
    }

    fn policy() -> impl Strategy<Value = TimeoutPolicy> {
        ("[^\\x00]{0,31}", any::<u16>(), timeouts()).prop_map(|(name, family, timeouts)| {
            TimeoutPolicy {
                name,
                family,
                timeouts,
                use_count: None,
                unknown: Vec::new(),
            }
        })
    }

    proptest! {
        #[test]
        fn policies_survive_the_wire(policy in policy(), use_count in any::<u32>()) {
            let mut bytes = payload(|d| policy_replace(d, &policy));
            prop_assert_eq!(&decode_policy(&bytes).unwrap(), &policy);
            bytes.extend(attr(CTA_TIMEOUT_USE, &use_count.to_be_bytes()));
            prop_assert_eq!(decode_policy(&bytes).unwrap().use_count(), Some(use_count));
        }

        #[test]
        fn defaults_survive_the_wire(timeouts in timeouts()) {
            let mut bytes = payload(|d| defaults_set(d, &timeouts));
            bytes.extend(attr(77, &[1, 2, 3]));
            let unknown = vec![unknown(None, 77, &[1, 2, 3])];
            let defaults = TimeoutDefaults { timeouts, unknown };
            prop_assert_eq!(decode_defaults(&bytes).unwrap(), defaults);
        }

        #[test]
        fn new_policies_are_what_is_reported(
            name in "[^\\x00]{1,7}",
            states in proptest::collection::vec(0..=2_147_483_u64, 11),
            protocol in proptest::sample::select(Timeouts::protocols().collect::<Vec<_>>()),
        ) {
            let family = match protocol {
                Protocol::ICMPV6 => Family::Ipv6,
                _ => Family::Ipv4,
            };
            let mut timeouts = Timeouts::new(protocol).unwrap();
            for (state, seconds) in timeouts.states().iter().zip(states) {
                let seconds = std::time::Duration::from_secs(seconds);
                timeouts = timeouts.with(state, seconds).unwrap();
            }
            let new = NewTimeoutPolicy::new(&name, family, timeouts).unwrap();
            let got = decode_policy(&payload(|d| policy_create(d, &new))).unwrap();
            prop_assert_eq!(got.family(), Some(family));
            prop_assert_eq!(got.to_new().unwrap(), new);
        }

        /// Flipped bits and cuts of real messages get further than noise.
        #[test]
        fn no_bytes_do_harm(
            policy in policy(),
            flips in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..8),
            cut in any::<u8>(),
        ) {
            let mut bytes = payload(|d| policy_replace(d, &policy));
            for (at, mask) in flips {
                let at = usize::from(at) % bytes.len();
                bytes[at] ^= mask;
            }
            fuzzing::policy(&bytes);
            bytes.truncate(bytes.len() - usize::from(cut) % 8);
            fuzzing::policy(&bytes);
        }
    }

    /// `unshare -n` and a creation of "web", IPv4 UDP, unreplied 5, without replied, on 6.18.44.
    #[test]
    fn a_policy_as_the_kernel_says_it() {
        let bytes: [&[u8]; 6] = [
            &[0, 0, 0, 0],
            &[8, 0, 1, 0, b'w', b'e', b'b', 0],
            &[6, 0, 2, 0, 0, 2, 0, 0, 5, 0, 3, 0, 17, 0, 0, 0],
            &[8, 0, 5, 0, 0, 0, 0, 1],
            &[20, 0, 4, 0x80, 8, 0, 1, 0, 0, 0, 0, 5],
            &[8, 0, 2, 0, 0, 0, 0, 120],
        ];
        let bytes = if cfg!(target_endian = "little") {
            bytes.concat()
        } else {
            return;
        };
        let policy = decode_policy(&bytes).unwrap();
        assert_eq!(
            policy.to_string(),
            "web ipv4 udp unreplied=5 replied=120 use=1"
        );
    }

    #[test]
    fn damage_names_the_state_of_the_protocol() {
        for (protocol, path) in [
            (Protocol::TCP, "CTA_TIMEOUT_DATA.CTA_TIMEOUT_TCP_SYN_SENT"),
            (Protocol::UDP, "CTA_TIMEOUT_DATA.CTA_TIMEOUT_UDP_UNREPLIED"),
            (
                Timeouts::GENERIC,
                "CTA_TIMEOUT_DATA.CTA_TIMEOUT_GENERIC_TIMEOUT",
            ),
        ] {
            let data = attr(CTA_TIMEOUT_DATA, &attr(1, &[0; 3]));
            let number = attr(CTA_TIMEOUT_L4PROTO, &[protocol.number()]);
            let malformed = decode_defaults(&[&[0; 4][..], &data, &number].concat()).unwrap_err();
            let text = format!("{path} at offset 28: not 4 bytes long");
            assert_eq!(malformed.to_string(), text);
        }
        let malformed = decode_policy(&[0; 4]).unwrap_err();
        assert!(
            malformed
                .to_string()
                .contains("CTA_TIMEOUT_L4PROTO is missing")
        );
    }

    /// The names in errors are those of the states, in their order.
    #[test]
    fn names_are_those_of_the_states() {
        for protocol in Timeouts::protocols() {
            let path = Path::root(Root::TimeoutPolicy).join(timeout_data(protocol.number()));
            let whose = match protocol {
                Timeouts::GENERIC => "GENERIC".to_owned(),
                known => known.to_string().to_uppercase(),
            };
            let states = Timeouts::new(protocol).unwrap().states();
            for (number, state) in (1..).zip(states) {
                let state = state.to_uppercase().replace("UNACKNOWLEDGED", "UNACK");
                let name = format!("CTA_TIMEOUT_DATA.CTA_TIMEOUT_{whose}_{state}");
                assert_eq!(path.join(number).to_string(), name);
            }
            let beyond = u16::try_from(states.len()).unwrap() + 1;
            let name = format!("CTA_TIMEOUT_DATA.{beyond}");
            assert_eq!(path.join(beyond).to_string(), name);
        }
    }

    #[test]
    fn what_is_not_known_is_kept() {
        let states = [attr(1, &[0, 0, 0, 9]), attr(3, &[7; 6])].concat();
        let bytes = [
            vec![0; 4],
            attr(CTA_TIMEOUT_NAME, b"web\0"),
            attr(CTA_TIMEOUT_L3PROTO, &[0, 10]),
            attr(CTA_TIMEOUT_L4PROTO, &[17]),
            attr(CTA_TIMEOUT_DATA, &states),
            attr(9, &[1, 2]),
        ];
        let policy = decode_policy(&bytes.concat()).unwrap();
        assert_eq!(policy.unknown(), [unknown(None, 9, &[1, 2])]);
        let state = unknown(Some(CTA_TIMEOUT_DATA), 3, &[7; 6]);
        assert_eq!(policy.timeouts().unknown(), [state]);
        assert_eq!(policy.to_string(), "web ipv6 udp unreplied=9");
        assert_eq!((policy.use_count(), policy.is_in_use()), (None, None));
        // It is not a time-out that could be given back.
        assert!(policy.to_new().unwrap_err().is_invalid_input());
    }
}
