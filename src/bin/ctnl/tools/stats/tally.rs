//! Counting entries without keeping one.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use ctnetlink::{
    Completeness, Conntrack, EntryRef, Family, Filter, ProtoInfo, Protocol, Status, TcpState,
};
use serde::Serialize;

/// What entries are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// The zone, in whichever direction it holds
    Zone,
    /// ipv4 or ipv6
    Family,
    /// The protocol
    Protocol,
    /// The state of the protocol; else UNREPLIED, REPLIED or ASSURED
    State,
}

impl By {
    /// Its name in JSON and in labels.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Zone => "zone",
            Self::Family => "family",
            Self::Protocol => "protocol",
            Self::State => "state",
        }
    }

    pub(super) const fn heading(self) -> &'static str {
        match self {
            Self::Zone => "ZONE",
            Self::Family => "FAMILY",
            Self::Protocol => "PROTOCOL",
            Self::State => "STATE",
        }
    }
}

/// How far a flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum State {
    Unreplied,
    Replied,
    Assured,
    /// Of the protocol's own tracker, by the kernel's number.
    Tcp(u8),
    Sctp(u8),
    Dccp(u8),
}

impl State {
    fn of(entry: &EntryRef<'_>, protocol: Protocol) -> ctnetlink::Result<Self> {
        let tracked = match protocol {
            Protocol::TCP => entry.tcp_state()?.map(|state| Self::Tcp(state.raw())),
            Protocol::SCTP | Protocol::DCCP => match entry.proto_info()? {
                Some(ProtoInfo::Sctp(info)) => Some(Self::Sctp(info.state.raw())),
                Some(ProtoInfo::Dccp(info)) => Some(Self::Dccp(info.state.raw())),
                _ => None,
            },
            _ => None,
        };
        if let Some(state) = tracked {
            return Ok(state);
        }
        let status = entry.status()?.unwrap_or(Status::empty());
        Ok(if status.contains(Status::ASSURED) {
            Self::Assured
        } else if status.contains(Status::SEEN_REPLY) {
            Self::Replied
        } else {
            Self::Unreplied
        })
    }

    fn word(self) -> String {
        match self {
            Self::Unreplied => "UNREPLIED".to_owned(),
            Self::Replied => "REPLIED".to_owned(),
            Self::Assured => "ASSURED".to_owned(),
            Self::Tcp(raw) => TcpState::from_raw(raw).to_string(),
            Self::Sctp(raw) => ctnetlink::SctpState::from_raw(raw).to_string(),
            Self::Dccp(raw) => ctnetlink::DccpState::from_raw(raw).to_string(),
        }
    }
}

/// What the entries of a row have in common; absent is what is not counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Group {
    zone: Option<u16>,
    family: Option<bool>,
    protocol: Option<u8>,
    state: Option<State>,
}

impl Group {
    fn of(entry: &EntryRef<'_>, by: &[By]) -> ctnetlink::Result<Self> {
        let mut group = Self::default();
        let tuple = entry.orig()?;
        for by in by {
            match by {
                By::Zone => group.zone = Some(entry.zone()?.zone().get()),
                By::Family => group.family = Some(tuple.family() == Family::Ipv6),
                By::Protocol => group.protocol = Some(tuple.protocol().number()),
                By::State => group.state = Some(State::of(entry, tuple.protocol())?),
            }
        }
        Ok(group)
    }

    /// What it has in common of this kind.
    pub(super) fn word(&self, by: By) -> String {
        let word = match by {
            By::Zone => self.zone.map(|zone| zone.to_string()),
            By::Family => self
                .family
                .map(|six| if six { "ipv6" } else { "ipv4" }.to_owned()),
            By::Protocol => self.protocol.map(|number| {
                let protocol = Protocol::new(number);
                protocol
                    .name()
                    .map_or_else(|| number.to_string(), str::to_owned)
            }),
            By::State => self.state.map(State::word),
        };
        word.unwrap_or_default()
    }
}

/// How many entries there are of each group. Its size is that of the groups, not of the table.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    pub(super) by: Vec<By>,
    groups: HashMap<Group, u64>,
    pub(super) malformed: u64,
    pub(super) completeness: Completeness,
    pub(super) interrupted: bool,
}

