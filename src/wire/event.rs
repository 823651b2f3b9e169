//! Messages that come unasked: `IPCTNL_MSG_CT_NEW` and `IPCTNL_MSG_CT_DELETE` to groups.

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_netfilter::NetfilterSubsystem;
use netlink_packet_netfilter::conntrack::ConntrackMessageType;

use super::expect::{EXP_DELETE, EXP_NEW, EXPECTATIONS, decode_expectation};
use super::message::{Frame, FrameKind};
use super::{EntryRef, Malformed};
use crate::model::Event;

/// The event of a message; `None` for one that is about something else.
pub(crate) fn decode_event(frame: &Frame<'_>) -> Result<Option<Event>, Malformed> {
    let FrameKind::Data(kind) = frame.kind else {
        return Ok(None);
    };
    let [subsystem, message] = kind.to_be_bytes();
    // Both subsystems mark what is new with NLM_F_CREATE | NLM_F_EXCL.
    let new = frame.flags & NLM_F_CREATE != 0;
    if subsystem == u8::from(NetfilterSubsystem::Conntrack) {
        let entry = || EntryRef::decode(frame.payload).and_then(|entry| entry.try_entry());
        return Ok(match ConntrackMessageType::from(message) {
            ConntrackMessageType::New if new => Some(Event::New(entry()?)),
            ConntrackMessageType::New => Some(Event::Update(entry()?)),
            ConntrackMessageType::Delete => Some(Event::Destroy(entry()?)),
            _ => None,
        });
    }
    if subsystem == u8::from(EXPECTATIONS) {
        let expectation = || decode_expectation(frame.payload);
        return Ok(match message {
            EXP_NEW if new => Some(Event::ExpectNew(expectation()?)),
            EXP_NEW => Some(Event::ExpectUpdate(expectation()?)),
            EXP_DELETE => Some(Event::ExpectDestroy(expectation()?)),
            _ => None,
        });
    }
    Ok(None)
}
