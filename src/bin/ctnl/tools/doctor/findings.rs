//! What facts come to: it asks nobody.

use std::fmt::Write;

use ctnetlink::{EventsMode, KernelSupport};
use serde::Serialize;

use super::facts::Facts;

/// How bad it is, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Fine,
    /// To be known, and often meant.
    Note,
    /// To be mended.
    Warning,
    /// Nothing works without the right.
    Rights,
    /// Nothing works.
    Broken,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) about: &'static str,
    pub(super) level: Level,
    pub(super) says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mend: Option<String>,
}

impl Finding {
    pub(super) fn new(level: Level, about: &'static str, says: impl Into<String>) -> Self {
        Self {
            about,
            level,
            says: says.into(),
            mend: None,
        }
    }

    pub(super) fn mend(self, how: impl Into<String>) -> Self {
        Self {
            mend: Some(how.into()),
            ..self
        }
    }
}

fn fine(about: &'static str, says: impl Into<String>) -> Finding {
    Finding::new(Level::Fine, about, says)
}

fn note(about: &'static str, says: impl Into<String>) -> Finding {
    Finding::new(Level::Note, about, says)
}

fn warning(about: &'static str, says: impl Into<String>) -> Finding {
    Finding::new(Level::Warning, about, says)
}

pub(super) fn examine(facts: &Facts) -> Vec<Finding> {
    let mut found = vec![rights(facts)];
    if facts.refused.is_some() {
        return found;
    }
    found.extend(table(facts));
    found.extend(chains(facts));
    found.extend(losses(facts));
    found.extend(events(facts));
    found.extend(settings(facts));
    found.extend(buffers(facts));
    found.extend(probe(facts));
    found.extend(zones(facts));
    found
}

fn rights(facts: &Facts) -> Finding {
    if let Some(refused) = &facts.refused {
        if refused.permission {
            let says = format!("the kernel refuses: {}", refused.error);
            return Finding::new(Level::Rights, "rights", says).mend(
                "run it as root, or with CAP_NET_ADMIN in the user namespace that owns the network \
                 namespace",
            );
        }
        let says = format!("connection tracking cannot be used: {}", refused.error);
        return Finding::new(Level::Broken, "kernel", says).mend(
            "modprobe nf_conntrack_netlink; and look whether the network namespace is there",
        );
    }
    match facts.rights.sys_admin {
        Some(false) => note(
            "rights",
            "without CAP_SYS_ADMIN, other network namespaces cannot be entered, and the kernel's \
             filters are tried in a user namespace or not at all",
        ),
        _ => fine("rights", "this process may read and change the table"),
    }
}

/// How full is too full, in parts of a hundred.
const FULL: u64 = 95;
const FILLING: u64 = 80;

fn table(facts: &Facts) -> Option<Finding> {
    let count = facts.count.as_ref()?;
    let entries = count.entries;
    let Some(max) = count.max.filter(|max| *max > 0) else {
        return Some(fine("table", format!("{entries} entries, and no limit")));
    };
    let percent = u64::from(entries) * 100 / u64::from(max);
    let says = format!("{entries} of {max} entries, {percent} % full");
    if percent < FILLING {
        return Some(fine("table", says));
    }
    let long = facts.settings.tcp_established.filter(|left| *left > 86_400);
    let mut mend = format!(
        "sysctl -w net.netfilter.nf_conntrack_max={} (in the initial namespace), or find out who \
         fills it: ctnl stats --by zone,protocol,state --top 10",
        u64::from(max) * 2
    );
    if let Some(seconds) = long {
        let _ = write!(
            mend,
            "; established TCP connections without traffic are kept for {} days: \
             net.netfilter.nf_conntrack_tcp_timeout_established",
            seconds / 86_400
        );
    }
    let says = if percent >= FULL {
        format!("{says}: new connections are dropped when it is full")
    } else {
        says
    };
    Some(warning("table", says).mend(mend))
}

fn chains(facts: &Facts) -> Option<Finding> {
    let buckets = facts.settings.buckets.filter(|buckets| *buckets > 0)?;
    let entries = facts.count.as_ref()?.entries;
    // Each entry is in it twice, by the tuple of each direction.
    let each = u64::from(entries) * 2 / u64::from(buckets);
    let says = format!("{buckets} buckets of the hash table, {each} tuples in each");
    Some(if each > 8 {
        warning("hash", format!("{says}: look-ups are slow")).mend(format!(
            "sysctl -w net.netfilter.nf_conntrack_buckets={} (in the initial namespace)",
            u64::from(entries).next_power_of_two()
        ))
    } else {
        fine("hash", says)
    })
}

