//! Expectations, beyond the line that the library writes.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use ctnetlink::{Event, Expectation, Layer4, Tuple};

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
        let expectation = self.0;
        direction(f, "expected", expectation.tuple(), None)?;
        let mask = expectation.mask();
        if let Some(src) = mask.src {
            direction(f, "mask", expectation.tuple(), Some((src, mask.src_port)))?;
        }
        direction(f, "master", expectation.master(), None)?;
        if let Some(timeout) = expectation.timeout() {
            write!(
                f,
                "<meta direction=\"independent\"><timeout>{}</timeout></meta>",
                timeout.as_secs()
            )?;
        }
        f.write_str("</flow>")
    }
}

fn direction(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    tuple: &Tuple,
    mask: Option<(IpAddr, Option<u16>)>,
) -> fmt::Result {
    let (family, protocol) = (tuple.family(), tuple.protocol());
    let number = if family == ctnetlink::Family::Ipv4 {
        2
    } else {
        10
    };
    let every: IpAddr = match tuple.dst() {
        IpAddr::V4(_) => [255; 4].into(),
        IpAddr::V6(_) => [255; 16].into(),
    };
    let (src, dst) = match mask {
        Some((src, _)) => (src, every),
        None => (tuple.src(), tuple.dst()),
    };
    let name_of = protocol.name().unwrap_or("unknown");
    write!(
        f,
        "<meta direction=\"{name}\"><layer3 protonum=\"{number}\" protoname=\"{family}\">\
         <src>{src}</src><dst>{dst}</dst></layer3>\
         <layer4 protonum=\"{}\" protoname=\"{name_of}\">",
        protocol.number()
    )?;
    let ports = match tuple.layer4() {
        Layer4::Icmp(_) | Layer4::Icmpv6(_) => None,
        _ => tuple.src_port().zip(tuple.dst_port()),
    };
    if let Some((src, dst)) = ports {
        let (src, dst) = match mask {
            Some((_, port)) => (port.unwrap_or(u16::MAX), u16::MAX),
            None => (src, dst),
        };
        write!(f, "<sport>{src}</sport><dport>{dst}</dport>")?;
    }
    f.write_str("</layer4></meta>")
}
