//! `-V` and `-h`.

use crate::args::Request;
use crate::cmd::Failure;
use crate::exit::Exit;
use crate::name::Name;
use crate::out::Out;

const USAGE: &str = include_str!("help.txt");
const ADDED: &str = include_str!("added.txt");

pub(crate) fn version(name: Name, out: &mut Out) -> Result<Exit, Failure> {
    let own = env!("CARGO_PKG_VERSION");
    match name {
        // What scripts look for, and for people the truth.
        Name::Conntrack => {
            out.line("conntrack v1.4.7 (conntrack-tools)")?;
            name.says(format_args!("this is ctnl {own} in its place"));
        }
        Name::Ctnl => out.line(format_args!("ctnl {own} (speaks conntrack v1.4.7)"))?,
    }
    Ok(Exit::Done)
}

pub(crate) fn help(name: Name, request: &Request, out: &mut Out) -> Result<Exit, Failure> {
    match name {
        Name::Conntrack => out.text(USAGE.replace("  NAME ", "  conntrack "))?,
        Name::Ctnl => {
            out.text(USAGE.replace("  NAME ", "  ctnl "))?;
            out.text(ADDED)?;
        }
    }
    let fields = request
        .protocol
        .map(crate::args::names_of_fields)
        .unwrap_or_default();
    if !fields.is_empty() {
        out.line(format_args!("\nWith this protocol: {fields}"))?;
    }
    let nothing = request.action == crate::args::Action::Nothing;
    Ok(if nothing && name == Name::Ctnl {
        Exit::Usage
    } else {
        Exit::Done
    })
}
