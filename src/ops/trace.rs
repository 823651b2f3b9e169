//! A span for each conversation.

use std::time::Instant;

use tracing::{Span, field::Empty};

use super::Session;
use crate::error::{Operation, Result};
use crate::link::Link;
use crate::model::Zone;

/// A conversation's span; its figures are recorded when it ends.
pub(super) struct Conversation {
    pub(super) span: Span,
    started: Instant,
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

impl Conversation {
    pub(super) fn new(session: &Session, operation: Operation, zone: Option<Zone>) -> Self {
        let span = tracing::debug_span!(
            "conntrack",
            operation = operation.as_str(),
            netns = session.pool.label(),
            zone = Empty,
            entries = Empty,
            bytes = Empty,
            duration_us = Empty,
        );
        if let Some(zone) = zone {
            span.record("zone", zone.get());
        }
        Self {
            span,
            started: Instant::now(),
            entries: 0,
            bytes: 0,
        }
    }
}

/// A conversation on a link of its own, from its span's beginning to its end.
pub(super) fn converse<T>(
    session: &Session,
    operation: Operation,
    zone: Option<Zone>,
    entries: u64,
    work: impl FnOnce(&mut Link) -> Result<T>,
) -> Result<T> {
    let mut conversation = Conversation::new(session, operation, zone);
    conversation.entries = entries;
    let span = conversation.span.clone();
    span.in_scope(|| {
        let mut link = session.pool.take()?;
        let before = link.sent();
        let result = work(&mut link);
        conversation.bytes = link.sent() - before;
        result
    })
}

impl Drop for Conversation {
    fn drop(&mut self) {
        if self.span.is_disabled() {
            return;
        }
        self.span.record("entries", self.entries);
        self.span.record("bytes", self.bytes);
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.span.record("duration_us", micros);
        self.span.in_scope(|| tracing::debug!("done"));
    }
}