fn losses(facts: &Facts) -> Vec<Finding> {
    let Some(stats) = &facts.stats else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let table =
        "the table was too small: raise net.netfilter.nf_conntrack_max, or shorten time-outs";
    for (count, what, mend) in [
        (
            stats.drop,
            "packets were dropped since no entry could be made",
            table,
        ),
        (
            stats.early_drop,
            "entries without an answer were removed to make room",
            table,
        ),
        (
            stats.insert_failed,
            "entries could not be inserted: two packets of one flow at once, or ports that ran out \
             behind address translation",
            "few of them are harmless; many in a burst of UDP (DNS) are two packets that race: \
             retries hide it, TCP or a local cache avoids it",
        ),
        (
            stats.chain_toolong,
            "entries found no place since a chain of the hash table was too long",
            "raise net.netfilter.nf_conntrack_buckets",
        ),
        (
            stats.error,
            "packets were damaged, or of ICMP about no known flow",
            "look for the sender: net.netfilter.nf_conntrack_log_invalid=255",
        ),
    ] {
        if let Some(count) = count.filter(|count| *count > 0) {
            found.push(warning("losses", format!("{count} {what}")).mend(mend));
        }
    }
    if found.is_empty() {
        found.push(fine("losses", "none since the namespace was made"));
    }
    found
}

fn events(facts: &Facts) -> Option<Finding> {
    Some(match facts.settings.events? {
        EventsMode::Off => warning(
            "events",
            "the kernel keeps nothing for events: none will come",
        )
        .mend("sysctl -w net.netfilter.nf_conntrack_events=1"),
        EventsMode::Auto => note(
            "events",
            "entries that were made while nobody listened send no events; \
             net.netfilter.nf_conntrack_events=1 has all of them do so",
        ),
        _ => fine("events", "all new entries send them"),
    })
}

fn settings(facts: &Facts) -> Vec<Finding> {
    let settings = &facts.settings;
    let mut found = Vec::new();
    if settings.accounting == Some(false) {
        found.push(note(
            "settings",
            "entries count no packets and bytes; net.netfilter.nf_conntrack_acct=1 has new ones do so",
        ));
    }
    if settings.timestamps == Some(false) {
        found.push(note(
            "settings",
            "entries do not keep when they began; net.netfilter.nf_conntrack_timestamp=1 has new ones \
             do so",
        ));
    }
    if settings.tcp_loose == Some(true) {
        found.push(note(
            "settings",
            "TCP connections are picked up in full flow, so deleting an entry does not end one; \
             net.netfilter.nf_conntrack_tcp_loose=0 is stricter",
        ));
    }
    if settings.tcp_be_liberal == Some(true) {
        found.push(note(
            "settings",
            "TCP segments outside of the window are let through (nf_conntrack_tcp_be_liberal=1)",
        ));
    }
    if settings.helper_auto_assignment == Some(true) {
        found.push(
            warning("settings", "helpers are attached by port alone, to any flow").mend(
                "sysctl -w net.netfilter.nf_conntrack_helper=0, and name helpers in rules: ct helper \
                 set, -j CT --helper",
            ),
        );
    }
    found
}

fn buffers(facts: &Facts) -> Vec<Finding> {
    let buffers = &facts.buffers;
    let mut found = Vec::new();
    for (what, got, wanted, limit, file) in [
        (
            "receive",
            buffers.receive,
            buffers.receive_wanted,
            buffers.rmem_max,
            "rmem_max",
        ),
        (
            "send",
            buffers.send,
            buffers.receive_wanted,
            buffers.wmem_max,
            "wmem_max",
        ),
        (
            "events",
            buffers.events,
            buffers.events_wanted,
            buffers.rmem_max,
            "rmem_max",
        ),
    ] {
        if let Some(got) = got.filter(|got| *got < wanted) {
            let limit = limit.map_or(String::new(), |limit| format!(" ({file} is {limit})"));
            found.push(
                warning(
                    "buffers",
                    format!("the {what} buffer has {got} bytes of {wanted}{limit}: bursts may be lost"),
                )
                .mend(format!(
                    "sysctl -w net.core.{file}={wanted}, or CAP_NET_ADMIN in the initial user namespace"
                )),
            );
        }
    }
    if found.is_empty() && buffers.receive.is_some() {
        found.push(fine("buffers", "as large as they are wanted"));
    }
    found
}

