//! The handle that users hold.

use std::borrow::Borrow;
use std::fmt;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::filter::Filter;
use crate::link::{Buffers, Namespace, Pool, Target};
use crate::model::{
    Count, CpuStats, DeleteOptions, Deleted, Entry, ExpectCpuStats, Family, Health, KernelSupport,
    Key, NewEntry, Update, Zone, ZoneRule,
};
use crate::ops::{
    self, Batch, Entries, EventsBuilder, Expectations, Policies, Session, Settings, Visited,
};
use crate::wire::EntryRef;

/// A handle on the conntrack table of one network namespace.
///
/// It can be shared between threads (`Send + Sync`, every call takes `&self`, a clone is cheap and
/// shares the sockets). Each call uses a socket for itself while it runs, out of a small pool, so
/// calls do not wait for each other: deleting while listing just works.
///
/// The handle keeps its namespace alive for as long as it lives, even when its name is deleted.
///
/// All calls need `CAP_NET_ADMIN` in the user namespace that owns the network namespace.
///
/// ```no_run
/// use ctnetlink::{Conntrack, Filter};
/// use std::time::Duration;
///
/// let router = Conntrack::builder()
///     .netns("qrouter-1")
///     .deadline(Duration::from_secs(2))
///     .open()?;
/// println!("{} entries", router.count()?.entries);
/// for entry in router.list(&Filter::new())? {
///     println!("{}", entry?);
/// }
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[derive(Clone)]
pub struct Conntrack {
    session: Arc<Session>,
    buffers: Buffers,
}

/// How to open a [`Conntrack`].
#[derive(Debug)]
#[must_use = "nothing is opened until `open` is called"]
pub struct Builder {
    target: Target,
    deadline: Duration,
    buffers: Buffers,
    support: Option<KernelSupport>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            target: Target::Current,
            deadline: Self::DEADLINE,
            buffers: Buffers {
                receive: Self::BUFFER,
                send: Self::BUFFER,
            },
            support: None,
        }
    }
}

impl Builder {
    /// The default of [`Builder::deadline`].
    pub const DEADLINE: Duration = Duration::from_secs(10);
    /// The default of [`Builder::receive_buffer`] and [`Builder::send_buffer`].
    pub const BUFFER: usize = 1 << 20;

    /// The namespace of this name, as `ip netns` keeps them under `/run/netns`. The default is the
    /// calling thread's own.
    ///
    /// A socket in another namespace is opened on a throw-away thread; the caller's threads never
    /// move. It needs `CAP_SYS_ADMIN`.
    pub fn netns(mut self, name: impl Into<String>) -> Self {
        self.target = Target::Name(name.into());
        self
    }

