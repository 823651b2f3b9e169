//! Trying the kernel's filters out where a wrong answer costs nothing: in network namespaces of
//! their own, on threads of their own, both of which end with the trial.

mod dump;
mod features;
mod flush;
mod population;
mod process;
mod proof;
mod trials;

use std::time::Duration;
use std::{fs, thread};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use tracing::warn;

use super::Session;
use crate::error::{Error, Operation, Result};
use crate::link::{Buffers, Namespace, Pool, Target};
use crate::model::{Boot, EDITION, KernelSupport};

#[cfg(test)]
pub(super) use self::{
    dump::{FEW, Lists},
    flush::Flushes,
    population::{LEAST, entries, filters},
    proof::{Value, asked, conditions, values},
    trials::{Ground, try_out},
};

/// Enough for any trial; a kernel that takes longer is not worth being asked.
const DEADLINE: Duration = Duration::from_secs(5);
const BUFFER: usize = 1 << 20;

impl KernelSupport {
    /// Whether it was found on the kernel that runs, since it was booted. What was stored holds for
    /// nothing else: not for another kernel, and not for the next boot, which may have another.
    ///
    /// False where that cannot be known: `/proc` is not mounted, or what was stored does not say.
    #[must_use]
    pub fn is_of_this_boot(&self) -> bool {
        self.tester.is_some() || self.boot.is_some() && self.boot == Boot::this()
    }

    /// What may be believed of it: nothing, if it was found on another kernel, before a boot, or by
    /// other trials.
    pub(crate) fn believed(self) -> Self {
        let proves = |support: &Self| {
            let mut trials = support.trials.iter();
            trials.any(|trial| trial.dump.is_right() || trial.flush.is_right())
        };
        let same_trials = self.edition == Some(EDITION);
        if self.is_of_this_boot() && same_trials || !proves(&self) {
            return self;
        }
        let why = if self.is_of_this_boot() {
            "what was given comes from another version of the library, which tried otherwise"
                .to_owned()
        } else {
            let of = self.release().unwrap_or("a kernel that is not named");
            format!("what was given was found on {of}, and not since this boot")
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FilterShape, Trial, Verdict};

    #[test]
    fn what_other_trials_found_is_not_believed() {
        let right = Trial {
            shape: FilterShape::ZONE,
            family: None,
            dump: Verdict::Unproven,
            flush: Verdict::Right,
        };
        let stored = |edition, boot| KernelSupport {
            trials: vec![right],
            edition,
            boot,
            ..KernelSupport::default()
        };
        let own = stored(Some(EDITION), Boot::this());
        assert_eq!(own.clone().believed(), own);
        for (edition, boot, why) in [
            (None, Boot::this(), "from another version of the library"),
            (
                Some(EDITION + 1),
                Boot::this(),
                "from another version of the library",
            ),
            (Some(EDITION), None, "not since this boot"),
        ] {
            let used = stored(edition, boot).believed();
            assert!(used.why_not().unwrap().contains(why), "{used}");
            assert!(used.trials().is_empty());
        }
        // Where nothing was right there is nothing to doubt.
        let nothing = KernelSupport::unproven();
        assert_eq!(nothing.clone().believed(), nothing);
    }
}
