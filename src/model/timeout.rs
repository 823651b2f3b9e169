//! Time-outs: whole seconds, as the kernel keeps them.

use std::time::Duration;

use crate::error::{Error, Result};

/// `INT_MAX` jiffies at 1000 Hz: what every kernel keeps. More is shortened silently
/// (`__nf_ct_set_timeout`).
pub(super) const MAX_SECONDS: u32 = i32::MAX.unsigned_abs() / 1000;

/// The seconds of a time-out that the kernel keeps as they are.
pub(crate) fn seconds(timeout: Duration) -> Result<u32> {
    let refuse = |problem: &'static str| {
        Error::invalid(
            "time-out",
            format!("{timeout:?}"),
            problem,
            "whole seconds, at most 2147483 (24.8 days)",
        )
    };
    if timeout.subsec_nanos() != 0 {
        return Err(refuse("not whole seconds"));
    }
    u32::try_from(timeout.as_secs())
        .ok()
        .filter(|seconds| *seconds <= MAX_SECONDS)
        .ok_or_else(|| refuse("too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_that_every_kernel_keeps() {
        assert_eq!(seconds(Duration::ZERO).unwrap(), 0);
        assert_eq!(
            seconds(Duration::from_secs(2_147_483)).unwrap(),
            MAX_SECONDS
        );
        assert!(seconds(Duration::from_millis(1500)).is_err());
        assert!(seconds(Duration::from_secs(2_147_484)).is_err());
        assert!(seconds(Duration::from_secs(1 << 32)).is_err());
    }
}
