//! Parameters of the allocator on the command line.

use std::str::FromStr;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};
use ctnetlink::{Foreign, Instance, OwnerKey, Zone, ZoneAllocatorBuilder, ZoneOrder};

use super::super::common::{ZoneRange, duration};

/// Which zones may be handed out, and how.
#[derive(Args)]
pub(super) struct Choice {
    /// The zones that may be handed out: FIRST-LAST, or neutron (4097-65535) or ovn (1-65535)
    #[arg(long, value_name = "RANGE", default_value = "neutron")]
    range: ZoneRange,
    /// Zones that are not handed out, whatever the kernel says of them: numbers and ranges
    #[arg(long, value_name = "ZONES", value_delimiter = ',')]
    reserve: Vec<ZoneRange>,
    /// Which free zone is taken first: longest-free (a command has no memory, so the lowest), lowest,
    /// seed=NUMBER (upwards from a place that it decides) or random
    #[arg(long, default_value = "longest-free")]
    order: Order,
    /// What to do with a free zone that has entries of somebody unknown
    #[arg(long, value_enum, default_value_t = ForeignWord::Skip)]
    foreign: ForeignWord,
}

/// How long things last.
#[derive(Args)]
pub(super) struct Times {
    /// How long a lease lasts if it is not renewed: seconds, or with s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = duration)]
    pub(super) ttl: Duration,
    /// How long the claims last that are needed only meanwhile; longer than a walk of the table
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    grace: Duration,
    /// The longest wait for another process that acquires for the same owner
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    patience: Duration,
    /// How long a zone is set aside in which entries come back after its release
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = duration)]
    quarantine: Duration,
    /// How often a zone is looked at again when it is flushed
    #[arg(long, value_name = "TIMES", default_value_t = ZoneAllocatorBuilder::VERIFY)]
    verify: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ForeignWord {
    /// Leave it to them, and take another zone
    Skip,
    /// Delete them: where the range is known to be one's own
    Flush,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Order(ZoneOrder);

impl FromStr for Order {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        Ok(Self(match (text, text.strip_prefix("seed=")) {
            ("longest-free", _) => ZoneOrder::LongestFree,
            ("lowest", _) => ZoneOrder::Lowest,
            ("random", _) => ZoneOrder::Seeded(Instance::random().get()),
            (_, Some(seed)) => ZoneOrder::Seeded(seed.parse()?),
            _ => bail!("longest-free, lowest, seed=NUMBER or random is expected"),
        }))
    }
}

impl Choice {
    pub(super) fn apply(&self, builder: ZoneAllocatorBuilder) -> ZoneAllocatorBuilder {
        builder
            .range(self.range.first.get()..=self.range.last.get())
            .reserve(zones(&self.reserve))
            .order(self.order.0)
            .foreign(match self.foreign {
                ForeignWord::Skip => Foreign::Skip,
                ForeignWord::Flush => Foreign::Flush,
            })
    }
}

impl Times {
    pub(super) fn apply(&self, builder: ZoneAllocatorBuilder) -> ZoneAllocatorBuilder {
        builder
            .ttl(self.ttl)
            .grace(self.grace)
            .patience(self.patience)
            .quarantine(self.quarantine)
            .verify(self.verify)
    }
}

/// All zones of some ranges.
pub(super) fn zones(ranges: &[ZoneRange]) -> impl Iterator<Item = Zone> + '_ {
    ranges
        .iter()
        .flat_map(|range| (range.first.get()..=range.last.get()).map(Zone::new))
}

/// An owner, as it was given and as a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) name: String,
    pub(super) key: OwnerKey,
}

impl FromStr for Owner {
    type Err = ctnetlink::Error;

    fn from_str(text: &str) -> ctnetlink::Result<Self> {
        Ok(Self {
            name: text.to_owned(),
            key: text.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_by_their_words() {
        let order = |text: &str| text.parse::<Order>().map(|order| order.0);
        assert_eq!(order("longest-free").unwrap(), ZoneOrder::LongestFree);
        assert_eq!(order("lowest").unwrap(), ZoneOrder::Lowest);
        assert_eq!(order("seed=7").unwrap(), ZoneOrder::Seeded(7));
        assert_ne!(order("random").unwrap(), order("random").unwrap());
        for bad in ["", "seed=", "seed=x", "highest", "seed"] {
            assert!(order(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn zones_of_several_ranges() {
        let ranges: Vec<ZoneRange> = ["5", "7-9"].map(|text| text.parse().unwrap()).into();
        let all: Vec<u16> = zones(&ranges).map(Zone::get).collect();
        assert_eq!(all, [5, 7, 8, 9]);
    }
}
