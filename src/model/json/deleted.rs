//! How to delete, and what became of it.

use std::collections::BTreeSet;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer, de};

use super::form::{Formed, Side, form};
use crate::model::{DeleteFailure, DeleteOptions, Deleted, Zone};

form!(DeleteOptionsForm {
    "dry_run" => dry_run: bool,
    "max_deletes" => max_deletes: u64,
    "protect" => protect: Vec<Zone>,
    "verify" => verify: u32,
});

impl Formed for DeleteOptions {
    type Form = DeleteOptionsForm;
    const WHAT: &'static str = "options of a deletion";

    fn form(&self, _: Side) -> DeleteOptionsForm {
        // A field that is not here would be lost, so all are named.
        let Self {
            dry_run,
            max_deletes,
            protect,
            verify,
        } = self;
        let protect: Vec<_> = protect.iter().copied().collect();
        DeleteOptionsForm {
            dry_run: Some(*dry_run).filter(|dry| *dry),
            max_deletes: *max_deletes,
            protect: Some(protect).filter(|zones| !zones.is_empty()),
            verify: Some(*verify).filter(|passes| *passes != 0),
        }
    }

    fn of<E: de::Error>(form: DeleteOptionsForm, _: Side) -> Result<Self, E> {
        Ok(Self {
            dry_run: form.dry_run.unwrap_or_default(),
            max_deletes: form.max_deletes,
            protect: BTreeSet::from_iter(form.protect.unwrap_or_default()),
            verify: form.verify.unwrap_or_default(),
        })
    }
}

/// Errors are their text, so what became of a deletion is written and never read.
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
impl Serialize for DeleteFailure {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_struct("deletes that failed", 3)?;
        object.serialize_field("count", &self.count)?;
        object.serialize_field("error", &self.error.to_string())?;
        object.serialize_field("sample", &self.sample)?;
        object.end()
    }
}

fn put<S: SerializeStruct, T: Serialize>(
    object: &mut S,
    name: &'static str,
    value: Option<T>,
) -> Result<(), S::Error> {
    match value {
        Some(value) => object.serialize_field(name, &value),
        None => object.skip_field(name),
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
impl Serialize for Deleted {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // A field that is not here would be lost, so all are named.
        let Self {
            matched,
            deleted,
            already_gone,
            busy,
            failed,
            complete,
            left,
            sample,
            stopped,
        } = self;
        let failed = Some(failed).filter(|failed| !failed.is_empty());
        let sample = Some(sample).filter(|sample| !sample.is_empty());
        let stopped = stopped.as_ref().map(ToString::to_string);
        let absent = [
            matched.is_none(),
            deleted.is_none(),
            failed.is_none(),
            sample.is_none(),
            stopped.is_none(),
        ];
        let absent = absent.into_iter().filter(|absent| *absent).count();
        let mut object = to.serialize_struct("what became of a deletion", 9 - absent)?;
        put(&mut object, "matched", *matched)?;
        put(&mut object, "deleted", *deleted)?;
        put(&mut object, "already_gone", Some(already_gone))?;
        put(&mut object, "busy", Some(busy))?;
        put(&mut object, "failed", failed)?;
        put(&mut object, "complete", Some(complete))?;
        put(&mut object, "left", Some(left))?;
        put(&mut object, "sample", sample)?;
        put(&mut object, "stopped", stopped)?;
        object.end()
    }
}
