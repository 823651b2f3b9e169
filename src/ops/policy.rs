//! Time-out policies and the defaults of each protocol.
//!
//! `nfnetlink_cttimeout` does some things that its callers do not expect. It replaces a policy by
//! first setting every state to the protocol's default (`tcp_timeout_nlattr_to_obj` and its
//! siblings), so a change that names one state would undo the others; it makes a new policy where
//! there is none to replace; it leaves out states that it does not know; and it lets seconds wrap
//! around when they become jiffies. So what is there is read first, all of it is sent, and what was
//! asked for is compared with what came of it.

use nix::errno::Errno;

use super::Session;
use super::single::{acknowledged, looked_up};
use super::trace::{Conversation, converse};
use crate::error::{Error, Operation, Result};
use crate::link::{Dump, Link};
use crate::model::{
    NewTimeoutPolicy, PolicyName, Protocol, TimeoutDefaults, TimeoutPolicy, Timeouts,
};
use crate::wire::{self, Datagram, Malformed};

/// The time-out policies of the handle's namespace, and the defaults of each protocol.
///
/// A policy is a named set of time-outs for one family and one protocol. Rules give it to flows:
/// `iptables -t raw ... -j CT --timeout NAME` does (the `ct timeout` objects of nftables are
/// others, which belong to their table). Flows without a policy have the protocol's defaults, which
/// are also the settings `net.netfilter.nf_conntrack_*_timeout*`.
///
/// All of it needs the kernel's `nfnetlink_cttimeout`, which the kernel loads when it is first asked.
///
/// ```
/// # use ctnetlink::{Conntrack, Family, NewTimeoutPolicy, Protocol, TcpTimeouts, UdpTimeouts};
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?; // a table of the example's own
/// let ct = Conntrack::open()?;
/// let policies = ct.timeout_policies();
/// let hour = Duration::from_secs(3600);
/// let web = TcpTimeouts::new().with_established(hour)?;
/// policies.create(&NewTimeoutPolicy::new("web", Family::Ipv4, web)?)?;
///
/// policies.change("web", TcpTimeouts::new().with_time_wait(Duration::from_secs(10))?)?;
/// let tcp = policies.get("web")?.timeouts().tcp().unwrap();
/// assert_eq!(tcp.established(), Some(hour)); // it was not named, so it stays
///
/// policies.set_defaults(UdpTimeouts::new().with_replied(hour)?)?;
/// assert_eq!(policies.defaults(Protocol::UDP)?.timeouts().get("replied"), Some(hour));
/// policies.delete("web")?;
/// # Ok(())
/// # }
/// ```
#[doc(alias = "NFNL_SUBSYS_CTNETLINK_TIMEOUT")]
#[derive(Clone, Copy)]
pub struct Policies<'a>(&'a Session);

impl<'a> Policies<'a> {
    pub(crate) fn new(session: &'a Session) -> Self {
        Self(session)
    }

    /// All policies.
    ///
    /// # Errors
    /// When the list cannot be read; [`is_unsupported`](Error::is_unsupported) if the kernel has no
    /// policies. A policy that cannot be decoded is an error item.
    #[doc(alias = "IPCTNL_MSG_TIMEOUT_GET")]
    pub fn list(&self) -> Result<PolicyList> {
        match list(self.0) {
            Err(error) if is_einval(&error) => {
                converse(self.0, Operation::Policies, None, 0, |link| {
                    check_there(self.0, link, Operation::Policies)
                })?;
                list(self.0)
            }
            done => done,
        }
    }

    /// The policy of this name.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found), [`is_unsupported`](Error::is_unsupported), and for a
    /// name that no policy can have.
    #[doc(alias = "IPCTNL_MSG_TIMEOUT_GET")]
    pub fn get(&self, name: &str) -> Result<TimeoutPolicy> {
        let name = PolicyName::new(name)?;
        self.ask(Operation::Policies, |link| {
            find(self.0, link, Operation::Policies, &name)
        })
    }

    /// Creates a policy that is not there yet (`NLM_F_CREATE | NLM_F_EXCL`). States that it does not
    /// name become what the protocol's defaults are now.
    ///
    /// # Errors
    /// - [`is_exists`](Error::is_exists): there is a policy of that name, whatever its protocol.
    /// - [`is_unsupported`](Error::is_unsupported): the kernel has no policies, or does not track
    ///   the protocol, or does not keep one of the states; the policy is then made without it.
    #[doc(alias = "IPCTNL_MSG_TIMEOUT_NEW")]
    pub fn create(&self, new: &NewTimeoutPolicy) -> Result<()> {
        let operation = Operation::ChangePolicies;
        self.ask(operation, |link| {
            acknowledged(self.0, link, operation, |datagram| {
                wire::policy_create(datagram, new)
            })?;
            self.check_kept(link, new.policy_name(), new.timeouts())
        })
    }

