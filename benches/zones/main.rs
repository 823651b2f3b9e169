//! Speed of looking at zones and leasing them, as ratios to a raw floor, in a table of 1,000,000
//! entries.
//!
//! `cargo bench --bench zones` measures as `cargo bench --bench table` does, which says why: rounds
//! in turn, CPU time of the measuring thread, medians of the rounds' ratios with their quartiles. It
//! prints `ratio NAME VALUE`. The name of a part (`scan`, `acquire`, `acquire_many`, `renew`) after
//! `--` measures that one alone. It asserts no time, only that zones and counts are right.
//!
//! # What is compared
//! - `zones.scan` with a raw list of everything.
//! - `zones.acquire`, one new key, with one raw list of one zone, for which the kernel walks all of
//!   the table: the least that tells that a zone is empty. A key is looked for among all claims
//!   first, and then the claimed zone is looked at, so there are two such walks.
//! - `zones.acquire_many`, 1000 new keys, with a raw list of everything.
//! - `zones.renew`, 10,000 leases, with raw updates of the same entries' time-outs, encoded
//!   beforehand and 128 a datagram.
//! - `conntrack -L -w N` for a zone that is a candidate, which is what there was before: a process,
//!   so by the wall.
//!
//! # The table
//! As in the bench `table`, but in zones 1 to 4096, below the allocator's range. Claims that a round
//! leaves are deleted after it.
//!
//! # Environment
//! `CTNETLINK_BENCH_ENTRIES` (1000000), `CTNETLINK_BENCH_ROUNDS` (11) and
//! `CTNETLINK_BENCH_RAISE_MAX`, as for the bench `table`. Without the last one, as many entries are
//! made as `nf_conntrack_max` leaves room for beside 10,000 leases.

#![allow(clippy::print_stdout, reason = "the output is the point")]

#[path = "../common/mod.rs"]
mod common;
mod leases;
mod looks;
mod raw;

use common::flows::{Flow, flows};
use common::raw::{Datagrams, Raw};
use common::report::Report;
use common::{Result, world};
use ctnetlink::{Conntrack, ZoneAllocator};

/// The allocator's.
const FIRST: u16 = 10_000;
const LAST: u16 = 60_000;
/// The zones 1 to this one have entries.
const USED: u16 = 4096;

type Part = fn(&World, &mut Report) -> Result<()>;
const PARTS: [(&str, Part); 4] = [
    ("scan", looks::scan),
    ("acquire", looks::acquire),
    ("acquire_many", leases::acquire_many),
    ("renew", leases::renew),
];

/// Where all parts are measured.
pub(crate) struct World {
    pub(crate) ct: Conntrack,
    /// How many there are that are no claims.
    pub(crate) entries: usize,
    pub(crate) rounds: usize,
}

impl World {
    pub(crate) fn allocator(&self) -> Result<ZoneAllocator> {
        let allocator = ZoneAllocator::builder().range(FIRST..=LAST);
        Ok(allocator.open(&self.ct)?)
    }
}

fn main() -> Result<()> {
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if let Some(name) = named
        .iter()
        .find(|name| !PARTS.iter().any(|(part, _)| part == name))
    {
        return Err(format!("no part is called {name}").into());
    }
    let raised = world::raise_max()?;
    world::enter()?;
    let room = world::max_entries()?.saturating_sub(leases::LEASES + 1000);
    let entries = world::setting("CTNETLINK_BENCH_ENTRIES", 1_000_000)?.min(room);
    let rounds = world::setting("CTNETLINK_BENCH_ROUNDS", 11)?;
    println!(
        "{entries} entries in {USED} zones, {rounds} rounds; ratio: the median of each round's ratio to the\n\
         floor, of CPU time, or of time on the wall where no CPU time is given; rounds: their quartiles\n"
    );

    let ct = Conntrack::open()?;
    // Tried before the clock starts, as an agent would at its start.
    let support = ct.kernel_support().to_string();
    if !support.contains("zone: list right; flush right") {
        println!("this kernel's zone filters are not used:\n{support}");
    }
    let zoned = flows(entries).map(|flow| Flow {
        zone: zone_of(flow.mark),
        ..flow
    });
    Raw::open()?.exchange(&Datagrams::creations(zoned))?;
    let world = World {
        ct,
        entries,
        rounds,
    };
    let mut report = Report::default();
    for (name, part) in PARTS {
        if named.is_empty() || named.iter().any(|given| given == name) {
            part(&world, &mut report)?;
        }
    }
    Raw::open()?.flush()?;
    report.print();
    drop(raised);
    Ok(())
}

/// The zone of the flow with this number.
fn zone_of(number: u32) -> u16 {
    1 + u16::try_from(number % u32::from(USED)).unwrap_or(0)
}
