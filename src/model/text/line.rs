//! The line of conntrack(8).
//!
//! ```text
//! [FAMILY NUMBER] PROTOCOL NUMBER [TIMEOUT] [STATE] TUPLE [COUNTERS] [[UNREPLIED]] TUPLE [COUNTERS]
//! [[ASSURED]] [mark=] [secmark=] [secctx=] [zone=] [delta-time=] [[start=]] [[stop=]] [helper=] [use=] [id=] [labels=]
//! ```

use std::fmt;
use std::time::SystemTime;

use super::moment::{Moment, since_epoch};
use super::{Address, EntryDisplay, Format, Happening, Word};
use crate::model::{
    Counters, Entry, EntryZone, LabelNames, Layer4, ProtoInfo, Status, Timestamps, Tuple,
};

struct TupleText<'a>(&'a Tuple);

impl fmt::Display for TupleText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (src, dst) = (Address(self.0.src()), Address(self.0.dst()));
        write!(f, " src={src} dst={dst}{}", Layer4Text(self.0.layer4))
    }
}

/// What a protocol adds to the addresses, with a space before it.
pub(crate) struct Layer4Text(pub(crate) Layer4);

impl fmt::Display for Layer4Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, code, id) = match self.0 {
            Layer4::Gre(keys) => {
                return write!(f, " srckey={:#x} dstkey={:#x}", keys.src, keys.dst);
            }
            Layer4::Icmp(key) => (key.kind, key.code, key.id),
            Layer4::Icmpv6(key) => (key.kind, key.code, key.id),
            layer4 => {
                return match layer4.ports() {
                    Some(ports) => write!(f, " sport={} dport={}", ports.src, ports.dst),
                    None => Ok(()),
                };
            }
        };
        write!(f, " type={kind} code={code} id={id}")
    }
}

struct CountersText(Option<Counters>);

impl fmt::Display for CountersText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(counters) => write!(f, " packets={} bytes={}", counters.packets, counters.bytes),
            None => Ok(()),
        }
    }
}

/// The line, without what depends on when and where it is printed. `{:#}` is extended, with the id.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = if f.alternate() {
            Format::Extended
        } else {
            Format::Plain
        };
        let line = EntryDisplay {
            age: false,
            id: f.alternate(),
            ..EntryDisplay::new(self, format)
        };
        write(f, &line)
    }
}

pub(super) fn write(f: &mut fmt::Formatter<'_>, line: &EntryDisplay<'_>) -> fmt::Result {
    let entry = line.entry;
    if let Some(happening) = line.happening {
        if let Some(at) = line.heard.map(since_epoch) {
            write!(f, "[{:08}.{:06}]\t", at.as_secs(), at.subsec_micros())?;
        }
        f.write_str(match happening {
            Happening::New => "    [NEW] ",
            Happening::Update => " [UPDATE] ",
            Happening::Destroy => "[DESTROY] ",
        })?;
    }
    if line.format == Format::Extended {
        let family = entry.family();
        write!(f, "{family:<8} {} ", family.number())?;
    }
    let protocol = entry.protocol();
    let name = protocol.name().unwrap_or("unknown");
    write!(f, "{name:<8} {}", protocol.number())?;
    if let Some(timeout) = entry.timeout {
        write!(f, " {timeout}")?;
    }
    if let Some(state) = entry.proto_info.as_ref().and_then(ProtoInfo::state_name) {
        write!(f, " {state}")?;
    }
    write!(f, "{}", TupleText(&entry.orig))?;
    if let EntryZone::Orig(zone) = entry.zone {
        write!(f, " zone-orig={zone}")?;
    }
    write!(f, "{}", CountersText(entry.orig_counters))?;
    let has = |bits| entry.status.is_some_and(|status| status.contains(bits));
    if entry.status.is_some() && !has(Status::SEEN_REPLY) {
        f.write_str(" [UNREPLIED]")?;
    }
    write!(f, "{}", TupleText(&entry.reply))?;
    if let EntryZone::Reply(zone) = entry.zone {
        write!(f, " zone-reply={zone}")?;
    }
    write!(f, "{}", CountersText(entry.reply_counters))?;
    if has(Status::HW_OFFLOAD) {
        f.write_str(" [HW_OFFLOAD]")?;
    } else if has(Status::OFFLOAD) {
        f.write_str(" [OFFLOAD]")?;
    } else if has(Status::ASSURED) {
        f.write_str(" [ASSURED]")?;
    }
    if let Some(mark) = entry.mark {
        write!(f, " mark={mark}")?;
    }
    if let Some(mark) = entry.security_mark() {
        write!(f, " secmark={mark}")?;
    }
    if let Some(context) = entry.security_context() {
        write!(f, " secctx={}", Word(context))?;
    }
    match entry.zone {
        EntryZone::Both(zone) if !zone.is_default() => write!(f, " zone={zone}")?,
        _ => {}
    }
    if let Some(stamps) = entry.timestamps() {
        moments(f, line, &stamps)?;
    }
    if let Some(helper) = entry.helper() {
        write!(f, " helper={}", Word(helper.as_str()))?;
    }
    if let Some(uses) = entry.use_count {
        write!(f, " use={uses}")?;
    }
    if let (true, Some(id)) = (line.id, entry.id) {
        write!(f, " id={id}")?;
    }
    match line.labels {
        Some(names) => labels(f, entry, names),
        None => Ok(()),
    }
}

fn moments(
    f: &mut fmt::Formatter<'_>,
    line: &EntryDisplay<'_>,
    stamps: &Timestamps,
) -> fmt::Result {
    if let (true, Some(start)) = (line.age, stamps.start()) {
        let end = stamps.stop().or(line.now).unwrap_or_else(SystemTime::now);
        // Whole seconds of both, as conntrack(8) counts here.
        let (start, end) = (since_epoch(start).as_secs(), since_epoch(end).as_secs());
        write!(f, " delta-time={}", end.saturating_sub(start))?;
    }
    if line.timestamps {
        if let Some(start) = stamps.start() {
            write!(f, " [start={}]", Moment::new(start, line.utc_offset))?;
        }
        if let Some(stop) = stamps.stop() {
            write!(f, " [stop={}]", Moment::new(stop, line.utc_offset))?;
        }
    }
    Ok(())
}

fn labels(f: &mut fmt::Formatter<'_>, entry: &Entry, names: &LabelNames) -> fmt::Result {
    let mut before = " labels=";
    for number in entry.labels().unwrap_or_default().iter() {
        if let Some(name) = names.name(number) {
            write!(f, "{before}{}", Word(name))?;
            before = ",";
        }
    }
    Ok(())
}
