//! Leases from the command line. What passes from one invocation to the next is the instance: it
//! says that this is the same holder, and not a later one that takes over.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use ctnetlink::{
    Claim, ClaimKind, Conntrack, Error, Instance, Lease, OwnerKey, Zone, ZoneAllocator,
    ZoneAllocatorBuilder,
};
use serde::Serialize;

use super::super::common::{At, Style, json_line, print};
use super::super::exit_of;
use super::super::table::{Side, Table};
use super::exec::{self, AtEnd, OnLost};
use super::options::{Choice, Owner, Times};
use crate::exit::Exit;
use crate::name::Name;

/// How leases are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LeaseStyle {
    /// Aligned columns
    Table,
    /// One object a line
    Json,
    /// Assignments for a shell: CTNL_ZONE, CTNL_OWNER and CTNL_INSTANCE
    Env,
}

/// Lease a zone for an owner: the one it has, else the next free one
///
/// The same owner gets the same zone, in every process and after a restart. A former holder is
/// fenced off: its renewals fail from then on, unless --instance says that this is the same holder.
/// The lease ends by itself unless it is renewed. Several owners need one look at the table.
#[derive(Args)]
pub(in super::super) struct AcquireArgs {
    /// Who owns it: a name, or a UUID. Without one, nobody in particular
    #[arg(value_name = "OWNER")]
    owners: Vec<Owner>,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    times: Times,
    /// The holder, if it is the same as before: 16 hexadecimal digits. Random if left out
    #[arg(long, value_name = "TOKEN")]
    instance: Option<Instance>,
    #[arg(short, long, value_enum, default_value_t = LeaseStyle::Table)]
    output: LeaseStyle,
    /// With --exec: what to do with the zone when the command has ended
    #[arg(long, value_enum, default_value_t = AtEnd::Release)]
    at_end: AtEnd,
    /// With --exec: what to do when somebody else has the zone
    #[arg(long, value_enum, default_value_t = OnLost::Terminate)]
    on_lost: OnLost,
    /// Hold the lease for as long as a command runs, which finds CTNL_ZONE, CTNL_OWNER and
    /// CTNL_INSTANCE in its environment. Everything behind this is the command. Its exit status
    /// becomes that of ctnl; of a signal, 128 and its number
    #[arg(long, value_name = "COMMAND", num_args = 1.., allow_hyphen_values = true)]
    exec: Vec<std::ffi::OsString>,
}

/// Lease this very zone
#[derive(Args)]
pub(in super::super) struct ReserveArgs {
    /// Who owns it: a name, or a UUID
    owner: Owner,
    /// The zone, which need not be in a range
    zone: Zone,
    /// Take it with the entries that are in it and the rules that name it
    #[arg(long)]
    adopt: bool,
    #[command(flatten)]
    times: Times,
    /// The holder, if it is the same as before: 16 hexadecimal digits. Random if left out
    #[arg(long, value_name = "TOKEN")]
    instance: Option<Instance>,
    #[arg(short, long, value_enum, default_value_t = LeaseStyle::Table)]
    output: LeaseStyle,
}

/// Have leases last for their time from now on
#[derive(Args)]
pub(in super::super) struct RenewArgs {
    /// Who owns them: names, or UUIDs
    #[arg(required = true, value_name = "OWNER")]
    owners: Vec<Owner>,
    #[command(flatten)]
    holder: Holder,
    #[arg(short, long, value_enum, default_value_t = LeaseStyle::Table)]
    output: LeaseStyle,
}

/// Give a zone back: delete its entries, see that none comes back, and end the claim
#[derive(Args)]
pub(in super::super) struct ReleaseArgs {
    /// Who owns it: a name, or a UUID
    owner: Owner,
    #[command(flatten)]
    holder: Holder,
    #[arg(short, long, value_enum, default_value_t = Style::Table)]
    output: Style,
}

/// Give a leased zone to another owner, with its entries
#[derive(Args)]
pub(in super::super) struct RenameArgs {
    /// Who owns it: a name, or a UUID
    owner: Owner,
    /// Who is to own it
    new_owner: Owner,
    #[command(flatten)]
    holder: Holder,
    #[arg(short, long, value_enum, default_value_t = LeaseStyle::Table)]
    output: LeaseStyle,
}

