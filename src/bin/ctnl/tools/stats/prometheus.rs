//! The text exposition format of Prometheus, version 0.0.4.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::Context;
use ctnetlink::{Completeness, Conntrack, Count, CpuStats, ExpectCpuStats};

use super::super::common::At;
use super::tally::Tally;

/// What is asked of the namespace as a whole.
#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    /// The namespace, if it was named: files of several ones are read together.
    pub(super) netns: Option<String>,
    pub(super) count: Option<Count>,
    pub(super) buckets: Option<u32>,
    pub(super) cpus: Vec<CpuStats>,
    pub(super) expect: Vec<ExpectCpuStats>,
}

impl Host {
    pub(super) fn of(ct: &Conntrack, at: &At) -> Self {
        Self {
            netns: at.0.clone(),
            count: ct.count().ok(),
            buckets: ct.settings().buckets().ok(),
            cpus: ct.cpu_stats().unwrap_or_default(),
            expect: ct.expect_cpu_stats().unwrap_or_default(),
        }
    }
}

/// What events told since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Happened {
    pub(super) new: u64,
    pub(super) destroyed: u64,
    pub(super) overruns: u64,
}

impl Happened {
    pub(super) fn add(&mut self, more: &Self) {
        self.new += more.new;
        self.destroyed += more.destroyed;
        self.overruns += more.overruns;
    }
}

/// What a metric is.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
}

