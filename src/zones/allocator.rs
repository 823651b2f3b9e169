//! The allocator that users hold.

use std::fmt;
use std::ops::{RangeBounds, RangeInclusive};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::acquire::{Want, acquire};
use super::keeper::{Keeper, LeaseEvent};
use super::lease::{Lease, Renewed, resume};
use super::map::ZoneMap;
use super::memory::Memory;
use super::options::{Options, ZoneAllocatorBuilder};
use super::takeover::rename;
use crate::conntrack::Conntrack;
use crate::error::{Error, Result};
use crate::model::{Claim, Instance, OwnerKey, Zone, ZoneUse};

/// Leases zones of a namespace, arbitrated by the kernel.
///
/// A lease is an entry in the zone, the claim, that ends by itself unless it is renewed. There is no
/// daemon and no file: whoever restarts finds its zones in the kernel's table. Zones that others use
/// are left alone, be it by entries of either family and direction, expectations, claims, or what
/// the caller names.
///
/// Cheap to clone; clones share their leases. docs/zones.md says how it works, and how other
/// programs can take part.
///
/// ```
/// use ctnetlink::{Conntrack, ZoneAllocator};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?; // a table of the example's own
/// let ct = Conntrack::open()?;
/// let zones = ZoneAllocator::builder().range(4097..=65_535).open(&ct)?;
/// let lease = zones.acquire("tap7f3a")?;
/// assert_eq!(lease.zone().get(), 4097);
///
/// // After a restart, the same key gets the same zone.
/// let later = ZoneAllocator::builder().range(4097..=65_535).open(&ct)?;
/// let again = later.acquire("tap7f3a")?;
/// assert_eq!(again.zone(), lease.zone());
/// assert!(lease.renew().unwrap_err().is_lost());
///
/// let released = again.release()?;
/// assert!(!released.quarantined);
/// assert!(zones.who(released.zone)?.is_free());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ZoneAllocator {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) ct: Conntrack,
    pub(super) options: Options,
    pub(super) instance: Instance,
    memory: Mutex<Memory>,
}

impl Inner {
    /// What is remembered is right after any line of its code, so a panic elsewhere does no harm.
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ZoneAllocator {
    /// How it is to work.
    pub fn builder() -> ZoneAllocatorBuilder {
        ZoneAllocatorBuilder::default()
    }

    pub(super) fn new(ct: Conntrack, options: Options, instance: Instance) -> Self {
        Self {
            inner: Arc::new(Inner {
                ct,
                options,
                instance,
                memory: Mutex::default(),
            }),
        }
    }

    /// The instance that its claims are made for.
    #[must_use]
    pub fn instance(&self) -> Instance {
        self.inner.instance
    }

    /// The zones that may be handed out.
    #[must_use]
    pub fn range(&self) -> RangeInclusive<Zone> {
        self.inner.options.range.clone()
    }
}

/// Looking.
impl ZoneAllocator {
    /// Who uses which zone, and how: one walk of the table, in constant memory beside the map.
    ///
    /// # Errors
    /// [`is_scan_incomplete`](Error::is_scan_incomplete) when the table could not be seen as a whole;
    /// no zone counts as free then.
    pub fn scan(&self) -> Result<ZoneMap> {
        self.inner.scan()
    }

    /// Who uses one zone, and how.
    ///
    /// # Errors
    /// As [`ZoneAllocator::scan`].
    pub fn who(&self, zone: Zone) -> Result<ZoneUse> {
        self.inner.who(zone)
    }

    /// The zones of a range that nobody uses, the lowest first, by one scan.
    ///
    /// # Errors
    /// As [`ZoneAllocator::scan`], and for a range without a zone in it.
    pub fn free_zones(&self, range: impl RangeBounds<u16>) -> Result<std::vec::IntoIter<Zone>> {
        let free: Vec<Zone> = self.inner.scan()?.free(range)?.collect();
        Ok(free.into_iter())
    }

    /// All claims, the lowest zone first, by one list of the claims alone.
    ///
    /// # Errors
    /// As [`ZoneAllocator::scan`].
    pub fn claims(&self) -> Result<Vec<Claim>> {
        self.inner.claims()
    }
}

/// Leasing.
impl ZoneAllocator {
    /// The zone of this owner: the one it has, in this or another process, be it in the range or not;
    /// else the next free one of the range.
    ///
    /// Where another instance holds it, that one is fenced off: its renewals fail from then on. The
    /// zone is claimed at every moment meanwhile.
    ///
    /// # Errors
    /// - [`is_exhausted`](Error::is_exhausted), with the counts of why.
    /// - [`is_scan_incomplete`](Error::is_scan_incomplete).
    /// - [`is_deadline`](Error::is_deadline): another process was acquiring for the same owner all
    ///   the time.
    /// - [`is_table_full`](Error::is_table_full), [`is_permission_denied`](Error::is_permission_denied).
    pub fn acquire<K>(&self, owner: K) -> Result<Lease>
    where
        K: TryInto<OwnerKey>,
        Error: From<K::Error>,
    {
        self.one(Want::any(owner.try_into()?)?)
    }

