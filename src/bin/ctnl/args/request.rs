//! What a command line asks for, as a plain value.

use std::net::IpAddr;
use std::path::PathBuf;

use ctnetlink::{DccpRole, DccpState, Family, Filter, Protocol, SctpState, Status, TcpState, Zone};

use super::options::{Field, Opt};

/// A command and the table that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing was asked for.
    Nothing,
    List,
    ListDying,
    ListUnconfirmed,
    Create,
    Add,
    Update,
    Delete,
    Get,
    Flush,
    Event,
    Count,
    Stats,
    Version,
    Help,
    ExpectList,
    ExpectCreate,
    ExpectDelete,
    ExpectGet,
    ExpectFlush,
    ExpectEvent,
    ExpectCount,
    ExpectStats,
}

/// Addresses and ports, or keys, of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ends {
    pub(crate) src: Option<IpAddr>,
    pub(crate) dst: Option<IpAddr>,
    pub(crate) src_port: Option<u16>,
    pub(crate) dst_port: Option<u16>,
}

/// Where to, or from where, packets are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NatWish {
    pub(crate) address: IpAddr,
    pub(crate) port: Option<u16>,
}

/// Status bits that are to be on, and those that are to be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct StatusWish {
    pub(crate) on: Status,
    pub(crate) off: Status,
}

/// The kinds of events that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct EventMask {
    pub(crate) new: bool,
    pub(crate) update: bool,
    pub(crate) destroy: bool,
}

/// The words of `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a word that may be there"
)]
pub(crate) struct Outputs {
    pub(crate) xml: bool,
    pub(crate) extended: bool,
    pub(crate) timestamp: bool,
    pub(crate) id: bool,
    pub(crate) ktimestamp: bool,
    pub(crate) labels: bool,
    pub(crate) userspace: bool,
    pub(crate) save: bool,
    pub(crate) json: bool,
    pub(crate) table: bool,
}

/// The state of a protocol's tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrackerState {
    Tcp(TcpState),
    Sctp(SctpState),
    Dccp(DccpState),
}

/// Which labels an update takes off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LabelsOff {
    All,
    These(Vec<String>),
}

/// Whose table it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Netns {
    Name(String),
    Path(PathBuf),
    Pid(u32),
}

/// What conntrack(8) does not have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Extras {
    pub(crate) netns: Option<Netns>,
    pub(crate) dry_run: bool,
    pub(crate) max_deletes: Option<u64>,
    pub(crate) verify: Option<u32>,
    pub(crate) protect: Vec<Zone>,
    pub(crate) filter: Option<Filter>,
}

/// The options that were given, whatever their values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given {
    options: [Opt; ROOM],
    count: usize,
}

/// More than there are options.
const ROOM: usize = 64;

impl Default for Given {
    fn default() -> Self {
        Self {
            options: [Opt::Zero; ROOM],
            count: 0,
        }
    }
}

impl Given {
    pub(super) fn add(&mut self, opt: Opt) {
        if self.has(opt) {
            return;
        }
        if let Some(place) = self.options.get_mut(self.count) {
            *place = opt;
            self.count += 1;
        }
    }

    pub(crate) fn has(&self, opt: Opt) -> bool {
        self.all().contains(&opt)
    }

    pub(crate) fn any(&self, options: &[Opt]) -> bool {
        options.iter().any(|opt| self.has(*opt))
    }

    fn all(&self) -> &[Opt] {
        self.options.get(..self.count).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Opt> + Clone {
        self.all().iter().copied()
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = Field> + Clone {
        self.all().iter().filter_map(|opt| match opt {
            Opt::Field(field) => Some(*field),
            _ => None,
        })
    }
}

/// A command line, read and checked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) action: Action,
    pub(crate) given: Given,
    pub(crate) family: Option<Family>,
    pub(crate) orig: Ends,
    pub(crate) reply: Ends,
    /// Of an expectation.
    pub(crate) tuple: Ends,
    pub(crate) mask: Ends,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) timeout: Option<u32>,
    pub(crate) status: Option<StatusWish>,
    /// Value and mask.
    pub(crate) mark: Option<(u32, u32)>,
    pub(crate) secmark: Option<u32>,
    pub(crate) id: Option<u32>,
    pub(crate) zone: Option<Zone>,
    pub(crate) orig_zone: Option<Zone>,
    pub(crate) reply_zone: Option<Zone>,
    pub(crate) src_nat: Option<NatWish>,
    pub(crate) dst_nat: Option<NatWish>,
    pub(crate) any_nat: Option<NatWish>,
    pub(crate) labels: Vec<String>,
    pub(crate) labels_on: Vec<String>,
    pub(crate) labels_off: Option<LabelsOff>,
    pub(crate) events: Option<EventMask>,
    pub(crate) outputs: Outputs,
    pub(crate) buffer_size: Option<usize>,
    pub(crate) state: Option<TrackerState>,
    pub(crate) orig_vtag: Option<u32>,
    pub(crate) reply_vtag: Option<u32>,
    pub(crate) role: Option<DccpRole>,
    pub(crate) icmp_type: Option<u8>,
    pub(crate) icmp_code: Option<u8>,
    pub(crate) icmp_id: Option<u16>,
    /// What was passed over.
    pub(crate) warnings: Vec<String>,
    pub(crate) extras: Extras,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            action: Action::Nothing,
            given: Given::default(),
            family: None,
            orig: Ends::default(),
            reply: Ends::default(),
            tuple: Ends::default(),
            mask: Ends::default(),
            protocol: None,
            timeout: None,
            status: None,
            mark: None,
            secmark: None,
            id: None,
            zone: None,
            orig_zone: None,
            reply_zone: None,
            src_nat: None,
            dst_nat: None,
            any_nat: None,
            labels: Vec::new(),
            labels_on: Vec::new(),
            labels_off: None,
            events: None,
            outputs: Outputs::default(),
            buffer_size: None,
            state: None,
            orig_vtag: None,
            reply_vtag: None,
            role: None,
            icmp_type: None,
            icmp_code: None,
            icmp_id: None,
            warnings: Vec::new(),
            extras: Extras::default(),
        }
    }
}

impl Request {
    /// Whether labels are asked for, or to be changed.
    pub(crate) fn speaks_of_labels(&self) -> bool {
        !self.labels.is_empty() || !self.labels_on.is_empty() || self.labels_off.is_some()
    }
}
