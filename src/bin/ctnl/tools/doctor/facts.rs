//! What is known of the kernel, the namespace and this process. Each is asked for by itself, so that
//! what cannot be read hides nothing else.

use std::fs;
use std::time::Duration;

use ctnetlink::{
    Builder, Conntrack, Count, CpuStats, EventGroups, EventsMode, KernelSupport, Protocol,
    RuledZones,
};
use serde::Serialize;

use super::super::common::At;

/// What was found; absent is what could not be found out.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Facts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) release: Option<String>,
    pub(super) rights: Rights,
    /// Why connection tracking cannot be used, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<Refused>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<Count>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stats: Option<CpuStats>,
    pub(super) settings: Settings,
    pub(super) buffers: Buffers,
    /// Rules that put packets into zones; those of which only packets tell which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rules: Option<Rules>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) support: Option<KernelSupport>,
}

/// What this process may do.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Rights {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) net_admin: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sys_admin: Option<bool>,
    /// Whether it is in a user namespace that is not the initial one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_namespace: Option<bool>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Refused {
    pub(super) error: String,
    pub(super) permission: bool,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Settings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) buckets: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) accounting: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timestamps: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) events: Option<EventsMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tcp_loose: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tcp_be_liberal: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) helper_auto_assignment: Option<bool>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tcp_established: Option<u64>,
}

/// Bytes.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Buffers {
    pub(super) receive_wanted: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) receive: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) send: Option<usize>,
    pub(super) events_wanted: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) events: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rmem_max: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wmem_max: Option<usize>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Rules {
    pub(super) of_zones: usize,
    pub(super) of_any_zone: usize,
}

impl Facts {
    pub(super) fn gather(at: &At, probe: bool) -> Self {
        let mut facts = Self {
            release: file("/proc/sys/kernel/osrelease"),
            rights: Rights::gather(),
            ..Self::default()
        };
        // The first call tells whether the right is there; opening alone needs none.
        let opened = at.open().and_then(|ct| {
            let count = ct.count()?;
            Ok((ct, count))
        });
        let (ct, count) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                facts.refused = Some(Refused {
                    error: error.to_string(),
                    permission: error.is_permission_denied(),
                });
                return facts;
            }
        };
        facts.count = Some(count);
        facts.stats = ct
            .cpu_stats()
            .ok()
            .map(|each| each.into_iter().sum::<CpuStats>());
        facts.settings = Settings::gather(&ct, probe);
        facts.buffers = Buffers::gather(&ct);
        facts.rules = ct.zone_rules().ok().map(|rules| {
            let any = rules.iter().filter(|rule| *rule.zones() == RuledZones::Any);
            let of_any_zone = any.count();
            Rules {
                of_zones: rules.len() - of_any_zone,
                of_any_zone,
            }
        });
        facts.support = probe.then(|| ct.kernel_support().clone());
        facts
    }
}

impl Rights {
    fn gather() -> Self {
        const NET_ADMIN: u32 = 12;
        const SYS_ADMIN: u32 = 21;
        let status = file("/proc/self/status").unwrap_or_default();
        let effective = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
        let has = |bit: u32| effective.map(|bits| bits >> bit & 1 == 1);
        let initial = |map: String| {
            let numbers: Vec<&str> = map.split_whitespace().collect();
            numbers == ["0", "0", "4294967295"]
        };
        Self {
            net_admin: has(NET_ADMIN),
            sys_admin: has(SYS_ADMIN),
            user_namespace: file("/proc/self/uid_map").map(|map| !initial(map)),
        }
    }
}

impl Settings {
    fn gather(ct: &Conntrack, probe: bool) -> Self {
        let settings = ct.settings();
        // The kernel loads a module when it is asked for policies.
        let defaults = probe.then(|| ct.timeout_policies().defaults(Protocol::TCP).ok());
        let established = defaults
            .flatten()
            .and_then(|defaults| defaults.timeouts().get("established"));
        Self {
            buckets: settings.buckets().ok(),
            accounting: settings.accounting().ok(),
            timestamps: settings.timestamps().ok(),
            events: settings.events().ok(),
            tcp_loose: settings.tcp_loose().ok(),
            tcp_be_liberal: settings.tcp_be_liberal().ok(),
            helper_auto_assignment: settings.helper_auto_assignment().ok(),
            tcp_established: established.as_ref().map(Duration::as_secs),
        }
    }
}

impl Buffers {
    fn gather(ct: &Conntrack) -> Self {
        // A group in which nothing happens by itself: the buffer is what is of interest.
        let events = ct.events().groups(EventGroups::EXPECT_NEW).open();
        let number = |path| file(path).and_then(|text| text.parse().ok());
        Self {
            receive_wanted: Builder::BUFFER,
            receive: Some(ct.receive_buffer()),
            send: Some(ct.send_buffer()),
            events_wanted: ctnetlink::EventsBuilder::RECEIVE_BUFFER,
            events: events.ok().map(|events| events.receive_buffer()),
            rmem_max: number("/proc/sys/net/core/rmem_max"),
            wmem_max: number("/proc/sys/net/core/wmem_max"),
        }
    }
}

fn file(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}