/// Who holds a lease already.
#[derive(Args)]
struct Holder {
    /// The holder, as acquire printed it: 16 hexadecimal digits
    #[arg(long, value_name = "TOKEN")]
    instance: Instance,
    /// The zone, if it is known: it spares a look for it
    #[arg(long)]
    zone: Option<Zone>,
    #[command(flatten)]
    times: Times,
}

impl Holder {
    fn open(&self, ct: &Conntrack) -> ctnetlink::Result<ZoneAllocator> {
        let builder = ZoneAllocator::builder().instance(self.instance);
        self.times.apply(builder).open(ct)
    }

    /// The leases of these owners that this holder has, one result for each.
    fn resume(
        &self,
        zones: &ZoneAllocator,
        owners: &[Owner],
    ) -> anyhow::Result<Vec<anyhow::Result<Lease>>> {
        if self.zone.is_some() && owners.len() > 1 {
            bail!("--zone is for one owner");
        }
        let claims = match self.zone {
            Some(_) => Vec::new(),
            None => zones.claims()?,
        };
        let zone_of = |owner: &Owner| {
            let leased =
                |claim: &&Claim| claim.kind() == ClaimKind::Lease && claim.owner() == owner.key;
            let found = claims.iter().find(leased).map(Claim::zone);
            self.zone.or(found)
        };
        let resumed = owners.iter().map(|owner| match zone_of(owner) {
            Some(zone) => Ok(zones.resume(owner.key, zone)?),
            None => Err(NoLease.into()),
        });
        Ok(resumed.collect())
    }

    fn resume_one(&self, zones: &ZoneAllocator, owner: &Owner) -> anyhow::Result<Lease> {
        self.resume(zones, std::slice::from_ref(owner))?
            .pop()
            .context("no answer")?
    }
}

/// It ended, or there never was one.
#[derive(Debug)]
struct NoLease;

impl std::fmt::Display for NoLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it has no zone")
    }
}

impl std::error::Error for NoLease {}

fn exit_for(error: &anyhow::Error) -> Exit {
    if error.downcast_ref::<NoLease>().is_some() {
        Exit::Nothing
    } else {
        exit_of(error)
    }
}

pub(super) fn acquire(args: &AcquireArgs, at: &At) -> anyhow::Result<ExitCode> {
    let ct = at.open()?;
    let builder = match args.instance {
        Some(instance) => ZoneAllocator::builder().instance(instance),
        None => ZoneAllocator::builder(),
    };
    let zones = args.times.apply(args.choice.apply(builder)).open(&ct)?;
    if let Some((program, rest)) = args.exec.split_first() {
        if args.owners.len() > 1 {
            bail!("--exec holds one zone, so there is one owner at most");
        }
        let lease = |zones: &ZoneAllocator| match args.owners.first() {
            Some(owner) => zones.acquire(owner.key),
            None => zones.allocate(),
        };
        return exec::run(&zones, lease, program, rest, args.at_end, args.on_lost);
    }
    if args.owners.is_empty() {
        let lease = zones.allocate()?;
        return show(&[(None, Ok(lease))], args.output, args.times.ttl.as_secs()).map(Into::into);
    }
    let leases = zones.acquire_many(args.owners.iter().map(|owner| owner.key))?;
    let named = args.owners.iter().zip(leases);
    let leases: Vec<_> = named
        .map(|(owner, lease)| (Some(owner), lease.map_err(anyhow::Error::from)))
        .collect();
    show(&leases, args.output, args.times.ttl.as_secs()).map(Into::into)
}

pub(super) fn reserve(args: &ReserveArgs, at: &At) -> anyhow::Result<Exit> {
    let ct = at.open()?;
    let builder = match args.instance {
        Some(instance) => ZoneAllocator::builder().instance(instance),
        None => ZoneAllocatorBuilder::default(),
    };
    let zones = args.times.apply(builder).open(&ct)?;
    let lease = if args.adopt {
        zones.adopt(args.owner.key, args.zone)
    } else {
        zones.reserve(args.owner.key, args.zone)
    };
    let lease = (Some(&args.owner), Ok(lease?));
    show(&[lease], args.output, args.times.ttl.as_secs())
}

pub(super) fn renew(args: &RenewArgs, at: &At) -> anyhow::Result<Exit> {
    let zones = args.holder.open(&at.open()?)?;
    let leases = args.holder.resume(&zones, &args.owners)?;
    let leases: Vec<_> = args.owners.iter().map(Some).zip(leases).collect();
    show(&leases, args.output, args.holder.times.ttl.as_secs())
}