    /// The namespace behind this path.
    pub fn netns_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.target = Target::Path(path.into());
        self
    }

    /// The namespace of this process.
    pub fn netns_pid(mut self, pid: u32) -> Self {
        self.target = Target::Pid(pid);
        self
    }

    /// The namespace of this open file, for example of `/proc/PID/ns/net`.
    pub fn netns_fd(mut self, file: impl Into<OwnedFd>) -> Self {
        self.target = Target::Fd(file.into());
        self
    }

    /// The longest wait for the kernel's next answer. Of a list it is the wait for the next piece,
    /// not for the whole; the time that the caller takes between items does not count.
    ///
    /// The kernel works on a request while it is sent, and that cannot be cut short: a flush of
    /// millions of entries takes its time. An answer that is there already is always read.
    ///
    /// Nor does it hold for trials of the kernel's filters, for which the first use of each kind of
    /// filter waits: milliseconds as a rule, and at most 5 seconds for each of their answers
    /// ([`KernelSupport::probe`]). [`Builder::kernel_support`] spares them.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The receive buffer of each socket, in bytes, at most 1 GiB. `SO_RCVBUFFORCE` is tried first, then
    /// `SO_RCVBUF`, which `net.core.rmem_max` limits. See [`Conntrack::receive_buffer`] for what
    /// was got.
    #[doc(alias = "SO_RCVBUFFORCE")]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.buffers.receive = bytes;
        self
    }

    /// The send buffer of each socket, in bytes, at most 1 GiB. `SO_SNDBUFFORCE` is tried first, then
    /// `SO_SNDBUF`, which `net.core.wmem_max` limits. See [`Conntrack::send_buffer`] for what was
    /// got.
    #[doc(alias = "SO_SNDBUFFORCE")]
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.buffers.send = bytes;
        self
    }

    /// What is known of the kernel's filters, from a [`KernelSupport::probe`] made elsewhere, or
    /// stored by this library since the kernel was booted.
    /// Without it they are tried when a filter is first used, in throw-away network namespaces;
    /// [`KernelSupport::unproven`] has everything done in user space and tries nothing.
    ///
    /// What was found on another kernel, before a boot ([`KernelSupport::is_of_this_boot`]), or by a
    /// version of this library whose trials are others, is not believed: the handle then does everything in user space, and its
    /// [`Conntrack::kernel_support`] says why.
    pub fn kernel_support(mut self, support: KernelSupport) -> Self {
        self.support = Some(support);
        self
    }

    /// Opens the handle, and checks that the kernel answers.
    ///
    /// # Errors
    /// Names what is missing and what to do about it: the namespace, `CAP_NET_ADMIN`
    /// ([`Error::is_permission_denied`](crate::Error::is_permission_denied)), or the kernel's
    /// ctnetlink (module `nf_conntrack_netlink`, `CONFIG_NF_CT_NETLINK`).
    pub fn open(self) -> Result<Conntrack> {
        let namespace = Namespace::open(self.target)?;
        let pool = Pool::new(namespace, self.buffers);
        let buffers = pool.take()?.buffers();
        let session = Session::new(pool, self.deadline)
            .with_support(self.support.map(KernelSupport::believed));
        ops::open_check(&session)?;
        Ok(Conntrack {
            session: Arc::new(session),
            buffers,
        })
    }
}

/// Opening.
impl Conntrack {
    /// Opens the table of the calling thread's network namespace.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub fn open() -> Result<Self> {
        Self::builder().open()
    }

    /// For another namespace, or other deadlines and buffers.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The same handle, sharing its sockets, with another deadline.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self {
            session: Arc::new(self.session.with_deadline(deadline)),
            buffers: self.buffers,
        }
    }

    /// The longest wait for the kernel's next answer.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.session.deadline
    }

    /// The receive buffer that the kernel granted, in bytes: twice of what was asked for if nothing
    /// limits it, because the kernel counts its own bookkeeping in.
    #[must_use]
    pub fn receive_buffer(&self) -> usize {
        self.buffers.receive
    }

    /// The send buffer that the kernel granted, in bytes.
    #[must_use]
    pub fn send_buffer(&self) -> usize {
        self.buffers.send
    }
}

/// One entry.
impl Conntrack {
    /// Creates an entry that is not there yet (`NLM_F_CREATE | NLM_F_EXCL`).
    ///
    /// # Errors
    /// - [`is_exists`](crate::Error::is_exists): one of its tuples is taken in that zone; nothing
    ///   has changed.
    /// - [`is_table_full`](crate::Error::is_table_full), with the figures.
    /// - [`is_unsupported`](crate::Error::is_unsupported): the kernel does not track that protocol
    ///   by its ports, or was built without zones.
    ///
    /// ```
    /// # use ctnetlink::{Conntrack, Entry, Icmp}; use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?; // a table of the example's own
    /// let ct = Conntrack::open()?;
    /// let ping = Entry::icmp([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), Icmp::echo_request(7))
    ///     .timeout(Duration::from_secs(30))
    ///     .build()?;
    /// match ct.create(&ping) {
    ///     Err(error) if error.is_exists() => {} // somebody else's ping
    ///     other => other?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "IPCTNL_MSG_CT_NEW")]
    pub fn create(&self, entry: &NewEntry) -> Result<()> {
        ops::create(&self.session, entry)
    }

