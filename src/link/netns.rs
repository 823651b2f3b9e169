//! Network namespaces: which one, and opening things in it.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{fstat, stat};
use nix::sys::statfs::fstatfs;

use crate::error::{Error, Operation, Result};

const CURRENT: &str = "/proc/thread-self/ns/net";
/// `linux/magic.h`
const NSFS_MAGIC: i64 = 0x6e73_6673;
const NO_NAMESPACE: &str = "that is not a network namespace";
const NAMED: &str = "/run/netns";

/// Which namespace a handle is for.
#[derive(Debug)]
pub(crate) enum Target {
    /// The calling thread's.
    Current,
    /// As ip-netns(8) names it.
    Name(String),
    Path(PathBuf),
    Pid(u32),
    Fd(OwnedFd),
}

/// A namespace that is kept alive, and how to name it.
#[derive(Debug)]
pub(crate) struct Namespace {
    file: OwnedFd,
    /// Device and inode: two files of one namespace have the same.
    identity: (u64, u64),
    label: String,
}

impl Namespace {
    pub(crate) fn open(target: Target) -> Result<Self> {
        let (file, label) = match target {
            Target::Current => {
                let label = std::fs::read_link(CURRENT)
                    .map_or_else(|_| "current".to_owned(), |link| link.display().to_string());
                let hint = "mount /proc: the namespace is pinned through it";
                (open(Path::new(CURRENT), hint)?, label)
            }
            Target::Name(name) => {
                // A name is one path component: it must not lead out of /run/netns.
                if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
                    return Err(Error::invalid(
                        "network namespace",
                        name,
                        "not a name",
                        "a name as `ip netns list` shows it; use netns_path for a path",
                    ));
                }
                let hint = "no namespace of that name: see `ip netns list`";
                (open(&Path::new(NAMED).join(&name), hint)?, name)
            }
            Target::Path(path) => {
                let hint = "expected the path of a network namespace file";
                (open(&path, hint)?, path.display().to_string())
            }
            Target::Pid(pid) => {
                let hint = "no such process, or not allowed to look at its namespaces";
                let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
                (open(&path, hint)?, format!("pid {pid}"))
            }
            Target::Fd(fd) => (fd, "fd".to_owned()),
        };
        let kind = fstatfs(&file)
            .map_err(|errno| Error::system(Operation::Open, "statfs the namespace", errno, None))?;
        #[allow(
            clippy::useless_conversion,
            reason = "its width differs between targets"
        )]
        if i64::from(kind.filesystem_type().0) != NSFS_MAGIC {
            return Err(Error::system(
                Operation::Open,
                format!("network namespace {label}"),
                Errno::EINVAL,
                Some(NO_NAMESPACE),
            ));
        }
        let status = fstat(&file)
            .map_err(|errno| Error::system(Operation::Open, "stat the namespace", errno, None))?;
        Ok(Self {
            file,
            identity: (status.st_dev, status.st_ino),
            label,
        })
    }

    /// For traces.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    fn is_current(&self) -> bool {
        stat(CURRENT).is_ok_and(|status| (status.st_dev, status.st_ino) == self.identity)
    }

    /// Runs `work` in the namespace. Where that is not the caller's, on a throw-away thread: no
    /// thread of the caller's is ever moved.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        if self.is_current() {
            return work();
        }
        std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name("ctnetlink-netns".into())
                .spawn_scoped(scope, || {
                    setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET).map_err(|errno| {
                        let hint = match errno {
                            Errno::EPERM => Some(
                                "entering another namespace needs CAP_SYS_ADMIN in it and here",
                            ),
                            Errno::EINVAL => Some(NO_NAMESPACE),
                            _ => None,
                        };
                        Error::system(
                            Operation::Open,
                            format!("enter network namespace {}", self.label),
                            errno,
                            hint,
                        )
                    })?;
                    work()
                })
                .map_err(|error| Error::system(Operation::Open, "start a thread", &error, None))?
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

fn open(path: &Path, hint: &'static str) -> Result<OwnedFd> {
    // Close-on-exec, as all files of the standard library. A path may name anything: without
    // O_NONBLOCK, opening a FIFO would wait for its other end.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
    options.open(path).map(OwnedFd::from).map_err(|error| {
        Error::system(
            Operation::Open,
            format!("open {}", path.display()),
            &error,
            Some(hint),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_out_of_its_directory() {
        for name in ["", ".", "..", "../x", "a/b", "/proc/self/ns/net", "a\0b"] {
            let error = Namespace::open(Target::Name(name.into())).unwrap_err();
            assert!(error.is_invalid_input(), "{name:?}: {error}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Namespace::open(Target::Name("no-such-namespace".into())).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("/run/netns/no-such-namespace") && text.contains("ip netns list"),
            "{text}"
        );
        assert!(!error.is_not_found());
        let error = Namespace::open(Target::Pid(u32::MAX)).unwrap_err();
        assert!(error.to_string().contains("no such process"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_namespace_is_refused() {
        for path in ["/proc/self/status", "/dev/null", "/tmp"] {
            let error = Namespace::open(Target::Path(path.into())).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("not a network namespace"), "{text}");
        }
    }

    /// A namespace of another type is told by the kernel; the caller stays where it is.
    #[test]
    fn a_namespace_of_another_type_is_refused_and_the_caller_stays() {
        let before = stat(CURRENT).unwrap();
        let namespace = Namespace::open(Target::Path("/proc/self/ns/uts".into())).unwrap();
        let error = namespace.run(|| Ok(())).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("not a network namespace"), "{text}");
        let after = stat(CURRENT).unwrap();
        assert_eq!((before.st_dev, before.st_ino), (after.st_dev, after.st_ino));
    }
}
