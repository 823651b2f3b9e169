//! The options that make an entry again, as `conntrack -o save` writes and `conntrack -R` reads them.

use std::fmt;

use super::{Address, EntryDisplay, Happening};
use crate::model::{
    DccpInfo, DccpRole, Entry, EntryZone, Layer4, ProtoInfo, SctpInfo, Status, Tuple,
};

pub(super) fn write(f: &mut fmt::Formatter<'_>, line: &EntryDisplay<'_>) -> fmt::Result {
    let entry = line.entry;
    f.write_str(match line.happening {
        None | Some(Happening::New) => "-A",
        Some(Happening::Update) => "-U",
        Some(Happening::Destroy) => "-D",
    })?;
    if let Some(timeout) = entry.timeout {
        write!(f, " -t {timeout}")?;
    }
    if let Some(status) = entry.status {
        write_status(f, status)?;
    }
    match entry.zone {
        EntryZone::Both(zone) if zone.is_default() => {}
        EntryZone::Both(zone) => write!(f, " -w {zone}")?,
        EntryZone::Orig(zone) => write!(f, " --orig-zone {zone}")?,
        EntryZone::Reply(zone) => write!(f, " --reply-zone {zone}")?,
    }
    write_addresses(f, entry)?;
    let protocol = entry.protocol();
    write!(f, " -p {protocol}")?;
    write_layer4(f, &entry.orig, &entry.reply)?;
    match &entry.proto_info {
        Some(ProtoInfo::Tcp(info)) => match info.state {
            Some(state) => write!(f, " --state {state}"),
            None => Ok(()),
        },
        Some(ProtoInfo::Sctp(info)) => write_sctp(f, info),
        Some(ProtoInfo::Dccp(info)) => write_dccp(f, info),
        None => Ok(()),
    }
}

/// The bits that `-u` can set.
fn write_status(f: &mut fmt::Formatter<'_>, status: Status) -> fmt::Result {
    const TOLD: [(Status, &str); 4] = [
        (Status::EXPECTED, "EXPECTED"),
        (Status::SEEN_REPLY, "SEEN_REPLY"),
        (Status::ASSURED, "ASSURED"),
        (Status::FIXED_TIMEOUT, "FIXED_TIMEOUT"),
    ];
    let mut before = " -u ";
    for (bit, name) in TOLD {
        if status.contains(bit) {
            write!(f, "{before}{name}")?;
            before = ",";
        }
    }
    if before == " -u " {
        f.write_str(" -u UNSET")?;
    }
    Ok(())
}

/// An address of the reply is one that translation chose (`-g`, `-n`) where it is another than
/// without, and translation of its kind was decided on.
fn write_addresses(f: &mut fmt::Formatter<'_>, entry: &Entry) -> fmt::Result {
    let (orig, reply) = (&entry.orig, &entry.reply);
    let decided = |bit| entry.status.is_none_or(|status| status.contains(bit));
    let src = if decided(Status::DST_NAT_DONE) && reply.src() != orig.dst() {
        "-g"
    } else {
        "-r"
    };
    let dst = if decided(Status::SRC_NAT_DONE) && reply.dst() != orig.src() {
        "-n"
    } else {
        "-q"
    };
    write!(
        f,
        " -s {} -d {} {src} {} {dst} {}",
        Address(orig.src()),
        Address(orig.dst()),
        Address(reply.src()),
        Address(reply.dst())
    )
}

fn write_layer4(f: &mut fmt::Formatter<'_>, orig: &Tuple, reply: &Tuple) -> fmt::Result {
    match orig.layer4 {
        Layer4::Gre(keys) => write!(f, " --srckey {} --dstkey {}", keys.src, keys.dst)?,
        // Of the answer nothing is said: it follows from the question.
        Layer4::Icmp(key) => {
            write!(
                f,
                " --icmp-type {} --icmp-code {} --icmp-id {}",
                key.kind, key.code, key.id
            )?;
        }
        Layer4::Icmpv6(key) => {
            write!(
                f,
                " --icmpv6-type {} --icmpv6-code {} --icmpv6-id {}",
                key.kind, key.code, key.id
            )?;
        }
        layer4 => {
            if let Some(ports) = layer4.ports() {
                write!(f, " --sport {} --dport {}", ports.src, ports.dst)?;
            }
        }
    }
    match reply.layer4 {
        Layer4::Gre(keys) => write!(
            f,
            " --reply-key-src {} --reply-key-dst {}",
            keys.src, keys.dst
        ),
        layer4 => match layer4.ports() {
            Some(ports) => write!(
                f,
                " --reply-port-src {} --reply-port-dst {}",
                ports.src, ports.dst
            ),
            None => Ok(()),
        },
    }
}

/// conntrack 1.4.7 writes and reads verification tags in the order of the host's bytes, while the
/// kernel keeps them in the order of the wire.
fn write_sctp(f: &mut fmt::Formatter<'_>, info: &SctpInfo) -> fmt::Result {
    write!(f, " --state {}", info.state)?;
    for (option, tag) in [
        ("--orig-vtag", info.orig_vtag),
        ("--reply-vtag", info.reply_vtag),
    ] {
        if let Some(tag) = tag {
            write!(f, " {option} {}", u32::from_ne_bytes(tag.to_be_bytes()))?;
        }
    }
    Ok(())
}

fn write_dccp(f: &mut fmt::Formatter<'_>, info: &DccpInfo) -> fmt::Result {
    write!(f, " --state {}", info.state)?;
    match info.role {
        Some(DccpRole::Client) => f.write_str(" --role client"),
        Some(DccpRole::Server) => f.write_str(" --role server"),
        // There is no word for another.
        Some(DccpRole::Other(_)) | None => Ok(()),
    }
}
