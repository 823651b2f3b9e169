//! `/proc/net/nf_conntrack`, read for its own sake, and held against what the library lists.

use std::collections::{BTreeMap, VecDeque};
use std::time::SystemTime;

use ctnetlink::{Conntrack, Entry, EntryZone, Family, Filter, Layer4, ProtoInfo, Status, Tuple};

use crate::support::listed;

/// Fields of a direction by name, as text.
type Fields = BTreeMap<&'static str, String>;

/// A line of the file (`ct_seq_show`), clocks aside. What a line does not say is `None`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    family: (String, u64),
    protocol: (String, u64),
    state: Option<String>,
    orig: Fields,
    reply: Fields,
    zone_orig: Option<u64>,
    zone_reply: Option<u64>,
    zone: Option<u64>,
    orig_counters: Option<(u64, u64)>,
    reply_counters: Option<(u64, u64)>,
    unreplied: bool,
    /// `[ASSURED]`, `[OFFLOAD]` or `[HW_OFFLOAD]`.
    flag: Option<&'static str>,
    mark: Option<u64>,
}

/// What moves by itself.
#[derive(Debug, Clone, Copy)]
struct Moving {
    timeout: Option<u64>,
    /// Seconds since the flow began.
    delta: Option<u64>,
    /// The file counts itself: it holds an entry while it prints it. So it does with entries of other
    /// namespaces that it passes over, and so do packets.
    uses: u64,
}

/// The file at one moment.
struct Shot {
    lines: Vec<(Line, Moving)>,
    since: SystemTime,
    until: SystemTime,
}

const TUPLE: [&str; 9] = [
    "src", "dst", "sport", "dport", "type", "code", "id", "srckey", "dstkey",
];

/// The words of a line from first to last; anything that is not known fails.
struct Words<'a> {
    line: &'a str,
    words: VecDeque<&'a str>,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> &'a str {
        self.words
            .pop_front()
            .unwrap_or_else(|| panic!("{:?} is cut off", self.line))
    }

    fn number(&mut self) -> u64 {
        let word = self.next();
        word.parse()
            .unwrap_or_else(|_| panic!("{word:?} is not a number: {:?}", self.line))
    }

    /// The value of the next word if it is that of `name`.
    fn value(&mut self, name: &str) -> Option<&'a str> {
        let value = self.words.front()?.strip_prefix(name)?.strip_prefix('=')?;
        self.words.pop_front();
        Some(value)
    }

    fn valued(&mut self, name: &str) -> Option<u64> {
        let value = self.value(name)?;
        Some(value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
    }

    fn flag(&mut self, name: &str) -> bool {
        let there = self.words.front() == Some(&name);
        if there {
            self.words.pop_front();
        }
        there
    }

    fn tuple(&mut self) -> Fields {
        let mut fields = Fields::new();
        for name in TUPLE {
            if let Some(value) = self.value(name) {
                fields.insert(name, value.to_owned());
            }
        }
        fields
    }

    fn counters(&mut self) -> Option<(u64, u64)> {
        let packets = self.valued("packets")?;
        Some((packets, self.valued("bytes").expect("bytes with packets")))
    }
}

/// What the GRE tracker prints in place of a state: its time-outs, each with a comma or not.
fn gre_timeouts(words: &mut Words<'_>) {
    for name in ["timeout", "stream_timeout"] {
        let value = words.value(name).expect(name).trim_end_matches(',');
        assert!(value.parse::<u32>().is_ok(), "{name}={value}");
    }
}

fn parse(line: &str) -> (Line, Moving) {
    let mut words = Words {
        line,
        words: line.split_whitespace().collect(),
    };
    let family = (words.next().to_owned(), words.number());
    let protocol = (words.next().to_owned(), words.number());
    // Flows of a flow table have no time-out, and a word that begins a tuple is no number.
    let timed = words
        .words
        .front()
        .is_some_and(|word| word.parse::<u64>().is_ok());
    let timeout = timed.then(|| words.number());
    let mut state = None;
    if protocol.0 == "gre" {
        gre_timeouts(&mut words);
    } else if words.words.front().is_some_and(|word| !word.contains('=')) {
        state = Some(words.next().to_owned());
    }
    let orig = words.tuple();
    let zone_orig = words.valued("zone-orig");
    let orig_counters = words.counters();
    let unreplied = words.flag("[UNREPLIED]");
    let reply = words.tuple();
    let zone_reply = words.valued("zone-reply");
    let reply_counters = words.counters();
    let flag = ["[HW_OFFLOAD]", "[OFFLOAD]", "[ASSURED]"]
        .into_iter()
        .find(|flag| words.flag(flag));
    let mark = words.valued("mark");
    assert_eq!(words.value("secctx"), None, "{line:?}");
    let zone = words.valued("zone");
    let delta = words.valued("delta-time");
    let uses = words.valued("use").expect("use=");
    assert!(words.words.is_empty(), "{:?} in {line:?}", words.words);
    let line = Line {
        family,
        protocol,
        state,
        orig,
        reply,
        zone_orig,
        zone_reply,
        zone,
        orig_counters,
        reply_counters,
        unreplied,
        flag,
        mark,
    };
    let moving = Moving {
        timeout,
        delta,
        uses,
    };
    (line, moving)
}

/// The file of this thread's namespace.
fn shot() -> Shot {
    let since = SystemTime::now();
    let text = std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap();
    let until = SystemTime::now();
    let mut lines: Vec<_> = text.lines().map(parse).collect();
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    Shot {
        lines,
        since,
        until,
    }
}

