//! `ctnl stats`: what is in the table, by counting, and what happens to it, by events.

mod prometheus;
mod tally;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};
use ctnetlink::Filter;

use super::common::{At, duration, interruption, json_line, print};
use super::table::{Side, Table};
use crate::exit::Exit;
use crate::name::Name;
use tally::{By, Tally};

/// Count the entries by zone, family, protocol and state, or watch what happens
///
/// One walk of the table, in which no entry is kept. With --watch, the rates of new and destroyed
/// entries, from the kernel's events.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct StatsArgs {
    /// What to count by, in this order; entries that are equal in it are one row
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "zone,protocol,state"
    )]
    by: Vec<By>,
    /// Count these entries alone, in the library's syntax: zone=5 protocol=tcp
    #[arg(long, value_name = "FILTER", default_value = "all")]
    filter: Filter,
    /// Print the largest rows alone, so many
    #[arg(long, value_name = "ROWS")]
    top: Option<usize>,
    /// Watch, and print so often: seconds, or with s, m, h or d
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "1s", value_parser = duration)]
    watch: Option<Duration>,
    /// With --watch, end after so many times
    #[arg(long, value_name = "TIMES", requires = "watch")]
    times: Option<u64>,
    #[arg(short, long, value_enum, default_value_t = StatsStyle::Table)]
    output: StatsStyle,
    /// With -o prometheus, write to this file, which is replaced in one step
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  ctnl stats                                     how many, by zone, protocol and state
  ctnl stats --by zone --top 10                  the zones with most entries
  ctnl stats --filter 'zone=5 protocol=tcp' --by state
  ctnl stats --watch 5                           new and destroyed entries a second
  ctnl stats -o prometheus --output-file /var/lib/node_exporter/ctnl.prom";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StatsStyle {
    /// Aligned columns
    Table,
    /// One object a line
    Json,
    /// The text that Prometheus and a node exporter's textfile directory read
    Prometheus,
}

pub(super) fn run(args: &StatsArgs, at: &At) -> anyhow::Result<Exit> {
    if args.output_file.is_some() && args.output != StatsStyle::Prometheus {
        bail!("--output-file is for -o prometheus");
    }
    if args.output == StatsStyle::Prometheus {
        if args.watch.is_some() && args.output_file.is_none() {
            bail!("--watch with -o prometheus needs an --output-file");
        }
        if args.top.is_some() {
            bail!(
                "--top is not for -o prometheus: a row that is left out looks like one that ended"
            );
        }
    }
    if args.watch.is_some_and(|every| every.is_zero()) {
        bail!("--watch needs a time that is not 0");
    }
    let stop = interruption()?;
    let ct = at.open()?;
    if let Some(every) = args.watch {
        return watch::run(args, every, &ct, at, &stop);
    }
    let tally = Tally::count(&ct, &args.by, &args.filter, &stop)?;
    let text = match args.output {
        StatsStyle::Table => describe(&tally, args.top),
        StatsStyle::Json => json_line(&tally.report(args.top))?,
        StatsStyle::Prometheus => {
            let text = prometheus::expose(&tally, &prometheus::Host::of(&ct, at), None);
            match &args.output_file {
                Some(path) => {
                    prometheus::replace(path, &text)?;
                    String::new()
                }
                None => text,
            }
        }
    };
    print(&text)?;
    if tally.interrupted {
        Name::Ctnl.says("the count was broken off: these are the entries up to then");
        return Ok(Exit::Partial);
    }
    if tally.malformed > 0 {
        Name::Ctnl.says(format_args!(
            "{} entries could not be read",
            tally.malformed
        ));
        return Ok(Exit::Partial);
    }
    Ok(Exit::Done)
}

fn describe(tally: &Tally, top: Option<usize>) -> String {
    let mut columns: Vec<(&str, Side)> = tally
        .by
        .iter()
        .map(|by| match by {
            By::Zone => (by.heading(), Side::Right),
            _ => (by.heading(), Side::Left),
        })
        .collect();
    columns.push(("ENTRIES", Side::Right));
    let mut table = Table::new(&columns);
    for (group, count) in tally.rows(top) {
        let mut cells: Vec<String> = tally.by.iter().map(|by| group.word(*by)).collect();
        cells.push(count.to_string());
        table.row(cells);
    }
    let total = tally.total();
    format!("{}{total} entries\n", table.text())
}