    /// Creates an entry, or changes the one that has its original tuple in that zone.
    ///
    /// Of an entry that is there, the time-out is changed, and mark, status, tracker state and labels
    /// where the new entry speaks of them. Its reply tuple, helper, master, translation, sequence
    /// adjustment and SYN proxy state stay.
    ///
    /// # Errors
    /// - As [`Conntrack::create`]; [`is_exists`](crate::Error::is_exists) also when the flow of the
    ///   other direction has the tuple.
    /// - [`is_busy`](crate::Error::is_busy) when the new entry speaks of a status without `ASSURED`
    ///   or `SEEN_REPLY` and the old one has it; nothing has changed then.
    /// - As [`Conntrack::update`], whose note on refused changes holds here as well.
    #[doc(alias = "IPCTNL_MSG_CT_NEW")]
    pub fn upsert(&self, entry: &NewEntry) -> Result<()> {
        ops::upsert(&self.session, entry)
    }

    /// The entry of this key.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found), also when only an entry of the other direction
    /// or with another id has the tuple.
    #[doc(alias = "IPCTNL_MSG_CT_GET")]
    pub fn get(&self, key: impl Into<Key>) -> Result<Entry> {
        ops::get(&self.session, &key.into())
    }

    /// Changes the entry of this key. What the update does not name stays.
    ///
    /// The kernel makes the changes one after the other (helper, time-out, status, tracker state, mark,
    /// sequence adjustment, SYN proxy, labels): when it refuses one, those before it are made.
    ///
    /// The entry is looked up first, to be sure that it is the one that is meant. The kernel does
    /// not compare ids when it changes: an entry that takes the tuple between the look-up and the
    /// change is changed in its place.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found),
    /// [`is_fixed_timeout`](crate::Error::is_fixed_timeout),
    /// [`is_invalid_input`](crate::Error::is_invalid_input) for tracker state of another protocol,
    /// [`is_no_label_space`](crate::Error::is_no_label_space),
    /// [`is_busy`](crate::Error::is_busy) for the helper of an expected flow, and
    /// [`is_unsupported`](crate::Error::is_unsupported) where the entry has no room for a sequence
    /// adjustment or for what the SYN proxy remembers.
    pub fn update(&self, key: impl Into<Key>, update: &Update) -> Result<()> {
        ops::update(&self.session, &key.into(), update)
    }

    /// Deletes the entry of this key. The kernel compares the id, which is looked up first where the
    /// key has none; see [`Key`] for how far that goes.
    ///
    /// Deleting a TCP entry does not end the connection: with `net.netfilter.nf_conntrack_tcp_loose`
    /// (on by default) the next segment makes an entry again.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found): it is gone already, or only another entry has
    /// the tuple.
    #[doc(alias = "IPCTNL_MSG_CT_DELETE")]
    pub fn delete(&self, key: impl Into<Key>) -> Result<()> {
        ops::delete(&self.session, &key.into())
    }
}

/// The table.
impl Conntrack {
    /// The entries that meet the filter, one after the other, in constant memory.
    ///
    /// # Errors
    /// When the list cannot be started. What happens later is an item of the list.
    #[doc(alias = "NLM_F_DUMP")]
    pub fn list(&self, filter: &Filter) -> Result<Entries> {
        ops::list(&self.session, filter)
    }

