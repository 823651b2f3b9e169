//! Trying the kernel's filters out where a wrong answer costs nothing: in network namespaces of
//! their own, on threads of their own, both of which end with the trial.

mod dump;
mod features;
mod flush;
mod population;

use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use tracing::{debug, info, warn};

use super::Session;
use crate::error::{Error, Operation, Result};
use crate::link::{Buffers, Namespace, Pool, Target};
use crate::model::{Family, FilterShape, KernelFilter, KernelSupport, Trial, Verdict};

/// Enough for any trial; a kernel that takes longer is not worth being asked.
const DEADLINE: Duration = Duration::from_secs(5);
const BUFFER: usize = 1 << 20;

impl KernelSupport {
    /// Tries each kind of filter, in lists and in flushes and for both families, and what else
    /// matters. Done once in the life of the process; after that, what was found is given again.
    ///
    /// It takes two network namespaces and two threads, which end with the trial: `CAP_SYS_ADMIN`.
    /// Where they cannot be had, nothing is proven and [`KernelSupport::why_not`] says why. A kernel
    /// that has translation and helpers as modules loads them, as it does at their first use.
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
            let support = try_out().unwrap_or_else(|error| {
                warn!(%error, "nothing of the kernel's filters could be tried");
                Self::failed(error.reason())
            });
            for trial in support.trials() {
                if !(trial.dump.is_right() && trial.flush.is_right()) {
                    debug!(shape = %trial.shape, family = ?trial.family, list = %trial.dump, flush = %trial.flush, "a filter of the kernel's is not used");
                }
            }
            info!(trials = support.trials().len(), "tried the kernel's filters");
            support
        })
    }
}

/// Every shape that is ever asked of a kernel, with the family that the request names.
fn shapes() -> Vec<(FilterShape, Option<Family>)> {
    use FilterShape as S;
    let plain = [
        S::ZONE,
        S::ZONE_0,
        S::MARK,
        S::MARK_MASK,
        S::STATUS,
        S::ZONE | S::MARK,
        S::ZONE | S::STATUS,
    ];
    let of_family = [
        S::FAMILY,
        S::FAMILY | S::ZONE,
        S::FAMILY | S::ORIG_SRC,
        S::FAMILY | S::ORIG_DST,
        S::FAMILY | S::REPLY_SRC,
        S::FAMILY | S::REPLY_DST,
        S::FAMILY | S::ORIG_PROTOCOL,
        S::FAMILY | S::ORIG_PROTOCOL | S::ORIG_SRC_PORT,
        S::FAMILY | S::ORIG_PROTOCOL | S::ORIG_DST_PORT,
        S::FAMILY | S::ORIG_PROTOCOL | S::REPLY_PROTOCOL | S::REPLY_SRC_PORT,
        S::FAMILY | S::ORIG_PROTOCOL | S::REPLY_PROTOCOL | S::REPLY_DST_PORT,
        S::FAMILY | S::ZONE | S::ORIG_SRC,
        S::FAMILY | S::ORIG_SRC | S::ORIG_PROTOCOL | S::ORIG_DST_PORT,
    ];
    let mut all: Vec<_> = plain.into_iter().map(|shape| (shape, None)).collect();
    for family in [Family::Ipv4, Family::Ipv6] {
        all.extend(of_family.into_iter().map(|shape| (shape, Some(family))));
    }
    all
}

/// The first verdict that is not right, if there is one.
fn worst(
    filters: Vec<KernelFilter>,
    mut verdict: impl FnMut(&KernelFilter) -> Result<Verdict>,
) -> Result<Verdict> {
    for filter in filters {
        let verdict = verdict(&filter)?;
        if !verdict.is_right() {
            return Ok(verdict);
        }
    }
    Ok(Verdict::Right)
}

fn try_out() -> Result<KernelSupport> {
    let shapes = shapes();
    let (dumps, flushes) = thread::scope(|scope| {
        let dumps = elsewhere(scope, || dump::trials(&shapes));
        let flushes = elsewhere(scope, || flush::trials(&shapes));
        let join = |thread: Result<thread::ScopedJoinHandle<'_, _>>| {
            thread?
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        (
            join(dumps),
            flushes.and_then(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }),
        )
    });
    let dumps: Vec<Verdict> = dumps?;
    let (flushes, features): (Vec<Verdict>, _) = flushes?;
    let trials = shapes
        .into_iter()
        .zip(dumps.into_iter().zip(flushes))
        .map(|((shape, family), (dump, flush))| Trial {
            shape,
            family,
            dump,
            flush,
        })
        .collect();
    Ok(KernelSupport {
        trials,
        features,
        why_not: None,
    })
}

/// Works on a thread of its own, in a namespace of its own.
fn elsewhere<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    work: impl FnOnce() -> Result<T> + Send + 'scope,
) -> Result<thread::ScopedJoinHandle<'scope, Result<T>>> {
    thread::Builder::new()
        .name("ctnetlink-probe".into())
        .spawn_scoped(scope, move || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| {
                Error::system(
                    Operation::Probe,
                    "make a network namespace",
                    errno,
                    Some("it needs CAP_SYS_ADMIN"),
                )
            })?;
            work()
        })
        .map_err(|error| Error::system(Operation::Probe, "start a thread", &error, None))
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
