//! Which entry is meant.

use std::hash::{Hash, Hasher};

use super::nat::Nat;
use super::{Entry, EntryZone, NewEntry, Tuple};

/// A direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Of the packet that began the flow.
    Original,
    /// Of the packets that answer it.
    Reply,
}

/// Which entry is meant: the tuple of one direction, the zone, and the id where known.
///
/// The kernel looks a tuple up without regard to direction: asked for the flow from A to B, it also
/// finds the flow that B began, whose answers go from A to B. This library does not pass that on:
/// what it gets, changes or deletes has the key's tuple in the key's direction.
///
/// With an id, another entry that has taken the tuple meanwhile is left alone only as far as ids
/// tell entries apart: one that is made right after the old one's end mostly has the same id
/// ([`Entry::id`]), and is then taken for it. The key of a reported entry has its id.
///
/// Where entries have a zone in one direction alone, the kernel may find another entry by the tuple,
/// whose answers have it in that zone, and the one that is meant is hidden behind that one. The key
/// of an entry also knows its other tuple, by which it is then found; that is no part of what is
/// compared when keys are. A key of one tuple says `is_not_found` of such an entry.
///
/// ```
/// use ctnetlink::{Icmp, Key, Tuple, Zone};
///
/// let ping = Tuple::icmp([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), Icmp::echo_request(7));
/// let key = Key::orig(ping).zone(Zone::new(5));
/// assert_eq!(key.id(), None);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub(crate) direction: Direction,
    pub(crate) tuple: Tuple,
    pub(crate) zone: EntryZone,
    pub(crate) id: Option<u32>,
    /// The tuple of the other direction, where known.
    pub(crate) other: Option<Tuple>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

/// Why a found entry is not the one that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// It has the tuple in its other direction and is in the same zone: two such entries cannot be
    /// there at a time (`nf_conntrack_hash_check_insert`).
    Direction,
    /// The same in another zone. The kernel compares the zone of the direction in which it finds the
    /// tuple (`nf_ct_key_equal`), so the one that is meant may be there behind it.
    Hides,
    Zone,
    Newer,
}

impl Mismatch {
    pub(crate) const fn detail(self) -> &'static str {
        match self {
            Self::Direction | Self::Hides => "the tuple is its tuple of the other direction",
            Self::Zone => "its zone differs",
            Self::Newer => "the tuple has been taken by a newer entry",
        }
    }
}

impl Key {
    /// The entry whose original tuple this is, in zone 0 until [`Key::zone`] says otherwise.
    #[must_use]
    pub fn orig(tuple: Tuple) -> Self {
        Self {
            direction: Direction::Original,
            tuple,
            zone: EntryZone::default(),
            id: None,
            other: None,
        }
    }

    /// The entry whose reply tuple this is, in zone 0 until [`Key::zone`] says otherwise.
    #[must_use]
    pub fn reply(tuple: Tuple) -> Self {
        Self {
            direction: Direction::Reply,
            ..Self::orig(tuple)
        }
    }

    /// In this zone: a [`Zone`](super::Zone) for both directions, or an [`EntryZone`] for one.
    #[must_use]
    pub fn zone(mut self, zone: impl Into<EntryZone>) -> Self {
        self.zone = zone.into().canonical();
        self
    }

    /// This very entry.
    #[doc(alias = "CTA_ID")]
    #[must_use]
    pub fn with_id(mut self, id: u32) -> Self {
        self.id = Some(id);
        self
    }

    /// The direction of the tuple.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// The tuple.
    #[must_use]
    pub const fn tuple(&self) -> &Tuple {
        &self.tuple
    }

    /// The zone.
    #[must_use]
    pub const fn entry_zone(&self) -> EntryZone {
        self.zone
    }

    /// The id, if that very entry is meant.
    #[must_use]
    pub const fn id(&self) -> Option<u32> {
        self.id
    }

    fn identity(&self) -> impl Eq + Hash + '_ {
        (self.direction, &self.tuple, self.zone, self.id)
    }

    /// The same entry by its tuple of the other direction.
    pub(crate) fn turned(&self) -> Option<Self> {
        Some(Self {
            direction: match self.direction {
                Direction::Original => Direction::Reply,
                Direction::Reply => Direction::Original,
            },
            tuple: self.other?,
            other: Some(self.tuple),
            ..*self
        })
    }

    /// Why a found entry is not the one that is meant.
    pub(crate) fn mismatch(&self, found: &Entry) -> Option<Mismatch> {
        let tuple = match self.direction {
            Direction::Original => found.orig,
            Direction::Reply => found.reply,
        };
        if tuple != self.tuple {
            Some(if found.zone == self.zone {
                Mismatch::Direction
            } else {
                Mismatch::Hides
            })
        } else if found.zone != self.zone {
            Some(Mismatch::Zone)
        } else if self.id.is_some() && found.id != self.id {
            Some(Mismatch::Newer)
        } else {
            None
        }
    }
}

impl From<&Entry> for Key {
    fn from(entry: &Entry) -> Self {
        Self {
            direction: Direction::Original,
            tuple: entry.orig,
            zone: entry.zone,
            id: entry.id,
            other: Some(entry.reply),
        }
    }
}

impl From<Entry> for Key {
    fn from(entry: Entry) -> Self {
        Self::from(&entry)
    }
}

impl From<&NewEntry> for Key {
    fn from(new: &NewEntry) -> Self {
        Self {
            // A translation that the kernel makes changes the reply tuple.
            other: (new.nat == Nat::default()).then_some(new.entry().reply),
            ..Self::from(new.entry())
        }
    }
}

impl From<&Key> for Key {
    fn from(key: &Key) -> Self {
        *key
    }
}
