//! Time-outs: whole seconds, as the kernel keeps them.

use std::time::Duration;

use crate::error::{Error, Result};

/// The seconds of a time-out that the kernel can keep.
pub(crate) fn seconds(timeout: Duration) -> Result<u32> {
    let refuse = |problem: &'static str| {
        Error::invalid(
            "time-out",
            format!("{timeout:?}"),
            problem,
            "whole seconds, at most 4294967295",
        )
    };
    if timeout.subsec_nanos() != 0 {
        return Err(refuse("not whole seconds"));
    }
    u32::try_from(timeout.as_secs()).map_err(|_| refuse("too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_only() {
        assert_eq!(seconds(Duration::ZERO).unwrap(), 0);
        assert_eq!(
            seconds(Duration::from_secs(u32::MAX.into())).unwrap(),
            u32::MAX
        );
        assert!(seconds(Duration::from_millis(1500)).is_err());
        assert!(seconds(Duration::from_secs(1 << 32)).is_err());
    }
}