    /// Hands every entry that meets the filter to the visitor, borrowed from the receive buffer:
    /// nothing is allocated for an entry, and only the fields that are asked for are decoded.
    ///
    /// The visitor may use the handle, and may break off.
    ///
    /// # Errors
    /// When the list cannot be started or breaks. An entry that cannot be decoded is counted and
    /// passed over.
    ///
    /// ```
    /// # use ctnetlink::{Conntrack, Filter, Zone};
    /// # use std::{collections::HashMap, ops::ControlFlow};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?; // a table of the example's own
    /// let ct = Conntrack::open()?;
    /// let mut zones: HashMap<Zone, u64> = HashMap::new();
    /// let visited = ct.visit(&Filter::new(), |entry| {
    ///     match entry.zone() {
    ///         Ok(zone) => *zones.entry(zone.zone()).or_default() += 1,
    ///         Err(error) => return ControlFlow::Break(error),
    ///     }
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert!(visited.stopped.is_none() && !visited.incomplete);
    /// # Ok(())
    /// # }
    /// ```
    pub fn visit<B>(
        &self,
        filter: &Filter,
        visitor: impl FnMut(EntryRef<'_>) -> ControlFlow<B>,
    ) -> Result<Visited<B>> {
        ops::visit(&self.session, filter, visitor)
    }

    /// All entries; the kernel sets the counters of each to zero as it hands it over.
    ///
    /// It takes no filter, since the figures of entries that a filter leaves out would be lost. If
    /// the list is dropped early, so are those that the kernel has handed over already.
    ///
    /// # Errors
    /// When the list cannot be started.
    #[doc(alias = "IPCTNL_MSG_CT_GET_CTRZERO")]
    pub fn list_and_zero_counters(&self) -> Result<Entries> {
        ops::list_and_zero_counters(&self.session, None)
    }

    /// All entries of a family, as [`Conntrack::list_and_zero_counters`] gives those of both. Those of
    /// the other family keep their figures.
    ///
    /// # Errors
    /// When the list cannot be started.
    pub fn list_family_and_zero_counters(&self, family: Family) -> Result<Entries> {
        ops::list_and_zero_counters(&self.session, Some(family))
    }

    /// How many entries the namespace has and how many it may have, by the kernel's own count.
    ///
    /// It counts expired entries that are not collected yet, so it may be more than a list finds.
    ///
    /// # Errors
    /// When the kernel does not answer.
    #[doc(alias = "IPCTNL_MSG_CT_GET_STATS")]
    pub fn count(&self) -> Result<Count> {
        ops::count(&self.session)
    }

    /// Entries that have ended and are still held, because their last event could not be delivered
    /// yet or something refers to them.
    ///
    /// # Errors
    /// When the list cannot be started.
    #[doc(alias = "IPCTNL_MSG_CT_GET_DYING")]
    pub fn list_dying(&self) -> Result<Entries> {
        ops::list_dying(&self.session)
    }

    /// Entries whose first packet is still on its way through the rules, so that they are not in the
    /// table yet. Kernels since 5.19 keep no list of them, and name none.
    ///
    /// # Errors
    /// When the list cannot be started.
    #[doc(alias = "IPCTNL_MSG_CT_GET_UNCONFIRMED")]
    pub fn list_unconfirmed(&self) -> Result<Entries> {
        ops::list_unconfirmed(&self.session)
    }

    /// What each CPU counted in this namespace. Their sum is
    /// `stats.into_iter().sum::<CpuStats>()`.
    ///
    /// # Errors
    /// When the kernel does not answer, and when an answer is damaged.
    ///
    /// ```
    /// # use ctnetlink::{Conntrack, CpuStats};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?; // a table of the example's own
    /// let ct = Conntrack::open()?;
    /// let all: CpuStats = ct.cpu_stats()?.into_iter().sum();
    /// assert_eq!((all.drop, all.early_drop), (Some(0), Some(0)));
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "IPCTNL_MSG_CT_GET_STATS_CPU")]
    pub fn cpu_stats(&self) -> Result<Vec<CpuStats>> {
        ops::cpu_stats(&self.session)
    }

    /// What each CPU counted of expectations in this namespace.
    ///
    /// # Errors
    /// When the kernel does not answer, and when an answer is damaged.
    #[doc(alias = "IPCTNL_MSG_EXP_GET_STATS_CPU")]
    pub fn expect_cpu_stats(&self) -> Result<Vec<ExpectCpuStats>> {
        ops::expect_cpu_stats(&self.session)
    }

    /// The expectations of this namespace: flows that helpers foresee.
    #[doc(alias = "NFNL_SUBSYS_CTNETLINK_EXP")]
    #[must_use]
    pub fn expectations(&self) -> Expectations<'_> {
        Expectations::new(&self.session)
    }

    /// The rules of this namespace that put packets into zones: nftables' `ct zone set`, and `-j CT`
    /// of iptables-nft with `--zone`, `--zone-orig` or `--zone-reply`. Rules that only match a zone
    /// are not among them.
    ///
    /// Where a rule looks the zone up in a map, its zones are those that are in the map, and those
    /// that other rules may add to it. Where it is computed from the packet they are not known
    /// ([`RuledZones::Any`](crate::RuledZones::Any)). Rules of the older iptables (`x_tables`, shown
    /// by `iptables-legacy`), flows of Open vSwitch and filters of tc(8) put packets into zones as
    /// well, and cannot be seen this way.
    ///
    /// A kernel without `nf_tables` has no rules. The memory that is needed does not grow with rules
    /// that set no zone, apart from the names of their chains.
    ///
    /// # Errors
    /// When the rules cannot be read, and when they were changed, or changes were tried, each time
    /// that they were; never only some of them. [`is_permission_denied`](crate::Error::is_permission_denied) without
    /// `CAP_NET_ADMIN`.
    ///
    /// ```
    /// # use ctnetlink::{Conntrack, Zone};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?; // a table of the example's own
    /// let ct = Conntrack::open()?;
    /// for rule in ct.zone_rules()? {
    ///     if rule.zones().may_be(Zone::new(4097)) {
    ///         println!("zone 4097 is not free: {rule}");
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "NFT_MSG_GETRULE")]
    pub fn zone_rules(&self) -> Result<Vec<ZoneRule>> {
        ops::zone_rules(&self.session)
    }

    /// The settings of connection tracking in this namespace.
    #[must_use]
    pub fn settings(&self) -> Settings<'_> {
        Settings::new(&self.session)
    }

    /// The time-out policies of this namespace, and the defaults of each protocol.
    #[must_use]
    pub fn timeout_policies(&self) -> Policies<'_> {
        Policies::new(&self.session)
    }

    /// What an operator asks first: how full the table is, what was lost, and what is kept.
    ///
    /// # Errors
    /// When one of it cannot be read.
    pub fn health(&self) -> Result<Health> {
        ops::health(&self.session)
    }

    /// Deletes the entries that meet the filter, and no others, whatever kernel this is.
    ///
    /// Where the kernel was proven to do right by a filter of exactly this kind
    /// ([`KernelSupport`]), it is one request. Else the table is walked, what comes is checked, and
    /// each entry is deleted by its tuple, zone and id.
    ///
    /// An entry that takes the tuple meanwhile often has the old one's id ([`Entry::id`]). So where
    /// the filter asks for what can differ between the two (a mark, a status, a state), entries are
    /// looked at once more, some hundreds at a time, right before they are deleted, and those that no
    /// longer match are left alone. Until the kernel has worked on that datagram, one may still
    /// change unseen.
    ///
    /// # Errors
    /// - [`is_invalid_input`](crate::Error::is_invalid_input) for a filter without conditions, or
    ///   with none that leaves an entry out: flushing everything is a call of its own.
    /// - When nothing could be done at all. What fails later is in the result.
    ///
    /// ```
    /// # use ctnetlink::{Conntrack, Filter, Zone};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?; // a table of the example's own
    /// let ct = Conntrack::open()?;
    /// let stale = Filter::new().zone(Zone::new(5)).orig_dst_port(53);
    /// let gone = ct.delete_matching(&stale)?;
    /// assert!(gone.is_clean());
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete_matching(&self, filter: &Filter) -> Result<Deleted> {
        self.delete_matching_with(filter, &DeleteOptions::new())
    }

    /// As [`Conntrack::delete_matching`], with care: see [`DeleteOptions`].
    ///
    /// # Errors
    /// As [`Conntrack::delete_matching`]; [`is_too_many`](crate::Error::is_too_many) when more
    /// match than may be deleted, and nothing was.
    pub fn delete_matching_with(
        &self,
        filter: &Filter,
        options: &DeleteOptions,
    ) -> Result<Deleted> {
        ops::delete_matching(&self.session, filter, options)
    }

    /// As [`Conntrack::delete_matching_with`], of the entries that meet the filter those that `meant`
    /// approves, and says of each that it is gone: `gone` is handed every entry once it was deleted, or,
    /// in a dry run, every one that would be. It may break off, which leaves what comes after; what was
    /// deleted together with that entry is told all the same.
    ///
    /// The table is walked in any case, in constant memory, and entries are deleted some thousands at a
    /// time. Since it is `meant` that says what is to go, a filter without conditions is no error here.
    ///
    /// # Errors
    /// As [`Conntrack::delete_matching_with`].
    ///
    /// ```
    /// # use ctnetlink::{Conntrack, DeleteOptions, Filter, Protocol};
    /// # use std::ops::ControlFlow;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?; // a table of the example's own
    /// let ct = Conntrack::open()?;
    /// let dns = Filter::new().protocol(Protocol::UDP).orig_dst_port(53);
    /// let unanswered = |entry: &ctnetlink::Entry| entry.reply_counters().is_some_and(|c| c.packets == 0);
    /// let gone = ct.delete_each(&dns, &DeleteOptions::new(), Some(&unanswered), |entry| {
    ///     println!("{entry}");
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert!(gone.is_clean());
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete_each(
        &self,
        filter: &Filter,
        options: &DeleteOptions,
        meant: Option<&dyn Fn(&Entry) -> bool>,
        mut gone: impl FnMut(&Entry) -> ControlFlow<()>,
    ) -> Result<Deleted> {
        ops::delete_each(&self.session, filter, options, meant, &mut gone)
    }

    /// Deletes the entries of a zone, of both families, in whichever direction it holds. Zone 0 are
    /// the entries that are in no other zone.
    ///
    /// The claim of a leased zone ([`ZoneAllocator`](crate::ZoneAllocator)) stays: such a zone is
    /// walked, and never without its claim. [`Conntrack::delete_matching`] deletes claims like any
    /// entry that its filter means.
    ///
    /// # Errors
    /// As [`Conntrack::delete_matching`].
    #[doc(alias = "CTA_ZONE")]
    pub fn flush_zone(&self, zone: Zone) -> Result<Deleted> {
        ops::flush_zone(&self.session, zone, &DeleteOptions::new())
    }

    /// Deletes the entries of a family, in every zone. Kernels before 5.10 that do it in one request
    /// pass over offloaded flows in silence: [`DeleteOptions::verify`] finds them.
    ///
    /// # Errors
    /// As [`Conntrack::delete_matching`].
    pub fn flush_family(&self, family: Family) -> Result<Deleted> {
        self.delete_matching(&Filter::new().family(family))
    }

    /// What is proven of the kernel's filters, and used by this handle: a shape is tried when it is
    /// first asked for.
    #[must_use]
    pub fn kernel_support(&self) -> &KernelSupport {
        self.session.support()
    }

    /// Removes every entry of every zone and both families of the namespace.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn flush_all(&self) -> Result<()> {
        ops::flush_all(&self.session)
    }
}

