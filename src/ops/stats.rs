//! What the kernel counts, a CPU at a time.

use super::Session;
use super::trace::Conversation;
use crate::error::{Error, Operation, Result};
use crate::link::Dump;
use crate::model::{CpuStats, ExpectCpuStats};
use crate::wire::{self, Datagram, Malformed};

pub(crate) fn cpu_stats(session: &Session) -> Result<Vec<CpuStats>> {
    each_cpu(session, wire::cpu_stats_dump, wire::decode_cpu_stats)
}

pub(crate) fn expect_cpu_stats(session: &Session) -> Result<Vec<ExpectCpuStats>> {
    each_cpu(
        session,
        wire::expect_cpu_stats_dump,
        wire::decode_expect_cpu_stats,
    )
}

fn each_cpu<T>(
    session: &Session,
    request: fn(&mut Datagram) -> Result<()>,
    decode: fn(&[u8]) -> Result<T, Malformed>,
) -> Result<Vec<T>> {
    let mut conversation = Conversation::new(session, Operation::Stats, None);
    let span = conversation.span.clone();
    let _entered = span.enter();
    let link = session.pool.take()?;
    let mut dump =
        Dump::start(link, Operation::Stats, session.deadline, true, request)?.within(span.clone());
    let mut all = Vec::new();
    // A figure that is missing would make the sum wrong, so any damage or loss is an error.
    while let Some(range) = dump.advance()? {
        let stats = decode(dump.payload(range));
        all.push(stats.map_err(|malformed| malformed.error(Operation::Stats))?);
    }
    let state = dump.state();
    conversation.entries = all.len() as u64;
    conversation.bytes = state.bytes;
    if state.incomplete {
        return Err(Error::overrun(Operation::Stats));
    }
    Ok(all)
}
