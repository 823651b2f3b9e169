//! Trying the kernel's filters out where a wrong answer costs nothing: in network namespaces of
//! their own, on threads of their own, both of which end with the trial.

mod dump;
mod features;
mod flush;
mod population;
mod trials;

use std::sync::OnceLock;
use std::time::Duration;
use std::{fs, thread};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use tracing::{info, warn};

use super::Session;
use crate::error::{Error, Operation, Result};
use crate::link::{Buffers, Namespace, Pool, Target};
use crate::model::{Boot, KernelSupport};

#[cfg(test)]
pub(super) use self::{
    flush::Flushes,
    population::{
        LEAST, addresses, asked_addresses, asked_ports, conditions, entries, filters, ports,
    },
    trials::Ground,
};

/// Enough for any trial; a kernel that takes longer is not worth being asked.
const DEADLINE: Duration = Duration::from_secs(5);
const BUFFER: usize = 1 << 20;

impl KernelSupport {
    /// Finds out whether the kernel's filters can be tried, and what else it can do. Done once in
    /// the life of the process; after that, what was found is given again.
    ///
    /// Each kind of filter is tried when it is first asked for, for lists and flushes apart and for
    /// each family apart: a handle pays for those that its own filters have, and
    /// [`KernelSupport::trials`] for all.
    ///
    /// It takes a thread and a network namespace, which end with it, and so does each trial:
    /// `CAP_SYS_ADMIN`. Where they cannot be had, nothing is proven and [`KernelSupport::why_not`]
    /// says why. A kernel that has translation and helpers as modules loads them, as it does at
    /// their first use.
    ///
    /// ```
    /// use ctnetlink::KernelSupport;
    ///
    /// let support = KernelSupport::probe();
    /// println!("{support}");
    /// ```
    #[must_use]
    pub fn probe() -> Self {
        Self::probed().clone()
    }

    pub(crate) fn probed() -> &'static Self {
        static PROBED: OnceLock<KernelSupport> = OnceLock::new();
        PROBED.get_or_init(|| {
            let span = tracing::debug_span!("probe");
            let _entered = span.enter();
            match elsewhere(|| Ok(features::find(&session()?))) {
                Ok(features) => {
                    info!(?features, "asked what the kernel can do");
                    Self {
                        tester: Some(trials::of_this_kernel()),
                        features,
                        boot: Boot::this(),
                        ..Self::default()
                    }
                }
                Err(error) => {
                    warn!(%error, "nothing of the kernel's filters can be tried");
                    Self::failed(error.reason())
                }
            }
        })
    }

    /// Whether it was found on the kernel that runs, since it was booted. What was stored holds for
    /// nothing else: not for another kernel, and not for the next boot, which may have another.
    ///
    /// False where that cannot be known: `/proc` is not mounted, or what was stored does not say.
    #[must_use]
    pub fn is_of_this_boot(&self) -> bool {
        self.tester.is_some() || self.boot.is_some() && self.boot == Boot::this()
    }

    /// What may be believed of it: nothing, if it was found on another kernel or before a boot.
    pub(crate) fn believed(self) -> Self {
        let proves = |support: &Self| {
            let mut trials = support.trials.iter();
            trials.any(|trial| trial.dump.is_right() || trial.flush.is_right())
        };
        if self.is_of_this_boot() || !proves(&self) {
            return self;
        }
        let of = self.release().unwrap_or("a kernel that is not named");
        let why = format!("what was given was found on {of}, and not since this boot");
        warn!("{why}: nothing is believed of it");
        Self::failed(why)
    }
}

impl Boot {
    /// That of the running kernel.
    fn this() -> Option<Self> {
        let read = |name: &str| {
            let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?;
            let text = text.trim_end();
            (!text.is_empty()).then(|| text.to_owned())
        };
        Some(Self {
            release: read("osrelease")?,
            id: read("random/boot_id")?,
        })
    }
}

/// Works on a thread of its own, in a namespace of its own.
fn elsewhere<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let failed = |error| Error::system(Operation::Probe, "start a thread", &error, None);
    thread::scope(|scope| {
        thread::Builder::new()
            .name("ctnetlink-probe".into())
            .spawn_scoped(scope, move || {
                let failed = |errno, hint| {
                    Error::system(
                        Operation::Probe,
                        "make a network namespace",
                        errno,
                        Some(hint),
                    )
                };
                let live = Namespace::open(Target::Current)?;
                unshare(CloneFlags::CLONE_NEWNET)
                    .map_err(|errno| failed(errno, "it needs CAP_SYS_ADMIN"))?;
                // A sandbox may say yes and do nothing, and a trial may empty the table.
                if Namespace::open(Target::Current)?.is_same(&live) {
                    return Err(failed(Errno::EPERM, "it is said to be made, and is not"));
                }
                drop(live);
                work()
            })
            .map_err(failed)?
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A session in the namespace of the thread.
fn session() -> Result<Session> {
    let buffers = Buffers {
        receive: BUFFER,
        send: BUFFER,
    };
    let pool = Pool::new(Namespace::open(Target::Current)?, buffers);
    Ok(Session::new(pool, DEADLINE))
}
