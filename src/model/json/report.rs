//! What is only ever reported: figures, and events.

use serde::de::{self, MapAccess};
use serde::ser::SerializeStruct;

use super::entry::EntryForm;
use super::expect::ExpectationForm;
use super::form::{Fields, Formed, Out, Side, need, plain, read_field};
use crate::error::Error;
use crate::model::{
    Count, CpuStats, Entry, Event, EventsMode, ExpectCpuStats, Expectation, Health, Overrun,
    Unknown,
};

plain!(Count as CountForm, "how many entries there are",
    needs {
        "entries" => entries: u32,
    }
    may {
        "max" => max: u32,
    }
    lists {
        "unknown" => unknown: Vec<Unknown>,
    }
);

plain!(CpuStats as CpuStatsForm, "what a CPU counted",
    needs {}
    may {
        "cpu" => cpu: u16,
        "searched" => searched: u64,
        "found" => found: u64,
        "new" => new: u64,
        "invalid" => invalid: u64,
        "ignore" => ignore: u64,
        "delete" => delete: u64,
        "delete_list" => delete_list: u64,
        "insert" => insert: u64,
        "insert_failed" => insert_failed: u64,
        "drop" => drop: u64,
        "early_drop" => early_drop: u64,
        "error" => error: u64,
        "search_restart" => search_restart: u64,
        "clash_resolve" => clash_resolve: u64,
        "chain_toolong" => chain_toolong: u64,
    }
    lists {
        "unknown" => unknown: Vec<Unknown>,
    }
);

plain!(ExpectCpuStats as ExpectCpuStatsForm, "what a CPU counted of expectations",
    needs {}
    may {
        "cpu" => cpu: u16,
        "met" => met: u64,
        "create" => create: u64,
        "delete" => delete: u64,
    }
    lists {
        "unknown" => unknown: Vec<Unknown>,
    }
);

plain!(Health as HealthForm, "the health of a namespace",
    needs {
        "count" => count: Count,
        "stats" => stats: CpuStats,
        "accounting" => accounting: bool,
        "tcp_loose" => tcp_loose: bool,
    }
    may {
        "timestamps" => timestamps: bool,
        "events" => events: EventsMode,
    }
);

plain!(Overrun as OverrunForm, "an overrun",
    needs {
        "times" => times: u64,
        "received" => received: u64,
        "receive_buffer" => receive_buffer: usize,
    }
    may {}
);

/// An event is its entry, its expectation, or its overrun, with the field `event` in front: what
/// selects entries of a list selects events too.
#[derive(Default)]
pub(crate) struct EventForm {
    event: Option<String>,
    /// When it is read, also those fields of an expectation that entries have as well.
    entry: EntryForm,
    expectation: ExpectationForm,
    overrun: OverrunForm,
}

impl EventForm {
    /// The expectation's fields, wherever they were put.
    fn expectation(self) -> ExpectationForm {
        let (shared, own) = (self.entry, self.expectation);
        ExpectationForm {
            family: shared.family,
            protocol: shared.protocol,
            tuple: own.tuple,
            mask: own.mask,
            master: shared.master,
            zone: shared.zone,
            timeout: shared.timeout,
            id: shared.id,
            helper: shared.helper,
            flags: own.flags,
            class: own.class,
            nat: own.nat,
            function: own.function,
            unknown: shared.unknown,
        }
    }
}

impl Fields for EventForm {
    const NAMES: &'static [&'static str] = &["event"];

    fn count(&self) -> usize {
        1 + self.entry.count() + self.expectation.count() + self.overrun.count()
    }

    fn put<S: SerializeStruct>(&self, side: Side, to: &mut S) -> Result<(), S::Error> {
        if let Some(event) = &self.event {
            to.serialize_field("event", &Out(event, side))?;
        }
        // One of the three; what the others have in common with it must not be said to be absent.
        if self.expectation.count() > 0 {
            return self.expectation.put(side, to);
        }
        self.entry.put(side, to)?;
        self.overrun.put(side, to)
    }

    fn take<'de, M: MapAccess<'de>>(
        &mut self,
        name: &str,
        side: Side,
        from: &mut M,
    ) -> Result<bool, M::Error> {
        if name == "event" {
            read_field(&mut self.event, "event", side, from)?;
            return Ok(true);
        }
        Ok(self.entry.take(name, side, from)?
            || self.expectation.take(name, side, from)?
            || self.overrun.take(name, side, from)?)
    }
}

impl Formed for Event {
    type Form = EventForm;
    const WHAT: &'static str = "an event";

    fn form(&self, side: Side) -> EventForm {
        let named = |event: &str| EventForm {
            event: Some(event.to_owned()),
            ..EventForm::default()
        };
        let of_entry = |event, entry: &Entry| EventForm {
            entry: entry.form(side),
            ..named(event)
        };
        let of_expectation = |event, expectation: &Expectation| EventForm {
            expectation: expectation.form(side),
            ..named(event)
        };
        match self {
            Self::New(entry) => of_entry("new", entry),
            Self::Update(entry) => of_entry("update", entry),
            Self::Destroy(entry) => of_entry("destroy", entry),
            Self::ExpectNew(expectation) => of_expectation("expect_new", expectation),
            Self::ExpectUpdate(expectation) => of_expectation("expect_update", expectation),
            Self::ExpectDestroy(expectation) => of_expectation("expect_destroy", expectation),
            Self::Overrun(overrun) => EventForm {
                overrun: overrun.form(side),
                ..named("overrun")
            },
        }
    }

    fn of<E: de::Error>(mut form: EventForm, side: Side) -> Result<Self, E> {
        let event = need::<_, E>(form.event.take(), "event")?;
        let entry = |form: EventForm| Entry::of(form.entry, side);
        let expectation = |form: EventForm| Expectation::of(form.expectation(), side);
        match &*event {
            "new" => entry(form).map(Self::New),
            "update" => entry(form).map(Self::Update),
            "destroy" => entry(form).map(Self::Destroy),
            "expect_new" => expectation(form).map(Self::ExpectNew),
            "expect_update" => expectation(form).map(Self::ExpectUpdate),
            "expect_destroy" => expectation(form).map(Self::ExpectDestroy),
            "overrun" => Overrun::of(form.overrun, side).map(Self::Overrun),
            other => Err(E::custom(Error::invalid(
                "event",
                other,
                "not known",
                "new, update, destroy, expect_new, expect_update, expect_destroy or overrun",
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Fields that entries and expectations share are read into the entry's.
    #[test]
    fn no_field_of_an_expectations_event_is_lost() {
        let names = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<_>>();
        let entry = names(EntryForm::NAMES);
        let expectation = names(ExpectationForm::NAMES);
        let shared: Vec<_> = entry.intersection(&expectation).copied().collect();
        assert_eq!(
            shared,
            [
                "family", "helper", "id", "master", "protocol", "timeout", "unknown", "zone"
            ]
        );
        let overrun = names(OverrunForm::NAMES);
        assert!(overrun.is_disjoint(&entry) && overrun.is_disjoint(&expectation));
    }
}