fn probe(facts: &Facts) -> Option<Finding> {
    let support = facts.support.as_ref()?;
    if let Some(why) = support.why_not() {
        let says = format!("the kernel's filters could not be tried, so none is used: {why}");
        return Some(note("filters", says));
    }
    let trials = support.trials();
    let right = trials.iter().filter(|trial| trial.dump.is_right()).count();
    let harm = |verdict| {
        use ctnetlink::Verdict as V;
        matches!(verdict, V::Inverted | V::Wrong | V::Omits | V::Ignored)
    };
    let harmful = trials
        .iter()
        .filter(|trial| harm(trial.dump) || harm(trial.flush))
        .count();
    let says = format!(
        "the kernel does {right} of {} kinds of filters right",
        trials.len()
    );
    Some(if harmful > 0 {
        let all = "and others wrong, which ctnl therefore does itself; other programs may list or \
                   delete what was not meant";
        note("filters", format!("{says}, {all} ({harmful} kinds)"))
    } else {
        fine("filters", says)
    })
}

fn zones(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let features = facts.support.as_ref().map(KernelSupport::features);
    if features.is_some_and(|features| features.zones == Some(false)) {
        found.push(
            warning("zones", "this kernel has no zones")
                .mend("a kernel with CONFIG_NF_CONNTRACK_ZONES"),
        );
        return found;
    }
    if let Some(rules) = &facts.rules {
        if rules.of_any_zone > 0 {
            found.push(note(
                "zones",
                format!(
                    "{} rules put packets into zones that only packets tell, which no allocator sees",
                    rules.of_any_zone
                ),
            ));
        }
        found.push(fine(
            "zones",
            format!(
                "{} rules put packets into zones that they name",
                rules.of_zones
            ),
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use ctnetlink::{Count, CpuStats};
    use serde_json::{from_value, json};

    use super::super::facts::{Buffers, Refused, Rules, Settings};
    use super::*;

    fn count(entries: u32, max: u32) -> Count {
        from_value(json!({"entries": entries, "max": max})).unwrap()
    }

    /// A host on which there is nothing to mend.
    fn healthy() -> Facts {
        let trial = json!({"shape": ["zone"], "list": "right", "flush": "right"});
        Facts {
            count: Some(count(100, 1000)),
            stats: Some(CpuStats::default()),
            settings: Settings {
                buckets: Some(1024),
                accounting: Some(true),
                timestamps: Some(true),
                events: Some(EventsMode::On),
                tcp_loose: Some(false),
                tcp_be_liberal: Some(false),
                helper_auto_assignment: Some(false),
                tcp_established: Some(432_000),
            },
            buffers: Buffers {
                receive_wanted: 100,
                receive: Some(200),
                send: Some(200),
                events_wanted: 100,
                events: Some(200),
                rmem_max: Some(50),
                wmem_max: Some(50),
            },
            rules: Some(Rules::default()),
            support: Some(from_value::<KernelSupport>(json!({"trials": [trial]})).unwrap()),
            ..Facts::default()
        }
    }

    /// The findings about something that are not fine.
    fn wrong(facts: &Facts, about: &str) -> Vec<Finding> {
        let wrong = |finding: &Finding| finding.level != Level::Fine && finding.about == about;
        examine(facts).into_iter().filter(wrong).collect()
    }

    #[test]
    fn nothing_is_wrong_where_nothing_is() {
        let found = examine(&healthy());
        assert!(
            found.iter().all(|finding| finding.level == Level::Fine),
            "{found:?}"
        );
        let about: Vec<_> = found.iter().map(|finding| finding.about).collect();
        assert_eq!(
            about,
            [
                "rights", "table", "hash", "losses", "events", "buffers", "filters", "zones"
            ]
        );
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let found = examine(&Facts::default());
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn a_table_that_fills_up() {
        for (entries, level) in [
            (799, None),
            (800, Some(Level::Warning)),
            (1000, Some(Level::Warning)),
        ] {
            let facts = Facts {
                count: Some(count(entries, 1000)),
                ..healthy()
            };
            let found = wrong(&facts, "table");
            assert_eq!(
                found.first().map(|finding| finding.level),
                level,
                "{entries}"
            );
            if let Some(finding) = found.first() {
                let mend = finding.mend.as_deref().unwrap();
                assert!(
                    mend.contains("nf_conntrack_max=2000") && mend.contains("5 days"),
                    "{mend}"
                );
                assert_eq!(finding.says.contains("dropped"), entries == 1000);
            }
        }
        // No limit is never reached, and nothing is divided by it.
        let facts = Facts {
            count: Some(count(5000, 0)),
            ..healthy()
        };
        assert_eq!(wrong(&facts, "table"), []);
        let facts = Facts {
            count: Some(count(u32::MAX, u32::MAX)),
            ..healthy()
        };
        assert_eq!(wrong(&facts, "table").len(), 1);
        assert_eq!(wrong(&facts, "hash").len(), 1);
    }

    #[test]
    fn what_was_lost_is_counted() {
        let stats = json!({"drop": 3, "early_drop": 2, "insert_failed": 1, "error": 0, "found": 9});
        let facts = Facts {
            stats: Some(from_value(stats).unwrap()),
            ..healthy()
        };
        let found = wrong(&facts, "losses");
        let counts: Vec<_> = found.iter().map(|finding| &finding.says[..2]).collect();
        assert_eq!(counts, ["3 ", "2 ", "1 "]);
        assert!(found.iter().all(|finding| finding.mend.is_some()));
    }

    #[test]
    fn settings_that_surprise() {
        let mut facts = healthy();
        facts.settings.events = Some(EventsMode::Off);
        assert_eq!(wrong(&facts, "events")[0].level, Level::Warning);
        facts.settings.events = Some(EventsMode::Auto);
        assert_eq!(wrong(&facts, "events")[0].level, Level::Note);
        facts.settings.accounting = Some(false);
        facts.settings.timestamps = Some(false);
        facts.settings.tcp_loose = Some(true);
        facts.settings.tcp_be_liberal = Some(true);
        facts.settings.helper_auto_assignment = Some(true);
        let found = wrong(&facts, "settings");
        assert_eq!(found.len(), 5);
        assert_eq!(found.last().unwrap().level, Level::Warning);
    }

    #[test]
    fn buffers_that_are_too_small() {
        let mut facts = healthy();
        facts.buffers.events = Some(99);
        let found = wrong(&facts, "buffers");
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .says
                .contains("the events buffer has 99 bytes of 100 (rmem_max is 50)")
        );
        assert!(
            found[0]
                .mend
                .as_deref()
                .unwrap()
                .contains("net.core.rmem_max=100")
        );
    }

    #[test]
    fn a_kernel_that_gets_filters_wrong() {
        let trials = json!({"trials": [
            {"shape": ["zone"], "list": "ignored", "flush": "refused", "flush_errno": 95},
            {"shape": ["mark"], "list": "right", "flush": "right"},
        ], "features": {"zones": false}});
        let facts = Facts {
            support: Some(from_value(trials).unwrap()),
            ..healthy()
        };
        let found = wrong(&facts, "filters");
        assert!(
            found[0].says.contains("does 1 of 2 kinds of filters right"),
            "{found:?}"
        );
        assert_eq!(wrong(&facts, "zones")[0].level, Level::Warning);
        let why = json!({"trials": [], "why_not": "no right"});
        let facts = Facts {
            support: Some(from_value(why).unwrap()),
            ..healthy()
        };
        assert!(wrong(&facts, "filters")[0].says.ends_with("no right"));
    }

    #[test]
    fn a_kernel_that_refuses() {
        let refused = |permission| Facts {
            refused: Some(Refused {
                error: "EPERM".to_owned(),
                permission,
            }),
            ..Facts::default()
        };
        let levels = [true, false].map(|permission| {
            let found = examine(&refused(permission));
            assert!(found.len() == 1 && found[0].mend.is_some());
            found[0].level
        });
        assert_eq!(levels, [Level::Rights, Level::Broken]);
    }
}
