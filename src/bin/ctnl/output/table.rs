//! `-o table`: aligned, and in colour on a terminal.

use std::fmt::Write;
use std::io;
use std::net::IpAddr;

use ctnetlink::{Entry, EntryZone, Event, LabelNames, Layer4, ProtoInfo, Status, Tuple};

use crate::out::Out;

/// Looked at before the first is printed, so that columns have their width. What comes later and is
/// wider stands out of line; memory stays bounded.
const SAMPLE: usize = 512;

const COLUMNS: usize = 10;
const TITLES: [&str; COLUMNS] = [
    "PROTO",
    "STATE",
    "TIMEOUT",
    "FROM",
    "TO",
    "ANSWERED BY",
    "ANSWERED TO",
    "ZONE",
    "MARK",
    "FLAGS",
];
/// Numbers stand to the right.
const RIGHT: [usize; 2] = [2, 8];

type Row = [String; COLUMNS];

/// The rows that wait, and the widths that they made out.
pub(super) struct Table {
    coloured: bool,
    waiting: Vec<Row>,
    widths: Option<[usize; COLUMNS]>,
    line: String,
}

impl Table {
    pub(super) fn new(coloured: bool) -> Self {
        Self {
            coloured,
            waiting: Vec::new(),
            widths: None,
            line: String::new(),
        }
    }

    pub(super) fn entry(
        &mut self,
        out: &mut Out,
        entry: &Entry,
        labels: Option<&LabelNames>,
    ) -> io::Result<()> {
        self.row(out, row(entry, labels))
    }

    /// Events are printed as they come: their columns have a width of their own.
    pub(super) fn event(
        &mut self,
        out: &mut Out,
        event: &Event,
        entry: &Entry,
        labels: Option<&LabelNames>,
    ) -> io::Result<()> {
        let what = match event {
            Event::New(_) => "NEW",
            Event::Destroy(_) => "DESTROY",
            _ => "UPDATE",
        };
        let mut row = row(entry, labels);
        row[0] = format!("{what:<8}{}", row[0]);
        if self.widths.is_none() {
            self.widths = Some([16, 12, 7, 21, 21, 21, 21, 5, 5, 5]);
            self.print(out, &TITLES.map(str::to_owned), true)?;
        }
        self.row(out, row)
    }

    fn row(&mut self, out: &mut Out, row: Row) -> io::Result<()> {
        if self.widths.is_some() {
            return self.print(out, &row, false);
        }
        self.waiting.push(row);
        if self.waiting.len() < SAMPLE {
            return Ok(());
        }
        self.release(out)
    }

    fn release(&mut self, out: &mut Out) -> io::Result<()> {
        let mut widths = TITLES.map(str::len);
        for row in &self.waiting {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.len());
            }
        }
        self.widths = Some(widths);
        self.print(out, &TITLES.map(str::to_owned), true)?;
        for row in std::mem::take(&mut self.waiting) {
            self.print(out, &row, false)?;
        }
        Ok(())
    }

    pub(super) fn end(&mut self, out: &mut Out) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.release(out)
    }

    fn print(&mut self, out: &mut Out, row: &Row, title: bool) -> io::Result<()> {
        let widths = self.widths.unwrap_or_default();
        self.line.clear();
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            if at > 0 {
                self.line.push_str("  ");
            }
            let colour = match at {
                _ if !self.coloured => None,
                _ if title => Some("1"),
                1 => colour_of(cell),
                _ => None,
            };
            if let Some(colour) = colour {
                let _ = write!(self.line, "\x1b[{colour}m");
            }
            let _ = if RIGHT.contains(&at) {
                write!(self.line, "{cell:>width$}")
            } else {
                write!(self.line, "{cell:<width$}")
            };
            if colour.is_some() {
                self.line.push_str("\x1b[0m");
            }
        }
        out.line(self.line.trim_end())
    }
}

fn colour_of(state: &str) -> Option<&'static str> {
    match state {
        "ESTABLISHED" | "OPEN" => Some("32"),
        "SYN_SENT" | "SYN_RECV" | "SYN_SENT2" | "REQUEST" | "RESPOND" | "COOKIE_WAIT"
        | "COOKIE_ECHOED" => Some("33"),
        "" => None,
        _ => Some("2"),
    }
}

