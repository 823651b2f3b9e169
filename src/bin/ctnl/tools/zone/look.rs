//! Looking at zones.

use std::fmt::Write;

use anyhow::Context;
use clap::{Args, ValueEnum};
use ctnetlink::{Family, ZoneAllocator, ZoneMap, ZoneUse};
use serde_json::json;

use super::super::common::{At, Paint, Style, ZoneRange, json_line, print};
use super::super::table::{Side, Table};
use super::map::{Kind, Picture, counts, kinds, runs};
use super::options::zones;
use super::svg;
use crate::exit::Exit;
use crate::name::Name;

/// What a scan takes into account beside the kernel's table.
#[derive(Args)]
pub(in super::super) struct Scope {
    /// The zones to look at: FIRST-LAST
    #[arg(long, value_name = "RANGE", default_value = "0-65535")]
    range: ZoneRange,
    /// Zones that count as reserved: numbers and ranges
    #[arg(long, value_name = "ZONES", value_delimiter = ',')]
    reserve: Vec<ZoneRange>,
}

impl Scope {
    fn scan(&self, at: &At) -> anyhow::Result<ZoneMap> {
        let ct = at.open()?;
        let builder = ZoneAllocator::builder().reserve(zones(&self.reserve));
        Ok(builder.open(&ct)?.scan()?)
    }
}

/// List the zones that somebody uses, and how
///
/// One walk of the table. A scan that may have missed something is an error. A zone that is not
/// listed was free in that moment; only a lease makes sure.
#[derive(Args)]
pub(in super::super) struct ScanArgs {
    #[command(flatten)]
    scope: Scope,
    #[arg(short, long, value_enum, default_value_t = Style::Table)]
    output: Style,
}

/// Draw all zones: leased, occupied, ruled, reserved and free
///
/// Each character stands for some zones, and equal rows are folded. A capital letter: all zones of
/// the character are so; a small one: some are, and this is what most of those in use are.
#[derive(Args)]
pub(in super::super) struct MapArgs {
    #[command(flatten)]
    scope: Scope,
    /// Do not fold equal rows
    #[arg(long)]
    full: bool,
    #[arg(short, long, value_enum, default_value_t = MapStyle::Table)]
    output: MapStyle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MapStyle {
    /// A picture for the terminal
    Table,
    /// A picture for a browser
    Svg,
    /// One object: how many zones are what, and the runs of equal zones
    Json,
}

/// Say who uses zones, and how
///
/// The exit status is 0 if somebody uses one of them, and 1 if all are free.
#[derive(Args)]
pub(in super::super) struct WhoArgs {
    /// The zones
    #[arg(required = true, value_name = "ZONE")]
    zones: Vec<ctnetlink::Zone>,
    #[arg(short, long, value_enum, default_value_t = Style::Table)]
    output: Style,
}

/// List the claims of zones: leases, and what is there only meanwhile
#[derive(Args)]
pub(in super::super) struct ListArgs {
    #[arg(short, long, value_enum, default_value_t = Style::Table)]
    output: Style,
}

pub(super) fn scan(args: &ScanArgs, at: &At) -> anyhow::Result<Exit> {
    let map = args.scope.scan(at)?;
    let used = map
        .used()
        .filter(|used| args.scope.range.contains(used.zone));
    let text = match args.output {
        Style::Json => used
            .map(|used| json_line(&used))
            .collect::<Result<_, _>>()?,
        Style::Table => {
            let mut table = Table::new(&[
                ("ZONE", Side::Right),
                ("STATE", Side::Left),
                ("IPV4", Side::Right),
                ("IPV6", Side::Right),
                ("DYING", Side::Right),
                ("EXPECTED", Side::Right),
                ("WHO", Side::Left),
            ]);
            for used in used {
                table.row([
                    used.zone.to_string(),
                    Kind::of(&used).word().to_owned(),
                    used.entries(Family::Ipv4).total().to_string(),
                    used.entries(Family::Ipv6).total().to_string(),
                    used.dying.to_string(),
                    used.expectations.to_string(),
                    who_else(&used),
                ]);
            }
            table.text()
        }
    };
    print(&text)?;
    for rule in map.unbounded_rules() {
        Name::Ctnl.says(format_args!(
            "{rule} puts packets into zones that only packets tell"
        ));
    }
    Ok(Exit::Done)
}

/// What there is beside the counts.
fn who_else(used: &ZoneUse) -> String {
    let claims = used.claims.iter().map(ToString::to_string);
    let rules = used.rules.iter().map(|rule| format!("set by {rule}"));
    claims.chain(rules).collect::<Vec<_>>().join(", ")
}

pub(super) fn map(args: &MapArgs, at: &At) -> anyhow::Result<Exit> {
    let scan = args.scope.scan(at)?;
    let range = args.scope.range;
    let kinds = kinds(&scan, range);
    let first = range.first.get();
    let text = match args.output {
        MapStyle::Table => Picture::new(&kinds, first)
            .full(args.full)
            .draw(Paint::of_stdout()),
        MapStyle::Svg => svg::draw(&kinds, first),
        MapStyle::Json => {
            let counts: serde_json::Map<_, _> = counts(&kinds)
                .map(|(kind, count)| (kind.word().to_owned(), count.into()))
                .collect();
            let runs: Vec<_> = runs(&kinds, first)
                .map(|run| json!({"first": run.first, "last": run.last, "kind": run.kind.word()}))
                .collect();
            json_line(&json!({"zones": counts, "runs": runs}))?
        }
    };
    print(&text)?;
    Ok(Exit::Done)
}

pub(super) fn who(args: &WhoArgs, at: &At) -> anyhow::Result<Exit> {
    let ct = at.open()?;
    let allocator = ZoneAllocator::builder().open(&ct)?;
    let mut text = String::new();
    let mut all_free = true;
    for zone in &args.zones {
        let used = allocator
            .who(*zone)
            .with_context(|| format!("zone {zone}"))?;
        all_free &= used.is_free();
        match args.output {
            Style::Json => text.push_str(&json_line(&used)?),
            Style::Table => writeln!(text, "{used}")?,
        }
    }
    print(&text)?;
    Ok(if all_free { Exit::Nothing } else { Exit::Done })
}

pub(super) fn list(args: &ListArgs, at: &At) -> anyhow::Result<Exit> {
    let ct = at.open()?;
    let claims = ZoneAllocator::builder().open(&ct)?.claims()?;
    let text = match args.output {
        Style::Json => claims.iter().map(json_line).collect::<Result<_, _>>()?,
        Style::Table => {
            let mut table = Table::new(&[
                ("ZONE", Side::Right),
                ("KIND", Side::Left),
                ("OWNER", Side::Left),
                ("INSTANCE", Side::Left),
                ("ENDS IN", Side::Right),
            ]);
            for claim in &claims {
                let ends_in = claim.ends_in().map(|left| format!("{}s", left.as_secs()));
                table.row([
                    claim.zone().to_string(),
                    claim.kind().to_string(),
                    claim.owner().to_string(),
                    claim.instance().to_string(),
                    ends_in.unwrap_or_default(),
                ]);
            }
            table.text()
        }
    };
    print(&text)?;
    Ok(Exit::Done)
}