    /// The same for many owners at once, with one look at the table for all. There is one result for
    /// each owner, in order; [`is_lost`](Error::is_lost) for a lease that ended while the others were
    /// looked for.
    ///
    /// # Errors
    /// For a key that is none; then nothing was done.
    pub fn acquire_many<K>(&self, owners: impl IntoIterator<Item = K>) -> Result<Vec<Result<Lease>>>
    where
        K: TryInto<OwnerKey>,
        Error: From<K::Error>,
    {
        let wants = owners
            .into_iter()
            .map(|owner| Want::any(owner.try_into()?))
            .collect::<Result<Vec<Want>>>()?;
        Ok(acquire(&self.inner, &wants))
    }

    /// A zone for an owner without a name: it cannot be found again after a restart, and comes free
    /// when it is released or not renewed.
    ///
    /// # Errors
    /// As [`ZoneAllocator::acquire`].
    pub fn allocate(&self) -> Result<Lease> {
        self.one(Want::any(OwnerKey::random())?)
    }

    /// This very zone, which need not be in the range.
    ///
    /// # Errors
    /// [`is_conflict`](Error::is_conflict) when somebody uses it, in whatever way, or the owner has
    /// another zone: [`taken_by`](Error::taken_by) says who and how. Else as
    /// [`ZoneAllocator::acquire`].
    pub fn reserve<K>(&self, owner: K, zone: Zone) -> Result<Lease>
    where
        K: TryInto<OwnerKey>,
        Error: From<K::Error>,
    {
        self.one(Want::at(owner.try_into()?, zone)?)
    }

    /// This very zone, with the entries that are in it and the rules that name it: for zones that the
    /// caller used before it had leases of them.
    ///
    /// # Errors
    /// As [`ZoneAllocator::reserve`], but only claims and the caller's own reserves are in the way.
    pub fn adopt<K>(&self, owner: K, zone: Zone) -> Result<Lease>
    where
        K: TryInto<OwnerKey>,
        Error: From<K::Error>,
    {
        self.one(Want::at(owner.try_into()?, zone)?.with_its_traffic())
    }

    /// Gives the zone of a lease to another owner, with its entries. It is claimed at every moment
    /// meanwhile.
    ///
    /// # Errors
    /// - [`is_lost`](Error::is_lost): the lease is not held any more.
    /// - [`is_conflict`](Error::is_conflict): the new owner has a zone already.
    ///
    /// The old owner keeps the zone in every case of an error; the same key acquires it again.
    pub fn rename<K>(&self, lease: Lease, owner: K) -> Result<Lease>
    where
        K: TryInto<OwnerKey>,
        Error: From<K::Error>,
    {
        rename(&self.inner, lease, owner.try_into()?.of_somebody()?)
    }

    /// The lease of this zone that another process has already as this very instance
    /// ([`ZoneAllocatorBuilder::instance`]), such as a former run of a command that told its instance.
    /// It is renewed. Nothing is claimed and nothing taken over.
    ///
    /// # Errors
    /// [`is_lost`](Error::is_lost) where this owner does not hold the zone as this instance, with who
    /// holds it now.
    pub fn resume<K>(&self, owner: K, zone: Zone) -> Result<Lease>
    where
        K: TryInto<OwnerKey>,
        Error: From<K::Error>,
    {
        resume(&self.inner, owner.try_into()?, zone)
    }

    fn one(&self, want: Want) -> Result<Lease> {
        let mut results = acquire(&self.inner, &[want]);
        results.remove(0)
    }

    /// The leases that this allocator holds, the lowest zone first.
    #[must_use]
    pub fn leases(&self) -> Vec<Lease> {
        let handles = self.inner.memory().handles();
        handles.into_iter().map(Lease::again).collect()
    }

    /// Renews all leases of this allocator. Those that are lost are not renewed any more.
    ///
    /// # Errors
    /// What concerns a lease is in the result.
    pub fn renew(&self) -> Renewed {
        let leases = self.inner.memory().leases();
        self.inner.renew(&leases)
    }

    /// Keeps the leases of this allocator, on a thread of its own, for as long as the keeper lives:
    /// see [`Keeper`].
    ///
    /// # Errors
    /// When the thread cannot be started or events cannot be subscribed to.
    pub fn keep(&self) -> Result<Keeper> {
        Keeper::start(&self.inner, None)
    }

    /// The same, which tells of what happens by a call from its thread, rather than by
    /// [`Keeper::events`].
    ///
    /// # Errors
    /// As [`ZoneAllocator::keep`].
    pub fn keep_with(&self, tell: impl FnMut(LeaseEvent) + Send + 'static) -> Result<Keeper> {
        Keeper::start(&self.inner, Some(Box::new(tell)))
    }
}

impl fmt::Debug for ZoneAllocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZoneAllocator")
            .field("ct", &self.inner.ct)
            .field("range", &self.inner.options.range)
            .field("instance", &self.inner.instance)
            .finish_non_exhaustive()
    }
}