/// Events.
impl Conntrack {
    /// A subscription to what happens to entries, on a socket of its own.
    #[doc(alias = "NFNLGRP_CONNTRACK_NEW")]
    pub fn events(&self) -> EventsBuilder<'_> {
        EventsBuilder::new(&self.session)
    }
}

/// Batches: several messages a datagram, one result an entry.
impl Conntrack {
    /// Creates entries that are not there yet, each as [`Conntrack::create`] does.
    ///
    /// ```
    /// # use ctnetlink::{Conntrack, NewEntry};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?; // a table of the example's own
    /// # let saved: Vec<NewEntry> = Vec::new();
    /// let ct = Conntrack::open()?;
    /// let batch = ct.create_many(&saved);
    /// for (place, error) in batch.failures() {
    ///     eprintln!("{}: {error}", saved[place]);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_many<E: Borrow<NewEntry>>(&self, entries: impl IntoIterator<Item = E>) -> Batch {
        ops::create_many(&self.session, entries.into_iter())
    }

    /// Changes entries, each as [`Conntrack::update`] does.
    pub fn update_many<K: Into<Key>, U: Borrow<Update>>(
        &self,
        changes: impl IntoIterator<Item = (K, U)>,
    ) -> Batch {
        let changes = changes.into_iter();
        ops::update_many(
            &self.session,
            changes.map(|(key, update)| (key.into(), update)),
        )
    }

    /// Deletes entries, each as [`Conntrack::delete`] does. Keys of listed entries have their ids,
    /// which spares the look-up.
    pub fn delete_many<K: Into<Key>>(&self, keys: impl IntoIterator<Item = K>) -> Batch {
        ops::delete_many(&self.session, keys.into_iter().map(Into::into))
    }
}

impl Conntrack {
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }
}

impl fmt::Debug for Conntrack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conntrack")
            .field("netns", &self.session.pool.label())
            .field("deadline", &self.session.deadline)
            .field("buffers", &self.buffers)
            .finish_non_exhaustive()
    }
}
