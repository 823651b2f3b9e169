//! The line of conntrack(8).
//!
//! ```text
//! [FAMILY NUMBER] PROTOCOL NUMBER [TIMEOUT] [STATE] TUPLE [COUNTERS] [[UNREPLIED]] TUPLE [COUNTERS]
//! [[ASSURED]] [mark=] [secmark=] [secctx=] [zone=] [delta-time=] [[start=]] [[stop=]] [helper=] [use=] [id=] [labels=]
//! ```

use std::fmt::{self, Write};
use std::time::SystemTime;

use super::gather::Gather;
use super::moment::{Moment, since_epoch};
use super::{EntryDisplay, Format, Happening, Word};
use crate::model::{
    Counters, Entry, EntryZone, Family, LabelNames, Layer4, ProtoInfo, Status, Timestamps, Tuple,
};

fn tuple(g: &mut Gather<'_, '_>, tuple: &Tuple) -> fmt::Result {
    g.text(" src=")?;
    g.address(tuple.src())?;
    g.text(" dst=")?;
    g.address(tuple.dst())?;
    layer4(g, tuple.layer4)
}

fn layer4(g: &mut Gather<'_, '_>, layer4: Layer4) -> fmt::Result {
    let (kind, code, id) = match layer4 {
        Layer4::Gre(keys) => return write!(g, " srckey={:#x} dstkey={:#x}", keys.src, keys.dst),
        Layer4::Icmp(key) => (key.kind, key.code, key.id),
        Layer4::Icmpv6(key) => (key.kind, key.code, key.id),
        layer4 => {
            return match layer4.ports() {
                Some(ports) => {
                    g.field(" sport=", ports.src)?;
                    g.field(" dport=", ports.dst)
                }
                None => Ok(()),
            };
        }
    };
    g.field(" type=", kind)?;
    g.field(" code=", code)?;
    g.field(" id=", id)
}

/// What a protocol adds to the addresses, with a space before it.
pub(crate) struct Layer4Text(pub(crate) Layer4);

impl fmt::Display for Layer4Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gather = Gather::new(f);
        layer4(&mut gather, self.0)?;
        gather.end()
    }
}

fn counters(g: &mut Gather<'_, '_>, counters: Option<Counters>) -> fmt::Result {
    match counters {
        Some(counters) => {
            g.field(" packets=", counters.packets)?;
            g.field(" bytes=", counters.bytes)
        }
        None => Ok(()),
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
    let mut gather = Gather::new(f);
    gathered(&mut gather, line)?;
    gather.end()
}

fn gathered(g: &mut Gather<'_, '_>, line: &EntryDisplay<'_>) -> fmt::Result {
    let entry = line.entry;
    if let Some(happening) = line.happening {
        if let Some(at) = line.heard.map(since_epoch) {
            write!(g, "[{:08}.{:06}]\t", at.as_secs(), at.subsec_micros())?;
        }
        g.text(match happening {
            Happening::New => "    [NEW] ",
            Happening::Update => " [UPDATE] ",
            Happening::Destroy => "[DESTROY] ",
        })?;
    }
    if line.format == Format::Extended {
        let family = entry.family();
        g.column(match family {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        })?;
        g.field(" ", family.number())?;
        g.text(" ")?;
    }
    let protocol = entry.protocol();
    g.column(protocol.name().unwrap_or("unknown"))?;
    g.field(" ", protocol.number())?;
    if let Some(timeout) = entry.timeout {
        g.field(" ", timeout)?;
    }
    if let Some(state) = entry.proto_info.as_ref().and_then(ProtoInfo::state_name) {
        g.text(" ")?;
        g.text(&state)?;
    }
    tuple(g, &entry.orig)?;
    if let EntryZone::Orig(zone) = entry.zone {
        g.field(" zone-orig=", zone.get())?;
    }
    counters(g, entry.orig_counters)?;
    let has = |bits| entry.status.is_some_and(|status| status.contains(bits));
    if entry.status.is_some() && !has(Status::SEEN_REPLY) {
        g.text(" [UNREPLIED]")?;
    }
    tuple(g, &entry.reply)?;
    if let EntryZone::Reply(zone) = entry.zone {
        g.field(" zone-reply=", zone.get())?;
    }
    counters(g, entry.reply_counters)?;
    if has(Status::HW_OFFLOAD) {
        g.text(" [HW_OFFLOAD]")?;
    } else if has(Status::OFFLOAD) {
        g.text(" [OFFLOAD]")?;
    } else if has(Status::ASSURED) {
        g.text(" [ASSURED]")?;
    }
    if let Some(mark) = entry.mark {
        g.field(" mark=", mark)?;
    }
    if let Some(mark) = entry.security_mark() {
        g.field(" secmark=", mark)?;
    }
    if let Some(context) = entry.security_context() {
        write!(g, " secctx={}", Word(context))?;
    }
    match entry.zone {
        EntryZone::Both(zone) if !zone.is_default() => g.field(" zone=", zone.get())?,
        _ => {}
    }
    if let Some(stamps) = entry.timestamps() {
        moments(g, line, &stamps)?;
    }
    if let Some(helper) = entry.helper() {
        write!(g, " helper={}", Word(helper.as_str()))?;
    }
    if let Some(uses) = entry.use_count {
        g.field(" use=", uses)?;
    }
    if let (true, Some(id)) = (line.id, entry.id) {
        g.field(" id=", id)?;
    }
    match line.labels {
        Some(names) => labels(g, entry, names),
        None => Ok(()),
    }
}

fn moments(f: &mut Gather<'_, '_>, line: &EntryDisplay<'_>, stamps: &Timestamps) -> fmt::Result {
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

fn labels(f: &mut Gather<'_, '_>, entry: &Entry, names: &LabelNames) -> fmt::Result {
    let mut before = " labels=";
    for number in entry.labels().unwrap_or_default().iter() {
        if let Some(name) = names.name(number) {
            write!(f, "{before}{}", Word(name))?;
            before = ",";
        }
    }
    Ok(())
}
