//! An entry as conntrack(8)'s element `<flow>`.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

use super::moment::{Moment, since_epoch};
use super::{Address, EntryDisplay, Happening};
use crate::model::{Counters, EntryZone, Layer4, ProtoInfo, Status, Timestamps, Tuple, Zone};

/// A name that somebody chose, as text of an element. What XML cannot hold is U+FFFD, and no line
/// ends in it.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&apos;")?,
                '\t' | '\n' | '\r' => write!(f, "&#{};", u32::from(c))?,
                // Not a Char of XML 1.0 (section 2.2), by reference neither.
                '\0'..' ' | '\u{fffe}' | '\u{ffff}' => f.write_char(char::REPLACEMENT_CHARACTER)?,
                ' ' => f.write_char(c)?,
                _ if c.is_control() || c.is_whitespace() => write!(f, "&#{};", u32::from(c))?,
                _ => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

pub(super) fn write(f: &mut fmt::Formatter<'_>, flow: &EntryDisplay<'_>) -> fmt::Result {
    let entry = flow.entry;
    f.write_str(match flow.happening {
        None => "<flow>",
        Some(Happening::New) => "<flow type=\"new\">",
        Some(Happening::Update) => "<flow type=\"update\">",
        Some(Happening::Destroy) => "<flow type=\"destroy\">",
    })?;
    let (orig_zone, reply_zone) = match entry.zone {
        EntryZone::Both(_) => (None, None),
        EntryZone::Orig(zone) => (Some(zone), None),
        EntryZone::Reply(zone) => (None, Some(zone)),
    };
    write_direction(f, "original", &entry.orig, orig_zone, entry.orig_counters)?;
    write_direction(f, "reply", &entry.reply, reply_zone, entry.reply_counters)?;
    write_independent(f, flow)?;
    if let (Some(heard), Some(_)) = (flow.heard, flow.happening) {
        let when = Moment::new(heard, flow.utc_offset);
        write!(
            f,
            "<when><hour>{}</hour><min>{:02}</min><sec>{:02}</sec><wday>{}</wday><day>{}</day>\
             <month>{}</month><year>{}</year></when>",
            when.hour,
            when.minute,
            when.second,
            when.weekday + 1,
            when.day,
            when.month,
            when.year
        )?;
    }
    if let Some(helper) = entry.helper() {
        write!(f, "<helper>{}</helper>", Text(helper.as_str()))?;
    }
    f.write_str("</flow>")
}

fn write_direction(
    f: &mut fmt::Formatter<'_>,
    direction: &str,
    tuple: &Tuple,
    zone: Option<Zone>,
    counters: Option<Counters>,
) -> fmt::Result {
    let (family, protocol) = (tuple.family(), tuple.protocol());
    let number = family.number();
    write!(
        f,
        "<meta direction=\"{direction}\"><layer3 protonum=\"{number}\" protoname=\"{family}\">\
         <src>{}</src><dst>{}</dst></layer3><layer4 protonum=\"{}\" protoname=\"{}\">",
        Address(tuple.src()),
        Address(tuple.dst()),
        protocol.number(),
        protocol.name().unwrap_or("unknown")
    )?;
    match tuple.layer4 {
        Layer4::Gre(keys) => write!(
            f,
            "<srckey>{:#x}</srckey><dstkey>{:#x}</dstkey>",
            keys.src, keys.dst
        )?,
        layer4 => {
            if let Some(ports) = layer4.ports() {
                write!(
                    f,
                    "<sport>{}</sport><dport>{}</dport>",
                    ports.src, ports.dst
                )?;
            }
        }
    }
    f.write_str("</layer4>")?;
    if let Some(zone) = zone {
        write!(f, "<zone>{zone}</zone>")?;
    }
    if let Some(counters) = counters {
        write!(
            f,
            "<counters><packets>{}</packets><bytes>{}</bytes></counters>",
            counters.packets, counters.bytes
        )?;
    }
    f.write_str("</meta>")
}

/// What both directions share. Where the kernel said nothing of it, there is no such element.
fn write_independent(f: &mut fmt::Formatter<'_>, flow: &EntryDisplay<'_>) -> fmt::Result {
    let entry = flow.entry;
    let state = entry.proto_info.as_ref().and_then(ProtoInfo::state_name);
    let zone = match entry.zone {
        EntryZone::Both(zone) if !zone.is_default() => Some(zone),
        _ => None,
    };
    let stamps = entry.timestamps().unwrap_or_default();
    let has_any = state.is_some()
        || entry.timeout.is_some()
        || entry.mark.is_some()
        || entry.security_mark().is_some()
        || entry.security_context().is_some()
        || zone.is_some()
        || entry.use_count.is_some()
        || entry.status.is_some()
        || entry.id.is_some()
        || entry.labels().is_some()
        || stamps.start.is_some()
        || stamps.stop.is_some();
    if !has_any {
        return Ok(());
    }
    f.write_str("<meta direction=\"independent\">")?;
    if let Some(state) = state {
        write!(f, "<state>{state}</state>")?;
    }
    if let Some(timeout) = entry.timeout {
        write!(f, "<timeout>{timeout}</timeout>")?;
    }
    if let Some(mark) = entry.mark {
        write!(f, "<mark>{mark}</mark>")?;
    }
    if let (Some(names), Some(labels)) = (flow.labels, entry.labels()) {
        f.write_str("<labels>")?;
        for name in labels.iter().filter_map(|number| names.name(number)) {
            write!(f, "<label>{}</label>", Text(name))?;
        }
        f.write_str("</labels>")?;
    }
    if let Some(mark) = entry.security_mark() {
        write!(f, "<secmark>{mark}</secmark>")?;
    }
    if let Some(context) = entry.security_context() {
        write!(f, "<secctx>{}</secctx>", Text(context))?;
    }
    if let Some(zone) = zone {
        write!(f, "<zone>{zone}</zone>")?;
    }
    if let Some(uses) = entry.use_count {
        write!(f, "<use>{uses}</use>")?;
    }
    if let Some(id) = entry.id {
        write!(f, "<id>{id}</id>")?;
    }
    if let Some(status) = entry.status {
        if status.contains(Status::ASSURED) {
            f.write_str("<assured/>")?;
        }
        if !status.contains(Status::SEEN_REPLY) {
            f.write_str("<unreplied/>")?;
        }
    }
    write_moments(f, flow, &stamps)?;
    f.write_str("</meta>")
}

fn write_moments(
    f: &mut fmt::Formatter<'_>,
    flow: &EntryDisplay<'_>,
    stamps: &Timestamps,
) -> fmt::Result {
    if flow.timestamps && (stamps.start.is_some() || stamps.stop.is_some()) {
        f.write_str("<timestamp>")?;
        if let Some(start) = stamps.start {
            write!(f, "<start>{start}</start>")?;
        }
        if let Some(stop) = stamps.stop {
            write!(f, "<stop>{stop}</stop>")?;
        }
        f.write_str("</timestamp>")?;
    }
    let Some(start) = stamps.start else {
        return Ok(());
    };
    // Of what has ended the whole seconds of the difference, unlike in a line, where it is the
    // difference of whole seconds.
    let seconds = if let Some(stop) = stamps.stop {
        Duration::from_nanos(stop.saturating_sub(start)).as_secs()
    } else {
        let now = since_epoch(flow.now.unwrap_or_else(SystemTime::now));
        let start = Duration::from_nanos(start).as_secs();
        now.as_secs().saturating_sub(start)
    };
    write!(f, "<deltatime>{seconds}</deltatime>")
}