type Labels = Vec<(&'static str, String)>;

/// The text, and the labels that all samples have.
#[derive(Default)]
struct Exposition(String, Labels);

impl Exposition {
    /// A metric with its samples; none without one.
    fn metric(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let word = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {}", escape_help(help));
        let _ = writeln!(self.0, "# TYPE {name} {word}");
        for (labels, value) in samples {
            self.0.push_str(name);
            let mut before = '{';
            for (label, text) in self.1.iter().chain(&labels) {
                let _ = write!(self.0, "{before}{label}=\"{}\"", escape_label(text));
                before = ',';
            }
            let end = if before == ',' { "}" } else { "" };
            let _ = writeln!(self.0, "{end} {value}");
        }
    }

    fn one(&mut self, name: &str, kind: Kind, help: &str, value: Option<u64>) {
        self.metric(name, kind, help, value.map(|value| (Vec::new(), value)));
    }
}

fn escape_help(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn escape_label(text: &str) -> String {
    escape_help(text).replace('"', "\\\"")
}

pub(super) fn expose(tally: &Tally, host: &Host, happened: Option<&Happened>) -> String {
    use Kind::{Counter, Gauge};
    let netns = host.netns.clone().map(|netns| ("netns", netns));
    let mut text = Exposition(String::new(), netns.into_iter().collect());
    let groups = tally.rows(None);
    let groups = groups.iter().map(|(group, count)| {
        let label = |by: &super::By| (by.name(), group.word(*by));
        (tally.by.iter().map(label).collect(), *count)
    });
    text.metric(
        "ctnl_entries",
        Gauge,
        "Entries of the conntrack table, by walking it.",
        groups,
    );
    text.one(
        "ctnl_walk_interrupted",
        Gauge,
        "Whether the walk may have missed entries: 1 if so.",
        Some(u64::from(tally.completeness == Completeness::Interrupted)),
    );
    text.one(
        "ctnl_malformed_entries",
        Gauge,
        "Entries that could not be read.",
        Some(tally.malformed),
    );
    if let Some(count) = &host.count {
        text.one(
            "ctnl_table_entries",
            Gauge,
            "Entries of the conntrack table, by the kernel's own count.",
            Some(count.entries.into()),
        );
        text.one(
            "ctnl_table_max",
            Gauge,
            "Entries that the conntrack table may have; 0 is no limit.",
            count.max.map(u64::from),
        );
    }
    text.one(
        "ctnl_hash_buckets",
        Gauge,
        "Buckets of the hash table, which all network namespaces share.",
        host.buckets.map(u64::from),
    );
    for (name, help, value) in CPU {
        let cpus = host.cpus.iter();
        let samples = cpus.filter_map(|cpu| Some((cpu_label(cpu.cpu), value(cpu)?)));
        text.metric(&format!("ctnl_{name}_total"), Counter, help, samples);
    }
    for (name, help, value) in EXPECT {
        let cpus = host.expect.iter();
        let samples = cpus.filter_map(|cpu| Some((cpu_label(cpu.cpu), value(cpu)?)));
        text.metric(&format!("ctnl_expect_{name}_total"), Counter, help, samples);
    }
    if let Some(happened) = happened {
        let event = |word: &str| vec![("event", word.to_owned())];
        text.metric(
            "ctnl_events_total",
            Counter,
            "Events of entries since this program started.",
            [
                (event("new"), happened.new),
                (event("destroy"), happened.destroyed),
            ],
        );
        text.one(
            "ctnl_event_overruns_total",
            Counter,
            "How often events were lost since this program started.",
            Some(happened.overruns),
        );
    }
    text.0
}

fn cpu_label(cpu: Option<u16>) -> Labels {
    cpu.map(|cpu| ("cpu", cpu.to_string()))
        .into_iter()
        .collect()
}

type Figure<T> = (&'static str, &'static str, fn(&T) -> Option<u64>);

/// What kernels of today count. The counters have 32 bits and start again at zero.
const CPU: [Figure<CpuStats>; 10] = [
    ("found", "Look-ups that found an entry.", |cpu| cpu.found),
    (
        "invalid",
        "Packets that belong to no flow and cannot begin one.",
        |cpu| cpu.invalid,
    ),
    ("insert", "Entries that were put into the table.", |cpu| {
        cpu.insert
    }),
    (
        "insert_failed",
        "Entries that could not be put into the table.",
        |cpu| cpu.insert_failed,
    ),
    (
        "drop",
        "Packets that were dropped since no entry could be made.",
        |cpu| cpu.drop,
    ),
    (
        "early_drop",
        "Entries that were removed to make room.",
        |cpu| cpu.early_drop,
    ),
    ("error", "Packets that were damaged.", |cpu| cpu.error),
    (
        "search_restart",
        "Look-ups that had to begin again.",
        |cpu| cpu.search_restart,
    ),
    (
        "clash_resolve",
        "Entries that were merged with one of the same flow.",
        |cpu| cpu.clash_resolve,
    ),
    (
        "chain_toolong",
        "Entries that found no place since a chain was too long.",
        |cpu| cpu.chain_toolong,
    ),
];

const EXPECT: [Figure<ExpectCpuStats>; 3] = [
    ("met", "Expectations that were met.", |cpu| cpu.met),
    ("create", "Expectations that were made.", |cpu| cpu.create),
    ("delete", "Expectations that were removed.", |cpu| {
        cpu.delete
    }),
];

/// Puts a file in place of another in one step: who reads it sees all of the one or of the other.
pub(super) fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let name = path.file_name().context("the output file has no name")?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    // No end that a node exporter reads.
    hidden.push(format!(".{}.tmp", std::process::id()));
    let draft = path.with_file_name(hidden);
    let written = File::create(&draft)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&draft, path));
    written
        .inspect_err(|_| drop(fs::remove_file(&draft)))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prometheus_parse::{Scrape, Value};

    use super::super::By;
    use super::*;

    fn parse(text: &str) -> Scrape {
        let lines = text.lines().map(|line| Ok(line.to_owned()));
        let scrape = Scrape::parse(lines).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(
            scrape.samples.len(),
            samples,
            "a line was not understood: {text}"
        );
        scrape
    }

    fn host() -> Host {
        let cpu = |number: u16| {
            let text =
                format!(r#"{{"cpu":{number},"found":1,"insert_failed":7,"drop":4294967295}}"#);
            serde_json::from_str(&text).unwrap()
        };
        Host {
            netns: None,
            count: Some(serde_json::from_str(r#"{"entries":12,"max":100}"#).unwrap()),
            buckets: Some(65_536),
            cpus: vec![cpu(0), cpu(1)],
            expect: vec![
                serde_json::from_str(r#"{"cpu":0,"met":1,"create":2,"delete":3}"#).unwrap(),
            ],
        }
    }

    #[test]
    fn a_parser_reads_what_is_written() {
        let tally = Tally::of_rows(
            &[By::Zone, By::Protocol],
            &[(5, 6, 7), (5, 17, 3), (9, 253, 2)],
        );
        let happened = Happened {
            new: 4,
            destroyed: 2,
            overruns: 1,
        };
        let text = expose(&tally, &host(), Some(&happened));
        let scrape = parse(&text);
        let value = |name: &str, labels: &[(&str, &str)]| {
            let sample = scrape.samples.iter().find(|sample| {
                sample.metric == name
                    && labels
                        .iter()
                        .all(|(label, text)| sample.labels.get(label) == Some(*text))
            });
            match sample.unwrap_or_else(|| panic!("no {name}: {text}")).value {
                Value::Gauge(value) => (value, "gauge"),
                Value::Counter(value) => (value, "counter"),
                ref other => panic!("{name}: {other:?}"),
            }
        };
        let udp = [("zone", "5"), ("protocol", "udp")];
        assert_eq!(value("ctnl_entries", &udp), (3.0, "gauge"));
        assert_eq!(
            value("ctnl_entries", &[("protocol", "253")]),
            (2.0, "gauge")
        );
        assert_eq!(value("ctnl_table_max", &[]), (100.0, "gauge"));
        assert_eq!(
            value("ctnl_drop_total", &[("cpu", "1")]),
            (4_294_967_295.0, "counter")
        );
        assert_eq!(
            value("ctnl_expect_create_total", &[("cpu", "0")]),
            (2.0, "counter")
        );
        assert_eq!(
            value("ctnl_events_total", &[("event", "destroy")]),
            (2.0, "counter")
        );
        assert_eq!(value("ctnl_event_overruns_total", &[]), (1.0, "counter"));
        // What the kernel did not say is not there.
        assert!(!text.contains("ctnl_early_drop_total"));
        well_formed(&text);
    }

    /// What the parser is lenient in: each metric is announced once, before its samples, which are
    /// together, and no sample is there twice.
    fn well_formed(text: &str) {
        let (mut announced, mut samples) = (BTreeSet::new(), BTreeSet::new());
        let mut current = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                current = rest.split(' ').next().unwrap();
                assert!(announced.insert(current), "{current} twice");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, current);
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            } else {
                let (sample, _) = line.rsplit_once(' ').unwrap();
                assert_eq!(sample.split('{').next(), Some(current));
                assert!(samples.insert(sample), "{sample} twice");
            }
        }
        assert!(text.ends_with('\n'));
    }

    /// docs/tools.md lists what there is.
    #[test]
    fn every_metric_is_documented() {
        let document = include_str!("../../../../../docs/tools.md");
        let rows = document.lines().filter(|line| line.starts_with("| `ctnl_"));
        let documented: BTreeSet<&str> = rows
            .flat_map(|row| row.split('|').nth(1).unwrap().split('`'))
            .filter(|word| word.starts_with("ctnl_"))
            .collect();
        let mut host = host();
        let all: Vec<String> = CPU
            .iter()
            .map(|(name, _, _)| format!("\"{name}\":1"))
            .collect();
        host.cpus = vec![serde_json::from_str(&format!("{{{}}}", all.join(","))).unwrap()];
        let tally = Tally::of_rows(&[By::Zone], &[(5, 6, 7)]);
        let text = expose(&tally, &host, Some(&Happened::default()));
        let written: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        assert_eq!(documented, written);
    }

    #[test]
    fn an_empty_table_is_exposed_too() {
        let text = expose(&Tally::of_rows(&[By::Zone], &[]), &Host::default(), None);
        well_formed(&text);
        assert!(!parse(&text).samples.is_empty());
    }

    #[test]
    fn a_namespace_that_was_named_is_on_all_samples() {
        let named = Host {
            netns: Some("/run/netns/a\"b".to_owned()),
            ..host()
        };
        let tally = Tally::of_rows(&[By::Zone], &[(5, 6, 7)]);
        let text = expose(&tally, &named, Some(&Happened::default()));
        well_formed(&text);
        let scrape = parse(&text);
        let label = |sample: &prometheus_parse::Sample| sample.labels.get("netns").is_some();
        assert!(scrape.samples.iter().all(label), "{text}");
        assert!(
            text.contains("{netns=\"/run/netns/a\\\"b\",zone=\"5\"} 7"),
            "{text}"
        );
    }

    #[test]
    fn what_is_special_is_escaped() {
        let mut text = Exposition::default();
        let odd = "a\\b\"c\nd";
        let samples = [(vec![("name", odd.to_owned())], 7)];
        text.metric("x", Kind::Gauge, "one\\two\nthree", samples);
        assert_eq!(
            text.0,
            "# HELP x one\\\\two\\nthree\n# TYPE x gauge\nx{name=\"a\\\\b\\\"c\\nd\"} 7\n"
        );
        assert_eq!(parse(&text.0).samples.len(), 1);
    }

    #[test]
    fn a_file_is_replaced_and_no_draft_is_left() {
        let directory = std::env::temp_dir().join(format!("ctnl-prom-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("x.prom");
        for text in ["one\n", "two\n"] {
            replace(&path, text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        // A directory is in the way.
        fs::create_dir(directory.join("d.prom")).unwrap();
        assert!(replace(&directory.join("d.prom"), "x").is_err());
        assert!(replace(&directory.join("none/x.prom"), "x").is_err());
        let mut names: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .map(|item| item.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["d.prom", "x.prom"]);
        fs::remove_dir_all(&directory).unwrap();
    }
}
