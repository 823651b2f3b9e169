//! Conversion from and to the messages of netlink-packet-netfilter.
//!
//! By way of the bytes: what that library has no names for it keeps as `Other`, and what this one
//! does not know is in [`Entry::unknown`], so no attribute's value is lost in either direction.
//!
//! What an entry does not tell of a message: its type (what comes of it is a `New`), the order of its
//! attributes, one that is given again, a zone 0 that is spelled out, and the flags of attributes that
//! this library does not know (`NLA_F_NESTED`).
//!
//! Reports are converted, not requests: what only a request has (ranges of translation, masks) is
//! among the unknown.

use netlink_packet_core::{Emitable, Nla, ParseableParametrized};
use netlink_packet_netfilter::conntrack::{ConntrackMessage, ConntrackMessageType};

use super::EntryRef;
use super::report::encode_report;
use crate::error::{Error, Operation};
use crate::model::Entry;

/// The message by which the kernel reports the entry (`IPCTNL_MSG_CT_NEW`).
///
/// ```
/// use ctnetlink::Entry;
/// use netlink_packet_netfilter::conntrack::ConntrackMessage;
/// use std::time::Duration;
///
/// let (src, dst) = ("10.0.0.1:4000".parse().unwrap(), "10.0.0.2:53".parse().unwrap());
/// let dns = Entry::udp(src, dst).mark(7).timeout(Duration::from_secs(30)).build()?;
/// let message = ConntrackMessage::try_from(dns.entry())?;
/// assert_eq!(Entry::try_from(&message)?, *dns.entry());
/// # Ok::<(), ctnetlink::Error>(())
/// ```
impl TryFrom<&Entry> for ConntrackMessage {
    type Error = Error;

    /// # Errors
    /// For an unknown attribute that is longer than netlink can say, and for what that library does
    /// not read.
    fn try_from(entry: &Entry) -> Result<Self, Error> {
        let bytes = encode_report(entry)?;
        Self::parse_with_param(&bytes, ConntrackMessageType::New.into()).map_err(|error| {
            Error::invalid(
                "entry",
                entry.to_string(),
                format!("netlink-packet-netfilter cannot read it: {error}"),
                "an entry that it reads",
            )
        })
    }
}

/// The entry that a message is about.
impl TryFrom<&ConntrackMessage> for Entry {
    type Error = Error;

    /// # Errors
    /// [`is_malformed`](Error::is_malformed) where one of the two tuples is missing, as in requests,
    /// or an attribute is damaged; [`is_invalid_input`](Error::is_invalid_input) where one is longer
    /// than netlink can say.
    fn try_from(message: &ConntrackMessage) -> Result<Self, Error> {
        let longest = longest(message);
        if longest > LONGEST {
            let problem = format!("has an attribute of {longest} bytes");
            return Err(Error::invalid(
                "message",
                format!("{:?}", message.message_type()),
                problem,
                format!("attributes of at most {LONGEST} bytes"),
            ));
        }
        // Decoders want what follows the netlink header; the family is in the addresses.
        let mut payload = vec![0; 4 + message.buffer_len()];
        message.emit(&mut payload[4..]);
        EntryRef::decode(&payload)
            .and_then(|entry| entry.try_entry())
            .map_err(|malformed| malformed.error(Operation::Convert))
    }
}

/// What an attribute's length can say, its header taken off.
const LONGEST: usize = u16::MAX as usize - super::reader::HEADER;

/// The length of the longest attribute, which contains those inside of it. That library would cut off
/// the length field and then write all of the value.
fn longest(message: &ConntrackMessage) -> usize {
    fn of<A: Nla>(attributes: &[A]) -> usize {
        attributes.iter().map(Nla::value_len).max().unwrap_or(0)
    }
    match message {
        ConntrackMessage::New(all) | ConntrackMessage::Get(all) | ConntrackMessage::Delete(all) => {
            of(all)
        }
        ConntrackMessage::Other { attributes, .. } => of(attributes),
        other => other.buffer_len(),
    }
}
