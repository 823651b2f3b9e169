//! What happens to the table, a moment at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ctnetlink::{Conntrack, Event, EventGroups, Events, EventsMode};
use serde::Serialize;

use super::super::common::{At, json_line, print};
use super::prometheus::{Happened, Host, expose, replace};
use super::tally::Tally;
use super::{StatsArgs, StatsStyle};
use crate::exit::Exit;
use crate::name::Name;

/// A signal is heeded after this time at the latest.
const SOON: Duration = Duration::from_millis(100);

pub(super) fn run(
    args: &StatsArgs,
    every: Duration,
    ct: &Conntrack,
    at: &At,
    stop: &AtomicBool,
) -> anyhow::Result<Exit> {
    let groups = EventGroups::NEW | EventGroups::DESTROY;
    let mut events = ct.events().groups(groups).open()?;
    if ct.settings().events().ok() == Some(EventsMode::Off) {
        Name::Ctnl.says("this namespace sends no events (net.netfilter.nf_conntrack_events=0)");
    }
    let began = Instant::now();
    let mut all = Happened::default();
    let mut rounds = 0;
    let mut next = began + every;
    if args.output == StatsStyle::Table && !print(HEADING)? {
        return Ok(Exit::Done);
    }
    while args.times.is_none_or(|times| rounds < times) {
        let from = Instant::now();
        let mut now = Happened::default();
        listen(&mut events, args, &mut now, next, stop)?;
        all.add(&now);
        let stopped = stop.load(Ordering::Relaxed);
        let text = match args.output {
            StatsStyle::Table => line(ct.count()?.entries, &now, from.elapsed()),
            StatsStyle::Json => json_line(&Moment {
                time: unix_time(),
                seconds: from.elapsed().as_secs_f64(),
                entries: ct.count()?.entries,
                new: now.new,
                destroyed: now.destroyed,
                overruns: now.overruns,
            })?,
            StatsStyle::Prometheus => {
                let tally = Tally::count(ct, &args.by, &args.filter, stop)?;
                // A part of the table would look like entries that are gone.
                if tally.interrupted {
                    break;
                }
                let text = expose(&tally, &Host::of(ct, at), Some(&all));
                if let Some(path) = &args.output_file {
                    replace(path, &text)?;
                }
                String::new()
            }
        };
        if !print(&text)? {
            return Ok(Exit::Done);
        }
        rounds += 1;
        if stopped {
            break;
        }
        // After a long pause the next moment is a whole one again.
        next = (next + every).max(Instant::now());
    }
    if args.output != StatsStyle::Prometheus {
        Name::Ctnl.says(format_args!(
            "{} new and {} destroyed in {:.1} seconds",
            all.new,
            all.destroyed,
            began.elapsed().as_secs_f64()
        ));
    }
    if all.overruns > 0 {
        Name::Ctnl.says("events were lost, so there were more: raise net.core.rmem_max");
        return Ok(Exit::Partial);
    }
    Ok(Exit::Done)
}

/// A moment as an object.
#[derive(Serialize)]
struct Moment {
    /// Seconds since 1970, at its end.
    time: u64,
    seconds: f64,
    entries: u32,
    new: u64,
    destroyed: u64,
    overruns: u64,
}

/// Until the moment is over or a signal came; what was there by then is counted.
fn listen(
    events: &mut Events,
    args: &StatsArgs,
    now: &mut Happened,
    until: Instant,
    stop: &AtomicBool,
) -> ctnetlink::Result<()> {
    let mut end = until;
    loop {
        if stop.load(Ordering::Relaxed) {
            end = end.min(Instant::now() + SOON);
        }
        let left = end.saturating_duration_since(Instant::now());
        let stopped = end != until;
        let event = if stopped {
            events.try_next()?
        } else {
            events.next_within(left.min(SOON))?
        };
        match event {
            Some(Event::New(entry)) if args.filter.matches(&entry) => now.new += 1,
            Some(Event::Destroy(entry)) if args.filter.matches(&entry) => now.destroyed += 1,
            Some(Event::Overrun(_)) => now.overruns += 1,
            None if stopped => return Ok(()),
            _ => {}
        }
        if left.is_zero() {
            return Ok(());
        }
    }
}

const HEADING: &str = "TIME (UTC)     ENTRIES       NEW/s DESTROYED/s\n";

fn line(entries: u32, now: &Happened, took: Duration) -> String {
    let rate = |count: u64| {
        // Exact up to 2^53 events a moment.
        #[allow(clippy::cast_precision_loss)]
        let count = count as f64;
        count / took.as_secs_f64().max(0.001)
    };
    let seconds = unix_time() % 86_400;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let lost = match now.overruns {
        0 => "",
        _ => "  events were lost",
    };
    format!(
        "{hour:02}:{minute:02}:{second:02}   {entries:>10}  {:>10.1}  {:>10.1}{lost}\n",
        rate(now.new),
        rate(now.destroyed)
    )
}

fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_a_second() {
        let now = Happened {
            new: 10,
            destroyed: 5,
            overruns: 0,
        };
        let text = line(7, &now, Duration::from_secs(2));
        assert_eq!(
            &text[8..],
            "            7         5.0         2.5\n",
            "{text:?}"
        );
        let lost = Happened { overruns: 1, ..now };
        let text = line(7, &lost, Duration::ZERO);
        assert!(text.ends_with("events were lost\n"));
    }
}