    /// Changes the time-outs of a policy. States that are not named stay as they are. Flows that have
    /// the policy have the new time-outs from their next packet on.
    ///
    /// The kernel can only replace all states, so the policy is looked up first, and what it has is
    /// sent again. Somebody who changes the same policy between the look-up and the change may find
    /// it undone, and one who deletes it may find it made again.
    ///
    /// # Errors
    /// - [`is_not_found`](Error::is_not_found); nothing has been made.
    /// - [`is_invalid_input`](Error::is_invalid_input): the policy is another protocol's, or no state
    ///   is named.
    /// - [`is_unsupported`](Error::is_unsupported): as [`Policies::create`].
    #[doc(alias = "IPCTNL_MSG_TIMEOUT_NEW")]
    pub fn change(&self, name: &str, timeouts: impl Into<Timeouts>) -> Result<()> {
        let (name, changes) = (PolicyName::new(name)?, timeouts.into());
        changes.check_named()?;
        let operation = Operation::ChangePolicies;
        self.ask(operation, |link| {
            let mut policy = find(self.0, link, operation, &name)?;
            if policy.protocol() != changes.protocol() {
                return Err(Error::invalid(
                    "time-outs",
                    changes.to_string(),
                    format!("the policy {:?} is another protocol's", name.as_str()),
                    format!("those of {}", policy.protocol()),
                ));
            }
            policy.timeouts.merge(&changes);
            policy.timeouts.check_unknown()?;
            acknowledged(self.0, link, operation, |datagram| {
                wire::policy_replace(datagram, &policy)
            })?;
            self.check_kept(link, &name, &changes)
        })
    }

    /// Deletes a policy. Flows that have it go back to the defaults with their next packet.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found), [`is_unsupported`](Error::is_unsupported), and
    /// [`is_busy`](Error::is_busy) while a rule uses it, and for a moment after that rule is gone.
    /// Kernels of the second half of 2026 (Debian's 6.1.192, 6.12.117 and 7.3.4) delete it all the
    /// same.
    #[doc(alias = "IPCTNL_MSG_TIMEOUT_DELETE")]
    pub fn delete(&self, name: &str) -> Result<()> {
        let name = PolicyName::new(name)?;
        let operation = Operation::ChangePolicies;
        self.ask(operation, |link| {
            acknowledged(self.0, link, operation, |datagram| {
                wire::policy_delete(datagram, &name)
            })
        })
    }

    /// The defaults of a protocol in this namespace: what flows without a policy have.
    ///
    /// UDP-Lite has those of UDP.
    ///
    /// # Errors
    /// [`is_unsupported`](Error::is_unsupported): the kernel has no policies, or does not track the
    /// protocol. [`is_invalid_input`](Error::is_invalid_input): the protocol has no time-outs of its
    /// own; those of [`Timeouts::GENERIC`] are its.
    #[doc(alias = "IPCTNL_MSG_TIMEOUT_DEFAULT_GET")]
    pub fn defaults(&self, protocol: Protocol) -> Result<TimeoutDefaults> {
        Timeouts::new(protocol)?;
        self.ask(Operation::Policies, |link| {
            defaults(self.0, link, Operation::Policies, protocol)
        })
    }

    /// Changes defaults of a protocol in this namespace. States that are not named stay as they are.
    /// Flows have the new ones from their next packet on; policies that are there keep theirs.
    ///
    /// # Errors
    /// [`is_invalid_input`](Error::is_invalid_input) where no state is named, and for UDP-Lite: the
    /// kernel would change those of UDP. [`is_unsupported`](Error::is_unsupported): the kernel has no
    /// policies, does not track the protocol, or does not keep one of the states.
    #[doc(alias = "IPCTNL_MSG_TIMEOUT_DEFAULT_SET")]
    pub fn set_defaults(&self, timeouts: impl Into<Timeouts>) -> Result<()> {
        let timeouts = timeouts.into();
        timeouts.check_named()?;
        if timeouts.protocol() == Protocol::UDPLITE {
            return Err(Error::invalid(
                "defaults",
                timeouts.to_string(),
                "the kernel would change those of UDP, which UDP-Lite shares",
                "the defaults of udp, or a policy for udplite",
            ));
        }
        let operation = Operation::ChangePolicies;
        self.ask(operation, |link| {
            acknowledged(self.0, link, operation, |datagram| {
                wire::defaults_set(datagram, &timeouts)
            })?;
            let kept = defaults(self.0, link, operation, timeouts.protocol())?;
            compare(&timeouts, kept.timeouts())
        })
    }

