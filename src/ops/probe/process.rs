//! What a process has found out, each once.

use std::process;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::{info, warn};

use super::trials::Trials;
use super::{elsewhere, features, session};
use crate::error::Result;
use crate::model::{Asked, Boot, EDITION, Features, KernelSupport, Tester, Trial, Use, Verdict};

/// Something of each process. A child of `fork` has the memory of its parent, in which a thread that
/// is not in the child may be at work; it gets its own. What is replaced stays, as others may use it.
struct PerProcess<T: 'static>(Mutex<Option<(u32, &'static T)>>);

impl<T> PerProcess<T> {
    fn get(&self, process: u32, make: impl FnOnce() -> T) -> &'static T {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *own {
            Some((of, value)) if of == process => value,
            _ => {
                let value = Box::leak(Box::new(make()));
                *own = Some((process, value));
                value
            }
        }
    }
}

/// What was found out.
struct Found {
    ground: Ground,
    trials: Trials,
    features: OnceLock<Features>,
}

fn found() -> &'static Found {
    static FOUND: PerProcess<Found> = PerProcess(Mutex::new(None));
    FOUND.get(process::id(), || Found {
        ground: Ground::default(),
        trials: Trials::of_this_kernel(),
        features: OnceLock::new(),
    })
}

/// Whether there can be trials.
#[derive(Default)]
struct Ground {
    there: OnceLock<KernelSupport>,
    /// The first failure, until there is a ground.
    failed: OnceLock<KernelSupport>,
    turn: Mutex<()>,
}

impl Ground {
    /// What is known; if nothing is, it is tried.
    fn known(&self, attempt: impl FnOnce() -> KernelSupport) -> &KernelSupport {
        if let Some(there) = self.there.get() {
            return there;
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.there.get().or_else(|| self.failed.get()) {
            return known;
        }
        let support = attempt();
        let cell = self.cell(&support);
        cell.get_or_init(|| support)
    }

    /// What is known; if it is that there was no ground, it is tried again.
    fn again(&self, attempt: impl FnOnce() -> KernelSupport) -> KernelSupport {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = self.there.get() {
            return there.clone();
        }
        let support = attempt();
        self.cell(&support).get_or_init(|| support.clone());
        support
    }

    fn cell(&self, support: &KernelSupport) -> &OnceLock<KernelSupport> {
        match support.why_not {
            None => &self.there,
            Some(_) => &self.failed,
        }
    }
}

/// The tester of whichever process asks.
#[derive(Debug)]
struct Own;

impl Tester for Own {
    fn first_right(&self, task: Use, shapes: &[Asked]) -> Option<Asked> {
        found().trials.first_right(task, shapes)
    }

    fn verdict(&self, task: Use, asked: Asked) -> Verdict {
        found().trials.verdict(task, asked)
    }

    fn all(&self) -> &[Trial] {
        found().trials.all()
    }

    fn features(&self) -> Features {
        let known = &found().features;
        if let Some(features) = known.get() {
            return *features;
        }
        let found: Result<Features> = elsewhere(|| Ok(features::find(&session()?)));
        match found {
            Ok(features) => {
                info!(?features, "asked what the kernel can do");
                *known.get_or_init(|| features)
            }
            Err(error) => {
                warn!(%error, "it could not be found out what the kernel can do");
                Features::default()
            }
        }
    }
}

/// A namespace can be had, and a socket in it. Nothing is asked of the kernel yet.
fn attempt() -> KernelSupport {
    let span = tracing::debug_span!("probe");
    let _entered = span.enter();
    match elsewhere(|| session()?.pool.take().map(drop)) {
        Ok(()) => KernelSupport {
            tester: Some(&Own),
            edition: Some(EDITION),
            boot: Boot::this(),
            ..KernelSupport::default()
        },
        Err(error) => {
            warn!(%error, "nothing of the kernel's filters can be tried");
            KernelSupport::failed(error.reason())
        }
    }
}

impl KernelSupport {
    /// Finds out whether the kernel's filters can be tried. Done once in the life of the process,
    /// and again by each call of this for as long as they could not: for want of a descriptor or a
    /// thread, for example. Handles that were opened before use what is found then.
    ///
    /// Each kind of filter is tried when it is first asked for, for lists and flushes apart and for
    /// each family apart: a handle pays for those that its own filters have, and
    /// [`KernelSupport::trials`] for all. So the first list, deletion or count with a filter of its
    /// kind waits for the trial: milliseconds, unless the kernel is busy. A trial has a deadline of
    /// its own, 5 seconds for each answer, whatever that of the handle. What could not be tried in
    /// that time, or for another reason, counts as broken for the life of the process. A child of
    /// `fork` tries for itself.
    ///
    /// It takes a thread and a network namespace, which end with it, and so does each trial:
    /// `CAP_SYS_ADMIN`. Where they cannot be had, nothing is proven and [`KernelSupport::why_not`]
    /// says why.
    ///
    /// ```
    /// use ctnetlink::KernelSupport;
    ///
    /// let support = KernelSupport::probe();
    /// println!("{support}");
    /// ```
    #[must_use]
    pub fn probe() -> Self {
        found().ground.again(attempt)
    }

    pub(crate) fn probed() -> &'static Self {
        found().ground.known(attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands for `fork`: a child is a process with another id.
    #[test]
    fn a_child_process_does_not_wait_for_a_thread_of_its_parent() {
        let cells = PerProcess(Mutex::new(None));
        let of = |process| cells.get(process, OnceLock::<u8>::new);
        let parent = of(1);
        parent.get_or_init(|| {
            // While the parent is at it.
            assert_eq!(of(2).get_or_init(|| 2), &2);
            assert_eq!(of(2).get(), Some(&2));
            1
        });
        assert_eq!(parent.get(), Some(&1));
    }

    #[test]
    fn what_could_not_be_tried_is_tried_again_when_asked_to() {
        let ground = Ground::default();
        let failed = |why: &str| KernelSupport::failed(why.to_owned());
        let there = KernelSupport {
            edition: Some(EDITION),
            ..KernelSupport::default()
        };
        let never = || unreachable!("it is known");
        assert_eq!(ground.known(|| failed("first")), &failed("first"));
        assert_eq!(ground.known(never), &failed("first"));
        assert_eq!(ground.again(|| failed("second")), failed("second"));
        assert_eq!(ground.known(never), &failed("first"));
        assert_eq!(ground.again(|| there.clone()), there);
        assert_eq!(ground.known(never), &there);
        assert_eq!(ground.again(never), there);
    }
}
