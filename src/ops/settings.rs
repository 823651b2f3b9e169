//! Settings of a namespace, through `/proc/sys/net/netfilter`.

use std::path::Path;

use nix::errno::Errno;

use super::{Session, count, stats};
use crate::error::{Error, Operation, Result};
use crate::model::{EventsMode, Health};

/// The settings of connection tracking in the handle's namespace (`net.netfilter.*`).
///
/// Each is read from and written to `/proc/sys`. New values concern new entries. Writing needs
/// `CAP_NET_ADMIN` in the namespace; `max` and `buckets` belong to the initial namespace. In a
/// network namespace that a user namespace owns, kernels hide some of the others or let nobody write
/// them, differently by version.
///
/// ```
/// # use ctnetlink::Conntrack;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?; // a table of the example's own
/// let ct = Conntrack::open()?;
/// ct.settings().set_accounting(true)?;
/// assert!(ct.settings().accounting()?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct Settings<'a>(&'a Session);

const DIRECTORY: &str = "/proc/sys/net/netfilter";

macro_rules! switches {
    ($($(#[$doc:meta])* $get:ident, $set:ident: $file:literal;)*) => {
        impl Settings<'_> {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// When the kernel has no such setting.
            #[doc(alias = $file)]
            pub fn $get(&self) -> Result<bool> {
                Ok(self.number($file)? != 0)
            }

            $(#[$doc])*
            ///
            /// # Errors
            /// When the kernel has no such setting, or it may not be written.
            #[doc(alias = $file)]
            pub fn $set(&self, on: bool) -> Result<()> {
                self.write($file, u32::from(on), ROOT)
            }
        )*}
    };
}

switches! {
    /// Whether new entries count packets and bytes.
    accounting, set_accounting: "nf_conntrack_acct";
    /// Whether new entries keep when they began and ended.
    timestamps, set_timestamps: "nf_conntrack_timestamp";
    /// Whether TCP connections are picked up in full flow.
    tcp_loose, set_tcp_loose: "nf_conntrack_tcp_loose";
    /// Whether only segments outside of the window that reset are invalid.
    tcp_be_liberal, set_tcp_be_liberal: "nf_conntrack_tcp_be_liberal";
    /// Whether helpers are attached by port alone. Gone since Linux 6.0.
    helper_auto_assignment, set_helper_auto_assignment: "nf_conntrack_helper";
}

const ROOT: &str = "writing needs CAP_NET_ADMIN in the namespace; where a user namespace owns it, some kernels let nobody write";
const INITIAL: &str = "it can be written in the initial network namespace only";

impl<'a> Settings<'a> {
    pub(crate) fn new(session: &'a Session) -> Self {
        Self(session)
    }

    /// When the kernel keeps what events need.
    ///
    /// # Errors
    /// When the kernel was built without events (`CONFIG_NF_CONNTRACK_EVENTS`).
    #[doc(alias = "nf_conntrack_events")]
    pub fn events(&self) -> Result<EventsMode> {
        self.number("nf_conntrack_events").map(events_mode)
    }

    /// When the kernel keeps what events need. [`EventsMode::Auto`] needs Linux 5.19.
    ///
    /// # Errors
    /// When the kernel has no events or not that mode, or it may not be written.
    #[doc(alias = "nf_conntrack_events")]
    pub fn set_events(&self, mode: EventsMode) -> Result<()> {
        let number = match mode {
            EventsMode::Off => 0,
            EventsMode::On => 1,
            EventsMode::Auto => 2,
        };
        let refused = |error: Error| match (error.errno(), mode) {
            (Some(errno), EventsMode::Auto) if errno.is(Errno::EINVAL) => Error::unsupported(
                Operation::Settings,
                "net.netfilter.nf_conntrack_events cannot be auto (2)",
                "that came with Linux 5.19",
            ),
            _ => error,
        };
        self.write("nf_conntrack_events", number, ROOT)
            .map_err(refused)
    }

    /// The most entries that a namespace may have; 0 is no limit.
    ///
    /// # Errors
    /// When it cannot be read.
    #[doc(alias = "nf_conntrack_max")]
    pub fn max(&self) -> Result<u32> {
        self.number("nf_conntrack_max")
    }

    /// The most entries that a namespace may have, for all namespaces.
    ///
    /// # Errors
    /// In any namespace but the initial one, and for more than 2147483647.
    #[doc(alias = "nf_conntrack_max")]
    pub fn set_max(&self, max: u32) -> Result<()> {
        in_range("nf_conntrack_max", max, 0)?;
        self.write("nf_conntrack_max", max, INITIAL)
    }

    /// The size of the hash table, which all namespaces share.
    ///
    /// # Errors
    /// When it cannot be read.
    #[doc(alias = "nf_conntrack_buckets")]
    pub fn buckets(&self) -> Result<u32> {
        self.number("nf_conntrack_buckets")
    }

    /// The size of the hash table, which all namespaces share. It is rebuilt meanwhile: lists that
    /// run may miss entries.
    ///
    /// # Errors
    /// In any namespace but the initial one, and for 0 and more than 2147483647.
    #[doc(alias = "nf_conntrack_buckets")]
    pub fn set_buckets(&self, buckets: u32) -> Result<()> {
        in_range("nf_conntrack_buckets", buckets, 1)?;
        self.write("nf_conntrack_buckets", buckets, INITIAL)
    }

    fn number(self, file: &'static str) -> Result<u32> {
        let read = || read(file);
        self.0.pool.within(Operation::Settings, read)
    }

    fn write(self, file: &'static str, value: u32, needs: &'static str) -> Result<()> {
        let path = format!("{DIRECTORY}/{file}");
        self.0.pool.within(Operation::Settings, || {
            std::fs::write(&path, value.to_string())
                .map_err(|error| failed("write", file, &error, needs))
        })
    }
}

/// The kernel takes an `int` (`proc_dointvec`), and says `EINVAL` to the rest.
fn in_range(file: &'static str, value: u32, least: u32) -> Result<()> {
    let most = i32::MAX.unsigned_abs();
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(
        file,
        value.to_string(),
        "the kernel does not take it",
        format!("{least} to {most}"),
    ))
}

