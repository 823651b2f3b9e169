//! Zones: who uses which, and leases of them that the kernel arbitrates. docs/zones.md says how.

mod acquire;
mod allocator;
#[cfg(feature = "serde")]
mod json;
mod keeper;
mod lease;
mod look;
mod map;
mod memory;
mod options;
mod takeover;
mod trial;
mod turns;

pub use allocator::ZoneAllocator;
pub use keeper::{Keeper, LeaseEvent};
pub use lease::{Lease, Released, Renewed};
pub use map::ZoneMap;
pub use options::{Foreign, ZoneAllocatorBuilder, ZoneOrder, ZoneSource, ranges};
