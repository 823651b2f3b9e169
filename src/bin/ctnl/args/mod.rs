//! conntrack(8)'s command line: words into a [`Request`]. Nothing here asks the kernel.

mod check;
mod getopt;
mod options;
mod request;
#[cfg(test)]
mod tests;
mod values;
mod words;

use std::fmt;
use std::sync::OnceLock;

use ctnetlink::{Family, Filter, Zone};

use getopt::{Found, Known, Scanner};
pub(crate) use options::Opt;
use options::{ADDED, Added, Field, Letter, fields_of};
pub(crate) use request::{
    Action, Ends, Extras, LabelsOff, NatWish, Netns, Outputs, Request, TrackerState,
};
pub(crate) use words::split;

/// Why a command line is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    text: String,
    /// conntrack(8) has 1 for some, though the command line is wrong.
    of_conntrack: u8,
}

impl Refusal {
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            of_conntrack: 2,
        }
    }

    pub(crate) fn failure(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            of_conntrack: 1,
        }
    }

    /// The same, of a line of a file.
    pub(crate) fn at_line(mut self, line: u64) -> Self {
        self.text = format!("line {line}: {}", self.text);
        self
    }

    /// The exit status that conntrack(8) has for it.
    pub(crate) const fn of_conntrack(&self) -> u8 {
        self.of_conntrack
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}

/// Reads the words after the program's name. What conntrack(8) does not have is known where `added`
/// says so.
pub(crate) fn parse(words: &[&str], added: bool) -> Result<Request, Refusal> {
    static STRICT: OnceLock<bool> = OnceLock::new();
    let strict = *STRICT.get_or_init(|| std::env::var_os("POSIXLY_CORRECT").is_some());
    let mut reader = Reader {
        scanner: Scanner::new(words, strict),
        known: Known::new(if added { ADDED } else { &[] }),
        added,
        request: Request::default(),
    };
    while let Some(found) = reader.scanner.next(&reader.known)? {
        reader.take(&found)?;
    }
    let request = reader.request;
    check::check(&request)?;
    Ok(request)
}

struct Reader<'a> {
    scanner: Scanner<'a>,
    known: Known,
    added: bool,
    request: Request,
}

