//! `ctnl zone`: who uses zones, and leases of them.

mod exec;
mod lease;
mod look;
mod map;
mod options;
#[cfg(test)]
mod snapshot;
mod svg;

use std::process::ExitCode;

use clap::Subcommand;

use super::common::At;

/// Conntrack zones: who uses them, and leases that the kernel arbitrates
#[derive(Subcommand)]
#[command(before_help = EXAMPLES)]
pub(super) enum ZoneCommand {
    Scan(look::ScanArgs),
    Map(look::MapArgs),
    Who(look::WhoArgs),
    List(look::ListArgs),
    Acquire(lease::AcquireArgs),
    Reserve(lease::ReserveArgs),
    Renew(lease::RenewArgs),
    Release(lease::ReleaseArgs),
    Rename(lease::RenameArgs),
}

const EXAMPLES: &str = "\
Examples:
  ctnl zone map                            a picture of all 65,536 zones
  ctnl zone who 4097                       who uses this zone, and how
  ctnl zone acquire tap7f3a                a zone for this owner, the same one each time
  ctnl zone acquire tap7f3a --exec ./work  hold the zone while ./work runs
  eval \"$(ctnl zone acquire tap7f3a -o env)\"
  ctnl zone renew tap7f3a --instance \"$CTNL_INSTANCE\"
  ctnl zone release tap7f3a --instance \"$CTNL_INSTANCE\"";

pub(super) fn run(command: ZoneCommand, at: &At) -> anyhow::Result<ExitCode> {
    let exit = match command {
        ZoneCommand::Scan(args) => look::scan(&args, at)?,
        ZoneCommand::Map(args) => look::map(&args, at)?,
        ZoneCommand::Who(args) => look::who(&args, at)?,
        ZoneCommand::List(args) => look::list(&args, at)?,
        ZoneCommand::Acquire(args) => return lease::acquire(&args, at),
        ZoneCommand::Reserve(args) => lease::reserve(&args, at)?,
        ZoneCommand::Renew(args) => lease::renew(&args, at)?,
        ZoneCommand::Release(args) => lease::release(&args, at)?,
        ZoneCommand::Rename(args) => lease::rename(&args, at)?,
    };
    Ok(exit.into())
}
