//! The time-outs of one protocol, by state.

use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::model::{Protocol, Unknown, seconds, unknown_number};

/// The seconds of each state, in the order of the kernel's numbers, which begin at 1.
type States = Vec<Option<u32>>;

macro_rules! protocols {
    ($(
        $(#[$doc:meta])*
        $name:ident, $accessor:ident: $protocol:expr => {
            $($(#[$state_doc:meta])* $state:ident, $with:ident: $alias:literal;)*
        }
    )*) => {
        /// The protocols and the names of their states, in the order of the kernel's numbers.
        const PROTOCOLS: &[(Protocol, &[&str])] = &[$(($protocol, &[$(stringify!($state)),*])),*];

        $(
            $(#[$doc])*
            ///
            /// A state that is `None` is not named: a new policy takes the protocol's default for
            /// it, and a change leaves it.
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
            pub struct $name {
                $($state: Option<u32>,)*
            }

            impl $name {
                /// No state is named.
                #[must_use]
                pub const fn new() -> Self {
                    Self { $($state: None,)* }
                }

                $(
                    $(#[$state_doc])*
                    #[doc(alias = $alias)]
                    #[must_use]
                    pub fn $state(&self) -> Option<Duration> {
                        self.$state.map(|secs| Duration::from_secs(secs.into()))
                    }

                    $(#[$state_doc])*
                    ///
                    /// # Errors
                    /// For what is not whole seconds, and over 2147483 of them (24.8 days).
                    #[doc(alias = $alias)]
                    pub fn $with(mut self, timeout: Duration) -> Result<Self> {
                        self.$state = Some(seconds(timeout)?);
                        Ok(self)
                    }
                )*
            }

            impl From<$name> for Timeouts {
                fn from(states: $name) -> Self {
                    Self {
                        protocol: $protocol,
                        states: vec![$(states.$state),*],
                        unknown: Vec::new(),
                    }
                }
            }
        )*

        /// As a protocol's own type.
        impl Timeouts {$(
            /// As this protocol's own type; `None` if they are another protocol's.
            #[must_use]
            pub fn $accessor(&self) -> Option<$name> {
                if self.protocol != $protocol {
                    return None;
                }
                let mut states = self.states.iter().copied();
                Some($name { $($state: states.next().flatten(),)* })
            }
        )*}
    };
}

protocols! {
    /// The time-outs of TCP.
    TcpTimeouts, tcp: Protocol::TCP => {
        /// A SYN was seen.
        syn_sent, with_syn_sent: "CTA_TIMEOUT_TCP_SYN_SENT";
        /// A SYN and its SYN/ACK were seen.
        syn_recv, with_syn_recv: "CTA_TIMEOUT_TCP_SYN_RECV";
        /// The connection stands.
        established, with_established: "CTA_TIMEOUT_TCP_ESTABLISHED";
        /// A FIN was seen.
        fin_wait, with_fin_wait: "CTA_TIMEOUT_TCP_FIN_WAIT";
        /// A FIN was acknowledged.
        close_wait, with_close_wait: "CTA_TIMEOUT_TCP_CLOSE_WAIT";
        /// FINs of both directions were seen.
        last_ack, with_last_ack: "CTA_TIMEOUT_TCP_LAST_ACK";
        /// The last FIN was acknowledged.
        time_wait, with_time_wait: "CTA_TIMEOUT_TCP_TIME_WAIT";
        /// A reset was seen.
        close, with_close: "CTA_TIMEOUT_TCP_CLOSE";
        /// SYNs of both directions were seen.
        syn_sent2, with_syn_sent2: "CTA_TIMEOUT_TCP_SYN_SENT2";
        /// The most that is left when `nf_conntrack_tcp_max_retrans` segments were sent again
        /// without an answer.
        retrans, with_retrans: "CTA_TIMEOUT_TCP_RETRANS";
        /// The most that is left while data is not acknowledged.
        unacknowledged, with_unacknowledged: "CTA_TIMEOUT_TCP_UNACK";
    }
    /// The time-outs of UDP.
    UdpTimeouts, udp: Protocol::UDP => {
        /// Packets of one direction were seen.
        unreplied, with_unreplied: "CTA_TIMEOUT_UDP_UNREPLIED";
        /// Packets of both directions were seen, over more than two seconds.
        replied, with_replied: "CTA_TIMEOUT_UDP_REPLIED";
    }
    /// The time-outs of UDP-Lite.
    UdpLiteTimeouts, udplite: Protocol::UDPLITE => {
        /// Packets of one direction were seen.
        unreplied, with_unreplied: "CTA_TIMEOUT_UDPLITE_UNREPLIED";
        /// Packets of both directions were seen.
        replied, with_replied: "CTA_TIMEOUT_UDPLITE_REPLIED";
    }
    /// The time-out of ICMP.
    IcmpTimeouts, icmp: Protocol::ICMP => {
        /// In any state.
        timeout, with_timeout: "CTA_TIMEOUT_ICMP_TIMEOUT";
    }
    /// The time-out of ICMPv6.
    Icmpv6Timeouts, icmpv6: Protocol::ICMPV6 => {
        /// In any state.
        timeout, with_timeout: "CTA_TIMEOUT_ICMPV6_TIMEOUT";
    }
    /// The time-outs of SCTP.
    SctpTimeouts, sctp: Protocol::SCTP => {
        /// There is no association.
        closed, with_closed: "CTA_TIMEOUT_SCTP_CLOSED";
        /// An INIT was seen.
        cookie_wait, with_cookie_wait: "CTA_TIMEOUT_SCTP_COOKIE_WAIT";
        /// A COOKIE ECHO was seen.
        cookie_echoed, with_cookie_echoed: "CTA_TIMEOUT_SCTP_COOKIE_ECHOED";
        /// The association stands.
        established, with_established: "CTA_TIMEOUT_SCTP_ESTABLISHED";
        /// A SHUTDOWN of the original direction was seen.
        shutdown_sent, with_shutdown_sent: "CTA_TIMEOUT_SCTP_SHUTDOWN_SENT";
        /// A SHUTDOWN of the reply direction was seen.
        shutdown_recd, with_shutdown_recd: "CTA_TIMEOUT_SCTP_SHUTDOWN_RECD";
        /// A SHUTDOWN ACK was seen.
        shutdown_ack_sent, with_shutdown_ack_sent: "CTA_TIMEOUT_SCTP_SHUTDOWN_ACK_SENT";
        /// A HEARTBEAT on another path was seen.
        heartbeat_sent, with_heartbeat_sent: "CTA_TIMEOUT_SCTP_HEARTBEAT_SENT";
        /// A HEARTBEAT on another path was answered. Kernels since 6.2 keep the value, but
        /// have no such state any more.
        heartbeat_acked, with_heartbeat_acked: "CTA_TIMEOUT_SCTP_HEARTBEAT_ACKED";
    }
    /// The time-outs of DCCP. Kernels from 6.17 on do not track it any more.
    DccpTimeouts, dccp: Protocol::DCCP => {
        /// A request was seen.
        request, with_request: "CTA_TIMEOUT_DCCP_REQUEST";
        /// A response was seen.
        respond, with_respond: "CTA_TIMEOUT_DCCP_RESPOND";
        /// The response was acknowledged.
        partopen, with_partopen: "CTA_TIMEOUT_DCCP_PARTOPEN";
        /// The connection stands.
        open, with_open: "CTA_TIMEOUT_DCCP_OPEN";
        /// The server asked to close.
        closereq, with_closereq: "CTA_TIMEOUT_DCCP_CLOSEREQ";
        /// The client closes.
        closing, with_closing: "CTA_TIMEOUT_DCCP_CLOSING";
        /// The connection is closed.
        timewait, with_timewait: "CTA_TIMEOUT_DCCP_TIMEWAIT";
    }
    /// The time-outs of GRE.
    GreTimeouts, gre: Protocol::GRE => {
        /// Packets of one direction were seen.
        unreplied, with_unreplied: "CTA_TIMEOUT_GRE_UNREPLIED";
        /// Packets of both directions were seen.
        replied, with_replied: "CTA_TIMEOUT_GRE_REPLIED";
    }
    /// The time-out of all protocols that the kernel has no tracker for.
    GenericTimeouts, generic: Timeouts::GENERIC => {
        /// In any state.
        timeout, with_timeout: "CTA_TIMEOUT_GENERIC_TIMEOUT";
    }
}

/// The time-outs of one protocol, by state: what a policy has, what a change names, or what the
/// defaults are.
///
/// Each protocol has a type of its own, such as [`TcpTimeouts`], with a method for each state; all
/// of them become `Timeouts`, and can be had back. Where the protocol is not known beforehand,
/// states go by their names, which are the names of those methods.
///
/// ```
/// use ctnetlink::{Protocol, TcpTimeouts, Timeouts};
/// use std::time::Duration;
///
/// let hour = Duration::from_secs(3600);
/// let typed = Timeouts::from(TcpTimeouts::new().with_established(hour)?);
/// let named = Timeouts::new(Protocol::TCP)?.with("established", hour)?;
/// assert_eq!(typed, named);
/// assert_eq!(typed.tcp().unwrap().established(), Some(hour));
/// assert_eq!((typed.get("close"), typed.udp()), (None, None));
/// assert!(Timeouts::new(Protocol::UDP)?.with("established", hour).is_err());
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[doc(alias = "CTA_TIMEOUT_DATA")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Timeouts {
    pub(super) protocol: Protocol,
    pub(crate) states: States,
    /// States that this version does not know.
    pub(crate) unknown: Vec<Unknown>,
}

impl Timeouts {
    /// 255: the protocols that the kernel has no tracker for, all together.
    pub const GENERIC: Protocol = Protocol::new(255);

    /// No state of the protocol is named.
    ///
    /// # Errors
    /// For a protocol that has no time-outs of its own.
    pub fn new(protocol: Protocol) -> Result<Self> {
        let empty = Self::empty(protocol);
        if empty.states.is_empty() {
            return Err(Error::invalid(
                "time-outs",
                protocol.to_string(),
                "the protocol has none of its own",
                "tcp, udp, udplite, icmp, icmpv6, sctp, dccp, gre, or 255 for all others",
            ));
        }
        Ok(empty)
    }

    /// Of any protocol, as the kernel may report it.
    pub(crate) fn empty(protocol: Protocol) -> Self {
        Self {
            protocol,
            states: vec![None; names(protocol).len()],
            unknown: Vec::new(),
        }
    }

    /// The protocols that have time-outs of their own, [`Timeouts::GENERIC`] included. A kernel may
    /// lack some of them.
    pub fn protocols() -> impl Iterator<Item = Protocol> {
        PROTOCOLS.iter().map(|(protocol, _)| *protocol)
    }

    /// The protocol.
    #[doc(alias = "CTA_TIMEOUT_L4PROTO")]
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The names of the protocol's states.
    #[must_use]
    pub fn states(&self) -> &'static [&'static str] {
        names(self.protocol)
    }

    /// The time-out of a state, by its name; `None` if it is not named here.
    #[must_use]
    pub fn get(&self, state: &str) -> Option<Duration> {
        self.iter()
            .find_map(|(name, timeout)| (name == state).then_some(timeout))
    }

    /// These, and the time-out of one more state, by its name.
    ///
    /// # Errors
    /// For a state that the protocol does not have, for what is not whole seconds, and over 2147483
    /// of them (24.8 days).
    pub fn with(mut self, state: &str, timeout: Duration) -> Result<Self> {
        let names = self.states();
        let place = names.iter().position(|name| *name == state);
        let Some(slot) = place.and_then(|place| self.states.get_mut(place)) else {
            return Err(Error::invalid(
                "state",
                state,
                format!("not a state of {}", self.protocol),
                names.join(", "),
            ));
        };
        *slot = Some(seconds(timeout)?);
        Ok(self)
    }

    /// The states that are named, and their time-outs, in the kernel's order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Duration)> + '_ {
        let names = self.states().iter().copied();
        let named = names.zip(&self.states);
        named.filter_map(|(name, secs)| Some((name, Duration::from_secs((*secs)?.into()))))
    }

    /// Whether no state is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unknown.is_empty() && self.states.iter().all(Option::is_none)
    }

    /// States that this version of the library does not know, as the kernel reported them.
    #[must_use]
    pub fn unknown(&self) -> &[Unknown] {
        &self.unknown
    }

    /// Whether every kernel keeps them as they are. What was reported may be more.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_unknown()?;
        let nameless = self.unknown.iter().map(|state| {
            // Looked at above.
            let secs = <[u8; 4]>::try_from(&state.value[..]).unwrap_or_default();
            Duration::from_secs(u32::from_be_bytes(secs).into())
        });
        let named = self.iter().map(|(_, timeout)| timeout);
        named
            .chain(nameless)
            .try_for_each(|timeout| seconds(timeout).map(drop))
    }

    /// A state that is not known can be given back if it is a time-out like others: in its nest,
    /// beyond the states that are known, and once.
    pub(crate) fn check_unknown(&self) -> Result<()> {
        let mut numbers = std::collections::BTreeSet::new();
        let mut is_state = |state: &&Unknown| {
            let beyond = usize::from(unknown_number(state)) > self.states.len();
            state.value.len() == 4
                && state.is_possible()
                && state.path.len() == 2
                && state.path[0] == DATA
                && beyond
                && numbers.insert(unknown_number(state))
        };
        match self.unknown.iter().find(|state| !is_state(state)) {
            None => Ok(()),
            Some(state) => Err(Error::invalid(
                "time-outs",
                format!("{state:?}"),
                "a state that this version of the library does not know",
                "states of 4 bytes, each once",
            )),
        }
    }

    /// A request that names no state does nothing.
    pub(crate) fn check_named(&self) -> Result<()> {
        if self.is_empty() {
            return Err(Error::invalid(
                "time-outs",
                self.to_string(),
                "no state is named",
                format!("some of {}", self.states().join(", ")),
            ));
        }
        self.check()
    }

    /// These, and over them what `changes` names.
    pub(crate) fn merge(&mut self, changes: &Self) {
        for (old, new) in self.states.iter_mut().zip(&changes.states) {
            *old = new.or(*old);
        }
        for new in &changes.unknown {
            self.unknown
                .retain(|old| unknown_number(old) != unknown_number(new));
            self.unknown.push(new.clone());
        }
    }

    /// The first state that is not kept as it is named here.
    pub(crate) fn lost_in(&self, kept: &Self) -> Option<String> {
        for (name, timeout) in self.iter() {
            if kept.get(name) != Some(timeout) {
                return Some(format!("{} {name}={}", self.protocol, timeout.as_secs()));
            }
        }
        let lost = |state: &&Unknown| !kept.unknown.contains(state);
        let lost = self.unknown.iter().find(lost)?;
        Some(format!("{} {lost:?}", self.protocol))
    }
}

/// `CTA_TIMEOUT_DATA`: the attribute that states are in.
pub(crate) const DATA: u16 = 4;

fn names(protocol: Protocol) -> &'static [&'static str] {
    PROTOCOLS
        .iter()
        .find(|(one, _)| *one == protocol)
        .map_or(&[], |(_, names)| names)
}

/// `tcp established=3600 close=10`: seconds.
impl fmt::Display for Timeouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.protocol == Self::GENERIC {
            f.write_str("generic")?;
        } else {
            fmt::Display::fmt(&self.protocol, f)?;
        }
        for (name, timeout) in self.iter() {
            write!(f, " {name}={}", timeout.as_secs())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::unknown;

    const MINUTE: Duration = Duration::from_secs(60);

    fn why<T: fmt::Debug>(result: Result<T>) -> String {
        let error = result.unwrap_err();
        assert!(error.is_invalid_input());
        error.to_string()
    }

    #[test]
    fn every_state_has_its_own_place() {
        for protocol in Timeouts::protocols() {
            let mut timeouts = Timeouts::new(protocol).unwrap();
            assert!(timeouts.is_empty());
            for (place, state) in timeouts.states().iter().enumerate() {
                let time = Duration::from_secs(place as u64 + 1);
                timeouts = timeouts.with(state, time).unwrap();
            }
            let wanted: Vec<_> = (1..=timeouts.states().len() as u64)
                .map(Duration::from_secs)
                .collect();
            let got: Vec<_> = timeouts.iter().map(|(_, timeout)| timeout).collect();
            assert_eq!(got, wanted);
        }
    }

    #[test]
    fn types_and_names_say_the_same() {
        let tcp = TcpTimeouts::new().with_syn_sent(MINUTE).unwrap();
        let tcp = tcp.with_unacknowledged(2 * MINUTE).unwrap();
        let any = Timeouts::from(tcp);
        assert_eq!(any.tcp(), Some(tcp));
        assert_eq!((any.udp(), any.sctp(), any.generic()), (None, None, None));
        assert_eq!(any.get("syn_sent"), Some(MINUTE));
        assert_eq!(any.get("unacknowledged"), Some(2 * MINUTE));
        assert_eq!(any.to_string(), "tcp syn_sent=60 unacknowledged=120");
        let generic = GenericTimeouts::new().with_timeout(MINUTE).unwrap();
        assert_eq!(Timeouts::from(generic).to_string(), "generic timeout=60");
    }

    #[test]
    fn what_the_kernel_would_change_is_refused() {
        let udp = UdpTimeouts::new();
        let long = Duration::from_secs(2_147_484);
        assert!(why(udp.with_replied(long)).contains("24.8 days"));
        assert!(why(udp.with_replied(Duration::from_millis(1))).contains("whole seconds"));
        let text = why(Timeouts::from(udp).with("established", MINUTE));
        assert!(
            text.contains("not a state of udp; expected unreplied, replied"),
            "{text}"
        );
        assert!(why(Timeouts::new(Protocol::new(50))).contains("255 for all others"));
        assert!(Timeouts::from(udp).check_named().is_err());
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let state = |kind, byte| unknown(Some(4), kind, &[0, 0, 0, byte]);
        let mut old = Timeouts::new(Protocol::UDP).unwrap();
        old.states = vec![Some(7), Some(2)];
        old.unknown = vec![state(12, 1), state(13, 2)];
        let mut changes = Timeouts::from(UdpTimeouts::new().with_replied(MINUTE).unwrap());
        changes.unknown = vec![state(12, 9)];
        assert!(changes.lost_in(&old).unwrap().contains("replied=60"));
        old.merge(&changes);
        assert_eq!(old.states, [Some(7), Some(60)]);
        assert_eq!(old.unknown, [state(13, 2), state(12, 9)]);
        assert_eq!(changes.lost_in(&old), None);
        old.unknown.pop();
        assert!(changes.lost_in(&old).is_some());
        assert!(old.check().is_ok());
        old.unknown
            .push(unknown(Some(4), 14, &u32::MAX.to_be_bytes()));
        // As it was reported it can stay, but not be asked for.
        assert!(old.check_unknown().is_ok());
        assert!(why(old.check()).contains("too long"));
        old.unknown.push(unknown(Some(4), 15, &[1]));
        assert!(old.check().is_err());
    }
}
