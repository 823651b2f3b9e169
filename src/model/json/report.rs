//! What is only ever reported: figures, and events.

use serde::de::{self, MapAccess};
use serde::ser::SerializeStruct;

use super::entry::EntryForm;
use super::form::{Fields, Formed, Out, Side, need, plain, read_field};
use crate::error::Error;
use crate::model::{Count, CpuStats, Entry, Event, EventsMode, ExpectCpuStats, Health, Overrun};

plain!(Count as CountForm, "how many entries there are",
    needs {
        "entries" => entries: u32,
    }
    may {
        "max" => max: u32,
    }
);

plain!(CpuStats as CpuStatsForm, "what a CPU counted",
    needs {}
    may {
        "cpu" => cpu: u16,
        "found" => found: u64,
        "invalid" => invalid: u64,
        "insert" => insert: u64,
        "insert_failed" => insert_failed: u64,
        "drop" => drop: u64,
        "early_drop" => early_drop: u64,
        "error" => error: u64,
        "search_restart" => search_restart: u64,
        "clash_resolve" => clash_resolve: u64,
        "chain_toolong" => chain_toolong: u64,
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
);

plain!(Health as HealthForm, "the health of a namespace",
    needs {
        "count" => count: Count,
        "stats" => stats: CpuStats,
        "accounting" => accounting: bool,
        "timestamps" => timestamps: bool,
        "tcp_loose" => tcp_loose: bool,
    }
    may {
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

/// An event is its entry, or its overrun, with the field `event` in front: what selects entries of
/// a list selects events too.
#[derive(Default)]
pub(crate) struct EventForm {
    event: Option<String>,
    entry: EntryForm,
    overrun: OverrunForm,
}

impl Fields for EventForm {
    const NAMES: &'static [&'static str] = &["event"];

    fn count(&self) -> usize {
        1 + self.entry.count() + self.overrun.count()
    }

    fn put<S: SerializeStruct>(&self, side: Side, to: &mut S) -> Result<(), S::Error> {
        if let Some(event) = &self.event {
            to.serialize_field("event", &Out(event, side))?;
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
        Ok(self.entry.take(name, side, from)? || self.overrun.take(name, side, from)?)
    }
}

impl Formed for Event {
    type Form = EventForm;
    const WHAT: &'static str = "an event";

    fn form(&self, side: Side) -> EventForm {
        let of_entry = |event: &str, entry: &Entry| EventForm {
            event: Some(event.to_owned()),
            entry: entry.form(side),
            ..EventForm::default()
        };
        match self {
            Self::New(entry) => of_entry("new", entry),
            Self::Update(entry) => of_entry("update", entry),
            Self::Destroy(entry) => of_entry("destroy", entry),
            Self::Overrun(overrun) => EventForm {
                event: Some("overrun".to_owned()),
                overrun: overrun.form(side),
                ..EventForm::default()
            },
        }
    }

    fn of<E: de::Error>(form: EventForm, side: Side) -> Result<Self, E> {
        let entry = |form| Entry::of(form, side);
        match &*need::<_, E>(form.event, "event")? {
            "new" => entry(form.entry).map(Self::New),
            "update" => entry(form.entry).map(Self::Update),
            "destroy" => entry(form.entry).map(Self::Destroy),
            "overrun" => Overrun::of(form.overrun, side).map(Self::Overrun),
            other => Err(E::custom(Error::invalid(
                "event",
                other,
                "not known",
                "new, update, destroy or overrun",
            ))),
        }
    }
}