/// In the namespace of the calling thread.
fn read(file: &str) -> Result<u32> {
    let text = std::fs::read_to_string(format!("{DIRECTORY}/{file}"))
        .map_err(|error| failed("read", file, &error, ROOT))?;
    text.trim().parse().map_err(|_| {
        let what = format!("net.netfilter.{file} is {:?}", text.trim());
        Error::unsupported(Operation::Settings, what, "a number was expected")
    })
}

/// The size of the hash table. It is one for the machine, so any namespace will do.
pub(in crate::ops) fn buckets() -> Option<u32> {
    read("nf_conntrack_buckets").ok()
}

fn events_mode(number: u32) -> EventsMode {
    match number {
        0 => EventsMode::Off,
        1 => EventsMode::On,
        _ => EventsMode::Auto,
    }
}

fn failed(verb: &str, file: &str, error: &std::io::Error, needs: &'static str) -> Error {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) if !Path::new(DIRECTORY).is_dir() => Error::system(
            Operation::Settings,
            format!("{verb} net.netfilter.{file}"),
            error,
            Some("mount /proc, or load the module nf_conntrack"),
        ),
        Some(Errno::ENOENT) => Error::unsupported(
            Operation::Settings,
            format!("there is no net.netfilter.{file}"),
            "it was left out of the build, is gone, came with a later version, or is hidden where a user namespace owns the network namespace",
        ),
        errno => {
            let hint = matches!(errno, Some(Errno::EACCES | Errno::EPERM)).then_some(needs);
            let action = format!("{verb} net.netfilter.{file}");
            Error::system(Operation::Settings, action, error, hint)
        }
    }
}

pub(crate) fn health(session: &Session) -> Result<Health> {
    // The kernel can be built without it.
    let optional = |file| match read(file) {
        Ok(number) => Ok(Some(number)),
        Err(error) if error.is_unsupported() => Ok(None),
        Err(error) => Err(error),
    };
    let (count, stats) = (count(session)?, stats::cpu_stats(session)?);
    // The namespace is entered once.
    session.pool.within(Operation::Settings, || {
        Ok(Health {
            count,
            stats: stats.into_iter().sum(),
            accounting: read("nf_conntrack_acct")? != 0,
            timestamps: optional("nf_conntrack_timestamp")?.map(|number| number != 0),
            events: optional("nf_conntrack_events")?.map(events_mode),
            tcp_loose: read("nf_conntrack_tcp_loose")? != 0,
        })
    })
}