fn end(address: IpAddr, port: Option<u16>) -> String {
    match (address, port) {
        (address, None) => address.to_string(),
        (IpAddr::V4(address), Some(port)) => format!("{address}:{port}"),
        (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
    }
}

fn ends(tuple: &Tuple) -> (String, String) {
    let (src, dst) = match tuple.layer4() {
        Layer4::Gre(keys) => (Some(keys.src), Some(keys.dst)),
        _ => (tuple.src_port(), tuple.dst_port()),
    };
    (end(tuple.src(), src), end(tuple.dst(), dst))
}

fn row(entry: &Entry, labels: Option<&LabelNames>) -> Row {
    let (orig, reply) = (entry.orig(), entry.reply());
    let mut protocol = orig.protocol().to_string();
    if let Some((kind, code, _)) = orig.icmp_fields() {
        let _ = write!(protocol, " {kind}/{code}");
    }
    let (from, to) = ends(orig);
    // What is as anybody would expect is not said.
    let (by, back) = if *reply == orig.reply() {
        (String::new(), String::new())
    } else {
        ends(reply)
    };
    let zone = match entry.zone() {
        EntryZone::Both(zone) if zone.is_default() => String::new(),
        EntryZone::Both(zone) => zone.to_string(),
        EntryZone::Orig(zone) => format!("{zone} >"),
        EntryZone::Reply(zone) => format!("< {zone}"),
    };
    [
        protocol,
        entry
            .proto_info()
            .and_then(state)
            .map(str::to_owned)
            .unwrap_or_default(),
        entry
            .timeout()
            .map(|timeout| timeout.as_secs().to_string())
            .unwrap_or_default(),
        from,
        to,
        by,
        back,
        zone,
        entry
            .mark()
            .filter(|mark| *mark != 0)
            .map(|mark| mark.to_string())
            .unwrap_or_default(),
        flags(entry, labels),
    ]
}

fn state(info: &ProtoInfo) -> Option<&'static str> {
    match info {
        ProtoInfo::Tcp(info) => info.state?.name(),
        ProtoInfo::Sctp(info) => info.state.name(),
        ProtoInfo::Dccp(info) => info.state.name(),
        _ => None,
    }
}

fn flags(entry: &Entry, labels: Option<&LabelNames>) -> String {
    const SHOWN: [(Status, &str); 8] = [
        (Status::ASSURED, "assured"),
        (Status::SRC_NAT, "snat"),
        (Status::DST_NAT, "dnat"),
        (Status::EXPECTED, "expected"),
        (Status::FIXED_TIMEOUT, "fixed"),
        (Status::OFFLOAD, "offload"),
        (Status::HW_OFFLOAD, "hw-offload"),
        (Status::DYING, "dying"),
    ];
    let mut words = Vec::new();
    if let Some(status) = entry.status() {
        if !status.contains(Status::SEEN_REPLY) {
            words.push("unreplied".to_owned());
        }
        let shown = SHOWN.iter().filter(|(bit, _)| status.contains(*bit));
        words.extend(shown.map(|(_, name)| (*name).to_owned()));
    }
    if let Some(helper) = entry.helper() {
        words.push(format!("helper={}", helper.as_str().escape_default()));
    }
    if let (Some(names), Some(set)) = (labels, entry.labels()) {
        words.push(format!("labels={}", names.show(set).escape_default()));
    }
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plain_is_not_said_and_what_is_translated_is() {
        let line = "tcp 6 431999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=443 \
                    src=10.0.0.2 dst=10.0.0.1 sport=443 dport=40000 [ASSURED] mark=7 zone=5";
        let cells = row(&line.parse().unwrap(), None);
        assert_eq!(
            cells[0..5],
            [
                "tcp",
                "ESTABLISHED",
                "431999",
                "10.0.0.1:40000",
                "10.0.0.2:443"
            ]
        );
        assert_eq!(cells[5..], ["", "", "5", "7", "assured"]);
        let line = "icmpv6 58 9 src=::1 dst=::2 type=128 code=0 id=1 [UNREPLIED] \
                    src=::2 dst=::3 type=129 code=0 id=1 mark=0 zone-orig=3";
        let line = line
            .replace(" [UNREPLIED]", " zone-orig=3 [UNREPLIED]")
            .replace("mark=0 zone-orig=3", "mark=0");
        let cells = row(&line.parse().unwrap(), None);
        assert_eq!(cells[0], "icmpv6 128/0");
        assert_eq!(cells[5..], ["::2", "::3", "3 >", "", "unreplied"]);
    }
}
