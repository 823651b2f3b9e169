//! Messages that come unasked: `IPCTNL_MSG_CT_NEW` and `IPCTNL_MSG_CT_DELETE` to groups.

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_netfilter::NetfilterSubsystem;
use netlink_packet_netfilter::conntrack::ConntrackMessageType;

use super::message::{Frame, FrameKind};
use super::{EntryRef, Malformed};
use crate::model::Event;

/// The event of a message; `None` for one that is about something else.
pub(crate) fn decode_event(frame: &Frame<'_>) -> Result<Option<Event>, Malformed> {
    let FrameKind::Data(kind) = frame.kind else {
        return Ok(None);
    };
    let [subsystem, message] = kind.to_be_bytes();
    if subsystem != u8::from(NetfilterSubsystem::Conntrack) {
        return Ok(None);
    }
    let entry = || EntryRef::decode(frame.payload).and_then(|entry| entry.try_entry());
    Ok(match ConntrackMessageType::from(message) {
        // ctnetlink_conntrack_event marks new entries with NLM_F_CREATE | NLM_F_EXCL.
        ConntrackMessageType::New if frame.flags & NLM_F_CREATE != 0 => Some(Event::New(entry()?)),
        ConntrackMessageType::New => Some(Event::Update(entry()?)),
        ConntrackMessageType::Delete => Some(Event::Destroy(entry()?)),
        _ => None,
    })
}