/// As `%pI6` has it: every digit.
fn address(address: std::net::IpAddr) -> String {
    match address {
        std::net::IpAddr::V4(address) => address.to_string(),
        std::net::IpAddr::V6(address) => {
            let groups = address.segments().map(|group| format!("{group:04x}"));
            groups.join(":")
        }
    }
}

fn fields(tuple: &Tuple) -> Fields {
    let mut fields = Fields::from([("src", address(tuple.src())), ("dst", address(tuple.dst()))]);
    if let Some(ports) = tuple.layer4().ports() {
        fields.extend([
            ("sport", ports.src.to_string()),
            ("dport", ports.dst.to_string()),
        ]);
    }
    if let Some((kind, code, id)) = tuple.icmp_fields() {
        fields.extend([
            ("type", kind.to_string()),
            ("code", code.to_string()),
            ("id", id.to_string()),
        ]);
    }
    if let Layer4::Gre(keys) = tuple.layer4() {
        fields.extend([
            ("srckey", format!("{:#x}", keys.src)),
            ("dstkey", format!("{:#x}", keys.dst)),
        ]);
    }
    fields
}

/// The line that the file should have for an entry.
fn line(entry: &Entry) -> Line {
    let status = entry.status().unwrap();
    let number = match entry.family() {
        Family::Ipv4 => 2,
        Family::Ipv6 => 10,
    };
    let name = match entry.layer4() {
        // Printed by name only where they are tracked, which entries show by having ports.
        Layer4::Other(_) => "unknown",
        layer4 => layer4.protocol().name().unwrap(),
    };
    let (mut zone_orig, mut zone_reply, mut zone) = (None, None, None);
    match entry.zone() {
        EntryZone::Both(both) => zone = Some(both.get().into()),
        EntryZone::Orig(orig) => zone_orig = Some(orig.get().into()),
        EntryZone::Reply(reply) => zone_reply = Some(reply.get().into()),
    }
    let counters = |counters: Option<ctnetlink::Counters>| {
        counters.map(|counters| (counters.packets, counters.bytes))
    };
    Line {
        family: (entry.family().to_string(), number),
        protocol: (name.to_owned(), entry.protocol().number().into()),
        state: entry.proto_info().map(|info| match info {
            ProtoInfo::Tcp(info) => info.state.unwrap().to_string(),
            ProtoInfo::Sctp(info) => info.state.to_string(),
            ProtoInfo::Dccp(info) => info.state.to_string(),
            other => panic!("{other:?}"),
        }),
        orig: fields(entry.orig()),
        reply: fields(entry.reply()),
        zone_orig,
        zone_reply,
        zone,
        orig_counters: counters(entry.orig_counters()),
        reply_counters: counters(entry.reply_counters()),
        unreplied: !status.contains(Status::SEEN_REPLY),
        flag: [
            (Status::HW_OFFLOAD, "[HW_OFFLOAD]"),
            (Status::OFFLOAD, "[OFFLOAD]"),
            (Status::ASSURED, "[ASSURED]"),
        ]
        .into_iter()
        .find_map(|(bit, flag)| status.contains(bit).then_some(flag)),
        mark: entry.mark().map(u64::from),
    }
}

impl Shot {
    fn lines(&self) -> Vec<&Line> {
        self.lines.iter().map(|(line, _)| line).collect()
    }

    fn uses(&self) -> Vec<u64> {
        self.lines.iter().map(|(_, moving)| moving.uses).collect()
    }
}

/// Whole seconds from the start of the flow to `now`, as the file rounds them.
fn age(entry: &Entry, now: SystemTime) -> Option<u64> {
    let start = entry.timestamps()?.start()?;
    Some(now.duration_since(start).map_or(0, |age| age.as_secs()))
}

/// What the library lists, when the file shows the same in every field.
///
/// They are two reads: a packet between them would make them differ. So the file is read before and
/// after, until nothing moved meanwhile but the clocks, for which the two set the bounds.
#[track_caller]
pub(super) fn agreed(ct: &Conntrack) -> Vec<Entry> {
    let mut uses = Vec::new();
    let mut differences = 0;
    for _ in 0..1000 {
        let before = shot();
        let mut entries = listed(ct, &Filter::new());
        let after = shot();
        if before.lines() != after.lines() {
            std::thread::yield_now();
            continue;
        }
        entries.sort_by_key(line);
        let ours: Vec<_> = entries.iter().map(line).collect();
        // Either walk may show an entry twice while other namespaces' entries come and go.
        if ours.iter().collect::<Vec<_>>() != before.lines() && differences < 20 {
            differences += 1;
            std::thread::yield_now();
            continue;
        }
        assert_eq!(ours.iter().collect::<Vec<_>>(), before.lines());
        let held = entries
            .iter()
            .map(|entry| u64::from(entry.use_count().unwrap()) + 1);
        uses = vec![before.uses(), held.collect(), after.uses()];
        if uses[0] != uses[1] || uses[1] != uses[2] {
            std::thread::yield_now();
            continue;
        }
        for ((entry, (_, first)), (_, last)) in entries.iter().zip(&before.lines).zip(&after.lines)
        {
            let left = entry.timeout().map(|left| left.as_secs());
            assert!(
                last.timeout <= left && left <= first.timeout,
                "{entry}: {first:?} {last:?}"
            );
            for (moving, shot) in [(first, &before), (last, &after)] {
                let bounds = (age(entry, shot.since), age(entry, shot.until));
                assert!(
                    bounds.0 <= moving.delta && moving.delta <= bounds.1,
                    "{entry}: {moving:?} {bounds:?}"
                );
            }
            assert_eq!(entry.unknown(), [], "{entry}");
        }
        return entries;
    }
    panic!("the table never stood still; uses before, listed and after: {uses:?}");
}