impl Reader<'_> {
    fn take(&mut self, found: &Found<'_>) -> Result<(), Refusal> {
        let text = found.argument.unwrap_or_default();
        let request = &mut self.request;
        match found.opt {
            Opt::Command(letter) => return self.command(letter, found.argument),
            Opt::OrigSrc | Opt::OrigDst | Opt::TupleSrc | Opt::TupleDst => {
                return self.prefix(found.opt, text);
            }
            Opt::ReplySrc | Opt::ReplyDst | Opt::MaskSrc | Opt::MaskDst => {
                return self.address(found.opt, text);
            }
            Opt::SrcNat | Opt::DstNat | Opt::AnyNat => return self.nat(found),
            Opt::Protocol => {
                let protocol = values::protocol(text)?;
                self.known.with_protocol(fields_of(protocol));
                request.protocol = Some(protocol);
            }
            Opt::Timeout => request.timeout = Some(values::decimal("timeout", text)?),
            Opt::Status => {
                request.status = Some(values::status(text, &mut request.warnings)?);
            }
            Opt::Zero => {}
            Opt::EventMask => request.events = Some(values::events(text, &mut request.warnings)?),
            Opt::NatRange => {
                let warning = "--nat-range is passed over, as conntrack(8) does";
                request.warnings.push(warning.to_owned());
                return Ok(());
            }
            Opt::Mark => request.mark = Some(values::mark(text)?),
            Opt::Id => {
                let text = found.argument.or_else(|| self.scanner.optional());
                let text = text.ok_or_else(|| Refusal::usage("--id needs a value"))?;
                request.id = Some(values::number("id", text)?);
            }
            Opt::Family => {
                let family = if text.starts_with("ipv4") {
                    Family::Ipv4
                } else if text.starts_with("ipv6") {
                    Family::Ipv6
                } else {
                    return Err(Refusal::usage(format!("{text:?} is neither ipv4 nor ipv6")));
                };
                self.family(family)?;
            }
            Opt::Output => {
                values::outputs(
                    &mut request.outputs,
                    text,
                    self.added,
                    &mut request.warnings,
                )?;
            }
            Opt::Secmark => request.secmark = Some(values::number("secmark", text)?),
            Opt::BufferSize => request.buffer_size = Some(values::decimal("buffer size", text)?),
            Opt::Zone => request.zone = Some(zone(text)?),
            Opt::OrigZone => request.orig_zone = Some(zone(text)?),
            Opt::ReplyZone => request.reply_zone = Some(zone(text)?),
            Opt::Label => request.labels.push(text.to_owned()),
            Opt::LabelAdd => request.labels_on.push(text.to_owned()),
            Opt::LabelDel => {
                let labels = found.argument.or_else(|| self.scanner.optional());
                let off = &mut self.request.labels_off;
                match (labels, &mut *off) {
                    (None, _) | (_, Some(LabelsOff::All)) => *off = Some(LabelsOff::All),
                    (Some(labels), Some(LabelsOff::These(these))) => these.push(labels.to_owned()),
                    (Some(labels), None) => {
                        *off = Some(LabelsOff::These(vec![labels.to_owned()]));
                    }
                }
            }
            Opt::Field(field) => self.field(field, text)?,
            Opt::Added(added) => self.extra(added, text)?,
        }
        self.request.given.add(found.opt);
        if self.request.given.has(Opt::LabelAdd) && self.request.given.has(Opt::LabelDel) {
            return Err(Refusal::failure(
                "--label-add and --label-del do not go together",
            ));
        }
        Ok(())
    }

    fn command(&mut self, letter: Letter, attached: Option<&str>) -> Result<(), Refusal> {
        #[derive(PartialEq)]
        enum Table {
            Conntrack,
            Expect,
            Dying,
            Unconfirmed,
        }
        const TABLES: [(&str, Table); 4] = [
            ("expect", Table::Expect),
            ("conntrack", Table::Conntrack),
            ("dying", Table::Dying),
            ("unconfirmed", Table::Unconfirmed),
        ];
        let table = match attached {
            // conntrack(8) passes over what is attached, and would flush the other table.
            Some(word) => TABLES.into_iter().find(|(name, _)| *name == word),
            None => match self.scanner.optional() {
                None => None,
                Some(word) => {
                    let begun = TABLES.into_iter().find(|(name, _)| name.starts_with(word));
                    if begun.is_none() {
                        return Err(Refusal::usage(format!("there is no table {word:?}")));
                    }
                    begun
                }
            },
        };
        let table = table.map_or(Table::Conntrack, |(_, table)| table);
        let expect = table == Table::Expect;
        let other = matches!(table, Table::Dying | Table::Unconfirmed);
        let action = match letter {
            Letter::List if table == Table::Dying => Action::ListDying,
            Letter::List if other => Action::ListUnconfirmed,
            _ if other => {
                return Err(Refusal::usage(
                    "the tables dying and unconfirmed can only be listed",
                ));
            }
            Letter::List if expect => Action::ExpectList,
            Letter::Create if expect => Action::ExpectCreate,
            Letter::Delete if expect => Action::ExpectDelete,
            Letter::Get if expect => Action::ExpectGet,
            Letter::Flush if expect => Action::ExpectFlush,
            Letter::Event if expect => Action::ExpectEvent,
            Letter::Count if expect => Action::ExpectCount,
            Letter::Stats if expect => Action::ExpectStats,
            Letter::Add | Letter::Update if expect => {
                return Err(Refusal::usage("expectations cannot be added or updated"));
            }
            Letter::List => Action::List,
            Letter::Create => Action::Create,
            Letter::Add => Action::Add,
            Letter::Update => Action::Update,
            Letter::Delete => Action::Delete,
            Letter::Get => Action::Get,
            Letter::Flush => Action::Flush,
            Letter::Event => Action::Event,
            Letter::Count => Action::Count,
            Letter::Stats => Action::Stats,
            Letter::Version => Action::Version,
            Letter::Help => Action::Help,
        };
        if self.request.action != Action::Nothing {
            return Err(Refusal::usage("only one command at a time"));
        }
        self.request.action = action;
        Ok(())
    }

    fn family(&mut self, family: Family) -> Result<(), Refusal> {
        match self.request.family.replace(family) {
            Some(other) if other != family => {
                Err(Refusal::usage("IPv4 and IPv6 do not go together"))
            }
            _ => Ok(()),
        }
    }

    fn prefix(&mut self, opt: Opt, text: &str) -> Result<(), Refusal> {
        let (address, length) = values::prefix(text)?;
        self.family(Family::of(address))?;
        let request = &mut self.request;
        let (place, mask, mask_opt) = match opt {
            Opt::OrigSrc => (&mut request.orig.src, &mut request.mask.src, Opt::MaskSrc),
            Opt::OrigDst => (&mut request.orig.dst, &mut request.mask.dst, Opt::MaskDst),
            Opt::TupleSrc => (&mut request.tuple.src, &mut request.mask.src, Opt::MaskSrc),
            _ => (&mut request.tuple.dst, &mut request.mask.dst, Opt::MaskDst),
        };
        *place = Some(address);
        request.given.add(opt);
        let most = if address.is_ipv4() { 32 } else { 128 };
        if let Some(length) = length.filter(|length| *length < most) {
            *mask = Some(values::mask_of(address, length));
            request.given.add(mask_opt);
        }
        Ok(())
    }

    fn address(&mut self, opt: Opt, text: &str) -> Result<(), Refusal> {
        if text.contains('/') {
            return Err(Refusal::usage(format!(
                "{text:?}: no prefix can be given here"
            )));
        }
        let address = values::address(text)?;
        self.family(Family::of(address))?;
        let request = &mut self.request;
        let place = match opt {
            Opt::ReplySrc => &mut request.reply.src,
            Opt::ReplyDst => &mut request.reply.dst,
            Opt::MaskSrc => &mut request.mask.src,
            _ => &mut request.mask.dst,
        };
        *place = Some(address);
        request.given.add(opt);
        Ok(())
    }

    fn nat(&mut self, found: &Found<'_>) -> Result<(), Refusal> {
        let text = found.argument.or_else(|| self.scanner.optional());
        let wish = text.map(values::nat).transpose()?;
        if let Some(wish) = wish {
            self.family(Family::of(wish.address))?;
        }
        let request = &mut self.request;
        let place = match found.opt {
            Opt::SrcNat => &mut request.src_nat,
            Opt::DstNat => &mut request.dst_nat,
            _ => &mut request.any_nat,
        };
        *place = wish.or(*place);
        request.given.add(found.opt);
        Ok(())
    }

    fn field(&mut self, field: Field, text: &str) -> Result<(), Refusal> {
        let request = &mut self.request;
        let keys = request.protocol == Some(ctnetlink::Protocol::GRE);
        let port = || {
            if keys {
                values::number("key", text)
            } else {
                values::decimal("port", text)
            }
        };
        match field {
            Field::OrigSrcPort => request.orig.src_port = Some(port()?),
            Field::OrigDstPort => request.orig.dst_port = Some(port()?),
            Field::ReplySrcPort => request.reply.src_port = Some(port()?),
            Field::ReplyDstPort => request.reply.dst_port = Some(port()?),
            Field::MaskSrcPort => request.mask.src_port = Some(port()?),
            Field::MaskDstPort => request.mask.dst_port = Some(port()?),
            Field::TupleSrcPort => request.tuple.src_port = Some(port()?),
            Field::TupleDstPort => request.tuple.dst_port = Some(port()?),
            Field::State => {
                let protocol = request.protocol.unwrap_or(ctnetlink::Protocol::TCP);
                request.state = Some(values::state(protocol, text)?);
            }
            Field::OrigVtag => request.orig_vtag = Some(values::number("tag", text)?),
            Field::ReplyVtag => request.reply_vtag = Some(values::number("tag", text)?),
            Field::Role => request.role = Some(values::role(text)?),
            Field::IcmpType => request.icmp_type = Some(values::decimal("type", text)?),
            Field::IcmpCode => request.icmp_code = Some(values::decimal("code", text)?),
            Field::IcmpId => request.icmp_id = Some(values::decimal("id", text)?),
        }
        Ok(())
    }

    fn extra(&mut self, added: Added, text: &str) -> Result<(), Refusal> {
        let extras = &mut self.request.extras;
        match added {
            Added::Netns => {
                extras.netns = Some(Netns::of(text));
            }
            Added::DryRun => extras.dry_run = true,
            Added::MaxDeletes => extras.max_deletes = Some(values::decimal("most deletes", text)?),
            Added::Verify => extras.verify = Some(values::decimal("looks", text)?),
            Added::ProtectZone => {
                for word in text.split(',') {
                    extras.protect.push(zone(word)?);
                }
            }
            Added::Filter => {
                let filter: Filter = text
                    .parse()
                    .map_err(|error: ctnetlink::Error| Refusal::usage(error.to_string()))?;
                extras.filter = Some(filter);
            }
        }
        Ok(())
    }
}

impl Netns {
    /// A number is a process, what has a slash a path, and anything else a name.
    pub(crate) fn of(text: &str) -> Self {
        if text.contains('/') {
            Self::Path(text.into())
        } else if let Ok(pid) = values::decimal("process", text) {
            Self::Pid(pid)
        } else {
            Self::Name(text.to_owned())
        }
    }
}

/// The options of a protocol, for people.
pub(crate) fn names_of_fields(protocol: ctnetlink::Protocol) -> String {
    let names: Vec<String> = fields_of(protocol)
        .iter()
        .map(|long| format!("--{}", long.name))
        .collect();
    names.join(" ")
}

fn zone(text: &str) -> Result<Zone, Refusal> {
    values::number("zone", text).map(Zone::new)
}