impl Tally {
    pub(super) fn count(
        ct: &Conntrack,
        by: &[By],
        filter: &Filter,
        stop: &AtomicBool,
    ) -> ctnetlink::Result<Self> {
        // Each once, in the order of the first time.
        let mut once: Vec<By> = Vec::new();
        for by in by {
            if !once.contains(by) {
                once.push(*by);
            }
        }
        let mut groups: HashMap<Group, u64> = HashMap::new();
        let mut malformed = 0;
        let visited = ct.visit(filter, |entry| {
            if stop.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            match Group::of(&entry, &once) {
                Ok(group) => *groups.entry(group).or_default() += 1,
                Err(_) => malformed += 1,
            }
            ControlFlow::Continue(())
        })?;
        Ok(Self {
            by: once,
            groups,
            malformed: malformed + visited.malformed,
            completeness: visited.completeness,
            interrupted: visited.stopped.is_some(),
        })
    }

    pub(super) fn total(&self) -> u64 {
        self.groups.values().sum()
    }

    /// All rows by what they are, or the largest ones.
    pub(super) fn rows(&self, top: Option<usize>) -> Vec<(Group, u64)> {
        let sorted: BTreeMap<Group, u64> = self.groups.iter().map(|(g, n)| (*g, *n)).collect();
        let mut rows: Vec<(Group, u64)> = sorted.into_iter().collect();
        if let Some(top) = top {
            rows.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            rows.truncate(top);
        }
        rows
    }

    pub(super) fn report(&self, top: Option<usize>) -> Report {
        let row = |(group, entries): (Group, u64)| {
            let word = |by| Some(group.word(by)).filter(|word| !word.is_empty());
            Row {
                zone: group.zone,
                family: word(By::Family),
                protocol: word(By::Protocol),
                state: word(By::State),
                entries,
            }
        };
        Report {
            entries: self.total(),
            complete: self.completeness,
            malformed: self.malformed,
            groups: self.rows(top).into_iter().map(row).collect(),
        }
    }

    #[cfg(test)]
    pub(super) fn of_rows(by: &[By], rows: &[(u16, u8, u64)]) -> Self {
        let group = |zone, protocol| Group {
            zone: Some(zone),
            protocol: Some(protocol),
            ..Group::default()
        };
        Self {
            by: by.to_vec(),
            groups: rows
                .iter()
                .map(|(zone, protocol, count)| (group(*zone, *protocol), *count))
                .collect(),
            malformed: 0,
            completeness: Completeness::Complete,
            interrupted: false,
        }
    }
}

/// The tally as an object.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    entries: u64,
    complete: Completeness,
    malformed: u64,
    groups: Vec<Row>,
}

/// What is not counted by is left out.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    entries: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order_or_the_largest() {
        let rows = [(5, 17, 3), (0, 6, 1), (5, 6, 7), (300, 253, 2)];
        let tally = Tally::of_rows(&[By::Zone, By::Protocol], &rows);
        let words = |rows: Vec<(Group, u64)>| -> Vec<String> {
            let line = |(group, count): &(Group, u64)| {
                format!(
                    "{} {} {count}",
                    group.word(By::Zone),
                    group.word(By::Protocol)
                )
            };
            rows.iter().map(line).collect()
        };
        assert_eq!(
            words(tally.rows(None)),
            ["0 tcp 1", "5 tcp 7", "5 udp 3", "300 253 2"]
        );
        assert_eq!(words(tally.rows(Some(2))), ["5 tcp 7", "5 udp 3"]);
        assert_eq!(tally.total(), 13);
        let json = serde_json::to_string(&tally.report(Some(1))).unwrap();
        let expected = "{\"entries\":13,\"complete\":\"complete\",\"malformed\":0,\
            \"groups\":[{\"zone\":5,\"protocol\":\"tcp\",\"entries\":7}]}";
        assert_eq!(json, expected);
    }

    #[test]
    fn states_have_the_words_of_the_library() {
        for (state, word) in [
            (State::Tcp(3), "ESTABLISHED"),
            (State::Sctp(2), "COOKIE_WAIT"),
            (State::Dccp(4), "OPEN"),
            (State::Unreplied, "UNREPLIED"),
        ] {
            assert_eq!(state.word(), word);
        }
    }
}
