//! Expectations, beyond the line that the library writes.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use ctnetlink::{Event, ExpectFlags, Expectation, Family, Layer4, Tuple};

/// What conntrack(8) prints before the line of an event.
pub(super) fn happening(event: &Event) -> &'static str {
    match event {
        Event::ExpectNew(_) => "    [NEW] ",
        Event::ExpectUpdate(_) => " [UPDATE] ",
        Event::ExpectDestroy(_) => "[DESTROY] ",
        _ => "",
    }
}

/// A moment before a line, if it is wanted.
pub(super) struct Stamp(pub(super) Option<SystemTime>);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(at) = self.0 else { return Ok(()) };
        let at = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        write!(f, "[{:<8}.{:<6}]\t", at.as_secs(), at.subsec_micros())
    }
}

/// An element `<flow>`, as `libnetfilter_conntrack` writes expectations.
pub(super) struct Xml<'a>(pub(super) &'a Expectation, pub(super) Option<&'a Event>);

impl fmt::Display for Xml<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.1 {
            Some(Event::ExpectNew(_)) => "<flow type=\"new\">",
            Some(Event::ExpectUpdate(_)) => "<flow type=\"update\">",
            Some(Event::ExpectDestroy(_)) => "<flow type=\"destroy\">",
            _ => "<flow>",
        })?;
        let (tuple, master) = (self.0.tuple(), self.0.master());
        let mask = Mask::of(self.0);
        let family = tuple.family();
        let number = if family == Family::Ipv4 { 2 } else { 10 };
        write!(f, "<layer3 protonum=\"{number}\" protoname=\"{family}\">")?;
        addresses(f, "expected", tuple.src(), tuple.dst())?;
        if let Some(src) = mask.src {
            addresses(f, "mask", src, mask.dst)?;
        }
        addresses(f, "master", master.src(), master.dst())?;
        let protocol = tuple.protocol();
        write!(
            f,
            "</layer3><layer4 protonum=\"{}\" protoname=\"{}\">",
            protocol.number(),
            protocol.name().unwrap_or("unknown")
        )?;
        ports(f, "expected", numbers(tuple))?;
        if numbers(tuple).is_some() {
            ports(f, "mask", mask.port.map(|port| (port, u16::MAX)))?;
        }
        ports(f, "master", numbers(master))?;
        f.write_str("</layer4><meta>")?;
        if let Some(helper) = self.0.helper() {
            write!(f, "<helper-name>{}</helper-name>", Text(helper.as_str()))?;
        }
        if let Some(timeout) = self.0.timeout() {
            write!(f, "<timeout>{}</timeout>", timeout.as_secs())?;
        }
        if let Some(class) = self.0.class() {
            write!(f, "<class>{class}</class>")?;
        }
        if let Some(zone) = self.0.zone().filter(|zone| !zone.is_default()) {
            write!(f, "<zone>{zone}</zone>")?;
        }
        let flags = self.0.flags().unwrap_or_default();
        for (flag, name) in [
            (ExpectFlags::PERMANENT, "<permanent/>"),
            (ExpectFlags::INACTIVE, "<inactive/>"),
            (ExpectFlags::USERSPACE, "<userspace/>"),
        ] {
            if flags.contains(flag) {
                f.write_str(name)?;
            }
        }
        f.write_str("</meta></flow>")
    }
}

/// The bits that count. Of the destination all do.
struct Mask {
    src: Option<IpAddr>,
    dst: IpAddr,
    port: Option<u16>,
}

impl Mask {
    fn of(expectation: &Expectation) -> Self {
        let mask = expectation.mask();
        Self {
            src: mask.src,
            dst: match expectation.tuple().family() {
                Family::Ipv4 => [255; 4].into(),
                Family::Ipv6 => [255; 16].into(),
            },
            port: mask.src_port,
        }
    }
}

fn numbers(tuple: &Tuple) -> Option<(u16, u16)> {
    match tuple.layer4() {
        Layer4::Gre(keys) => Some((keys.src, keys.dst)),
        layer4 => layer4.ports().map(|ports| (ports.src, ports.dst)),
    }
}

fn addresses(f: &mut fmt::Formatter<'_>, name: &str, src: IpAddr, dst: IpAddr) -> fmt::Result {
    write!(f, "<{name}><src>{src}</src><dst>{dst}</dst></{name}>")
}

fn ports(f: &mut fmt::Formatter<'_>, name: &str, ports: Option<(u16, u16)>) -> fmt::Result {
    match ports {
        Some((src, dst)) => {
            write!(
                f,
                "<{name}><sport>{src}</sport><dport>{dst}</dport></{name}>"
            )
        }
        None => Ok(()),
    }
}

/// A helper's name, which may be anything, as text of an element.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                _ if c.is_control() => write!(f, "{}", char::REPLACEMENT_CHARACTER)?,
                _ => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}