pub(super) fn rename(args: &RenameArgs, at: &At) -> anyhow::Result<Exit> {
    let zones = args.holder.open(&at.open()?)?;
    let lease = match args.holder.resume_one(&zones, &args.owner) {
        Ok(lease) => zones.rename(lease, args.new_owner.key).map_err(Into::into),
        Err(error) => Err(error),
    };
    let ttl = args.holder.times.ttl.as_secs();
    show(&[(Some(&args.new_owner), lease)], args.output, ttl)
}

pub(super) fn release(args: &ReleaseArgs, at: &At) -> anyhow::Result<Exit> {
    let zones = args.holder.open(&at.open()?)?;
    let lease = match args.holder.resume_one(&zones, &args.owner) {
        Ok(lease) => lease,
        Err(error) => {
            Name::Ctnl.says(format_args!("{}: {error:#}", args.owner.name));
            return Ok(exit_for(&error));
        }
    };
    let released = lease.release()?;
    let text = match args.output {
        Style::Json => json_line(&released)?,
        Style::Table => {
            let entries = released.deleted.deleted;
            let entries = entries.map_or("its".to_owned(), |entries| entries.to_string());
            format!(
                "zone {} is released, {entries} entries deleted\n",
                released.zone
            )
        }
    };
    print(&text)?;
    if released.quarantined {
        Name::Ctnl.says(format_args!(
            "entries come back to zone {}: it is set aside, and nobody is handed it meanwhile",
            released.zone
        ));
        return Ok(Exit::Partial);
    }
    Ok(Exit::Done)
}

/// A lease as an object, with the names that a claim has.
#[derive(Serialize)]
struct Line<'a> {
    zone: Zone,
    owner: OwnerKey,
    instance: Instance,
    /// From whom it was taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Instance>,
    ends_in: u64,
    /// The owner as it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

type Named<'a> = (Option<&'a Owner>, anyhow::Result<Lease>);

/// Prints the leases, complains about the others, and says what that comes to.
fn show(leases: &[Named<'_>], style: LeaseStyle, ttl: u64) -> anyhow::Result<Exit> {
    if style == LeaseStyle::Env && leases.len() > 1 {
        bail!("-o env is for one owner");
    }
    let mut table = Table::new(&[
        ("ZONE", Side::Right),
        ("OWNER", Side::Left),
        ("INSTANCE", Side::Left),
        ("ENDS IN", Side::Right),
        ("NAME", Side::Left),
    ]);
    let mut text = String::new();
    let mut failed = Vec::new();
    for (owner, lease) in leases {
        let name = owner.map(|owner| &*owner.name);
        let lease = match lease {
            Ok(lease) => lease,
            Err(error) => {
                Name::Ctnl.says(format_args!("{}: {error:#}", name.unwrap_or("no owner")));
                failed.push(exit_for(error));
                continue;
            }
        };
        let (zone, who, instance) = (lease.zone(), lease.owner(), lease.instance());
        match style {
            LeaseStyle::Table => table.row([
                zone.to_string(),
                who.to_string(),
                instance.to_string(),
                format!("{ttl}s"),
                name.unwrap_or_default().to_owned(),
            ]),
            LeaseStyle::Json => {
                text.push_str(&json_line(&Line {
                    zone,
                    owner: who,
                    instance,
                    previous: lease.previous(),
                    ends_in: ttl,
                    name,
                })?);
            }
            // Digits and hyphens alone, which no shell reads otherwise.
            LeaseStyle::Env => {
                write!(
                    text,
                    "CTNL_ZONE={zone}\nCTNL_OWNER={who}\nCTNL_INSTANCE={instance}\n"
                )?;
            }
        }
    }
    if style == LeaseStyle::Table && failed.len() < leases.len() {
        text = table.text();
    }
    print(&text)?;
    Ok(match failed.first() {
        None => Exit::Done,
        Some(first) if failed.len() == leases.len() => *first,
        Some(_) => Exit::Partial,
    })
}

/// Why a lease is not held any more.
pub(super) fn lost(zone: Zone, holder: Option<&Claim>) -> String {
    match holder {
        Some(holder) => format!("zone {zone} is lost: {holder}"),
        None => format!("zone {zone} is lost: its claim ended, or somebody removed it"),
    }
}

/// What to say when a release after a command fails.
pub(super) fn not_released(error: &Error) -> Exit {
    Name::Ctnl.says(format_args!("the zone was not released: {error}"));
    Exit::from(error)
}