    /// Looks whether every state that was asked for is as it was asked for.
    fn check_kept(self, link: &mut Link, name: &PolicyName, wanted: &Timeouts) -> Result<()> {
        match find(self.0, link, Operation::ChangePolicies, name) {
            Ok(policy) => compare(wanted, policy.timeouts()),
            // It was made, and somebody has deleted it since.
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A conversation of this subsystem, repeated once where the kernel did not know the subsystem
    /// and does now.
    fn ask<T>(
        self,
        operation: Operation,
        mut work: impl FnMut(&mut Link) -> Result<T>,
    ) -> Result<T> {
        converse(self.0, operation, None, 0, |link| match work(link) {
            Err(error) if is_einval(&error) => {
                check_there(self.0, link, operation)?;
                work(link)
            }
            done => done,
        })
        .map_err(explain)
    }
}

fn is_einval(error: &Error) -> bool {
    error.errno().is_some_and(|errno| errno.is(Errno::EINVAL))
}

/// Asks something that only a kernel without the subsystem calls invalid.
///
/// nfnetlink loads the module when it is first asked; two processes that ask at once may see `EINVAL`
/// for a moment.
fn check_there(session: &Session, link: &mut Link, operation: Operation) -> Result<()> {
    tracing::warn!("the kernel may not know time-out policies yet, asking once more");
    match find(session, link, operation, &PolicyName::new("ctnetlink")?) {
        Err(error) if is_einval(&error) => Err(Error::unsupported(
            operation,
            "there are no time-out policies",
            "load the module nfnetlink_cttimeout, or build the kernel with CONFIG_NF_CT_NETLINK_TIMEOUT",
        )),
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

fn explain(error: Error) -> Error {
    match error.errno() {
        Some(errno) if errno.is(Errno::EBUSY) => error.with_hint(
            "a rule uses the policy, such as one of iptables with `-j CT --timeout`: remove the rule first",
        ),
        Some(errno) if errno.is(Errno::EEXIST) => {
            error.with_hint("there is a policy of that name already")
        }
        Some(errno) if errno.is(Errno::ENOENT) => {
            error.with_hint("there is no policy of that name")
        }
        Some(errno) if errno.is(Errno::EOPNOTSUPP) => error.with_hint(
            "this kernel does not track the protocol, so it has no time-outs of its own: the generic ones (255) are its",
        ),
        _ => error,
    }
}

fn compare(wanted: &Timeouts, kept: &Timeouts) -> Result<()> {
    match wanted.lost_in(kept) {
        None => Ok(()),
        Some(lost) => Err(Error::unsupported(
            Operation::ChangePolicies,
            format!("{lost} is not kept"),
            "the rest of what was asked for is done",
        )),
    }
}

fn look_up<T>(
    session: &Session,
    link: &mut Link,
    operation: Operation,
    request: impl Fn(&mut Datagram) -> Result<()>,
    decode: fn(&[u8]) -> Result<T, Malformed>,
) -> Result<T> {
    looked_up(session, link, operation, request, |payload| {
        decode(payload).map_err(|malformed| malformed.error(operation))
    })
}

fn find(
    session: &Session,
    link: &mut Link,
    operation: Operation,
    name: &PolicyName,
) -> Result<TimeoutPolicy> {
    let request = |datagram: &mut Datagram| wire::policy_get(datagram, name);
    look_up(session, link, operation, request, wire::decode_policy)
}

fn defaults(
    session: &Session,
    link: &mut Link,
    operation: Operation,
    protocol: Protocol,
) -> Result<TimeoutDefaults> {
    let request = |datagram: &mut Datagram| wire::defaults_get(datagram, protocol);
    look_up(session, link, operation, request, wire::decode_defaults)
}

/// The policies of a [`Policies::list`].
///
/// They are few, and were read at once. A policy that cannot be decoded is an error item, and the
/// others are there.
#[derive(Debug)]
#[must_use = "a list that is not iterated was asked for in vain"]
pub struct PolicyList {
    items: std::vec::IntoIter<Result<TimeoutPolicy>>,
    incomplete: bool,
}

impl PolicyList {
    /// Whether policies may be missing, as far as the kernel or the socket said so.
    ///
    /// `false` is no proof: a list of more than some hundred policies ends early where the policy
    /// that the kernel stopped at is deleted meanwhile, and the kernel does not say so.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.incomplete
    }
}

impl Iterator for PolicyList {
    type Item = Result<TimeoutPolicy>;

    fn next(&mut self) -> Option<Self::Item> {
        self.items.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}

impl ExactSizeIterator for PolicyList {}

fn list(session: &Session) -> Result<PolicyList> {
    let operation = Operation::Policies;
    let mut conversation = Conversation::new(session, operation, None);
    let span = conversation.span.clone();
    let _entered = span.enter();
    let link = session.pool.take()?;
    let mut dump = Dump::start(link, operation, session.deadline, true, wire::policies_dump)?
        .within(span.clone());
    let mut items = Vec::new();
    loop {
        match dump.advance() {
            Ok(Some(range)) => items.push(
                wire::decode_policy(dump.payload(range))
                    .inspect_err(|malformed| tracing::warn!(%malformed, "a policy is damaged"))
                    .map_err(|malformed| malformed.error(operation)),
            ),
            Ok(None) => break,
            // Damage of a datagram's frame; the dump goes on.
            Err(error) if error.is_malformed() => items.push(Err(error)),
            Err(error) => return Err(error),
        }
    }
    let state = dump.state();
    conversation.entries = items.len() as u64;
    conversation.bytes = state.bytes;
    Ok(PolicyList {
        items: items.into_iter(),
        incomplete: state.incomplete,
    })
}
