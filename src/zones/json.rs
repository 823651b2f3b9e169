//! The documented form of what became of leases. Errors are their text, so it is written and never
//! read. docs/json.md is the contract.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::keeper::LeaseEvent;
use super::lease::{Released, Renewed};
use crate::error::Error;
use crate::model::Zone;

#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
impl Serialize for Released {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // A field that is not here would be lost, so all are named.
        let Self {
            zone,
            deleted,
            quarantined,
        } = self;
        let mut object = to.serialize_struct("what became of a release", 3)?;
        object.serialize_field("zone", zone)?;
        object.serialize_field("deleted", deleted)?;
        object.serialize_field("quarantined", quarantined)?;
        object.end()
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
impl Serialize for Renewed {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        struct Failed<'a>(&'a (Zone, Error));

        impl Serialize for Failed<'_> {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let (zone, error) = self.0;
                let mut object = to.serialize_struct("a lease that was not renewed", 2)?;
                object.serialize_field("zone", zone)?;
                object.serialize_field("error", &error.to_string())?;
                object.end()
            }
        }

        let Self { renewed, failed } = self;
        let failed: Vec<_> = failed.iter().map(Failed).collect();
        let fields = 1 + usize::from(!failed.is_empty());
        let mut object = to.serialize_struct("what became of a renewal", fields)?;
        object.serialize_field("renewed", renewed)?;
        if failed.is_empty() {
            object.skip_field("failed")?;
        } else {
            object.serialize_field("failed", &failed)?;
        }
        object.end()
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
impl Serialize for LeaseEvent {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (name, zone, owner, holder, error) = match self {
            Self::Restored { zone, owner } => ("restored", zone, owner, None, None),
            Self::Lost {
                zone,
                owner,
                holder,
            } => ("lost", zone, owner, holder.as_ref(), None),
            Self::Failed { zone, owner, error } => ("failed", zone, owner, None, Some(error)),
        };
        let fields = 3 + usize::from(holder.is_some()) + usize::from(error.is_some());
        let mut object = to.serialize_struct("what happened to a lease", fields)?;
        object.serialize_field("event", name)?;
        object.serialize_field("zone", zone)?;
        object.serialize_field("owner", owner)?;
        match holder {
            Some(holder) => object.serialize_field("holder", holder)?,
            None => object.skip_field("holder")?,
        }
        match error {
            Some(error) => object.serialize_field("error", &error.to_string())?,
            None => object.skip_field("error")?,
        }
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use nix::errno::Errno;
    use serde_json::Value;

    use super::*;
    use crate::error::Operation;
    use crate::model::{Claim, Deleted, OwnerKey};

    const DOCUMENT: &str = include_str!("../../docs/json.md");

    fn section(heading: &str) -> &'static str {
        let (_, after) = DOCUMENT.split_once(&format!("\n{heading}\n")).unwrap();
        after.split("\n#").next().unwrap()
    }

    fn examples(kind: &str) -> Vec<Value> {
        let (_, text) = DOCUMENT.split_once(&format!("```json {kind}\n")).unwrap();
        let text = text.split("```").next().unwrap();
        let all = serde_json::Deserializer::from_str(text).into_iter();
        all.map(Result::unwrap).collect()
    }

    /// The fields are those of the table's row.
    fn documented(row: &str, value: &Value) {
        let line = section("### What became of leases")
            .lines()
            .find(|line| line.starts_with(&format!("| {row}")))
            .unwrap();
        let cell = line.split('|').nth(2).unwrap();
        let names: BTreeSet<&str> = cell.split('`').skip(1).step_by(2).collect();
        let fields: BTreeSet<&str> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(names, fields, "{row}");
    }

    fn refused() -> Error {
        Error::system(Operation::Renew, "send", Errno::EPERM, None)
    }

    #[test]
    fn what_became_of_leases_is_written_as_the_examples_have_it() {
        let zone = Zone::new(4097);
        let released = Released {
            zone,
            deleted: Deleted::nothing(),
            quarantined: false,
        };
        let value = serde_json::to_value(&released).unwrap();
        documented("release", &value);
        assert_eq!(examples("Released"), [value]);

        let renewed = Renewed {
            renewed: 2,
            failed: vec![(zone, refused())],
        };
        let value = serde_json::to_value(&renewed).unwrap();
        documented("renewal", &value);
        assert_eq!(examples("Renewed"), [value]);
        let all = Renewed {
            renewed: 1,
            failed: Vec::new(),
        };
        assert_eq!(serde_json::to_string(&all).unwrap(), "{\"renewed\":1}");

        let owner = OwnerKey::named("tap7f3a").unwrap();
        let holder: Claim = serde_json::from_value(examples("Claim").remove(0)).unwrap();
        let events = [
            LeaseEvent::Restored { zone, owner },
            LeaseEvent::Lost {
                zone,
                owner,
                holder: Some(holder),
            },
            LeaseEvent::Lost {
                zone,
                owner,
                holder: None,
            },
            LeaseEvent::Failed {
                zone,
                owner,
                error: refused(),
            },
        ];
        let events = events.map(|event| serde_json::to_value(&event).unwrap());
        documented("claim put back", &events[0]);
        documented("lease lost", &events[1]);
        documented("renewal that failed", &events[3]);
        assert_eq!(examples("LeaseEvent"), events);
        assert!(
            events
                .iter()
                .all(|event| !event.to_string().contains("null"))
        );
    }
}
