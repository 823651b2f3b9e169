//! What the benches that fill a table share: the clock, the floor, the world, and what is printed.

pub(crate) mod clock;
pub(crate) mod command;
pub(crate) mod flows;
pub(crate) mod raw;
pub(crate) mod report;
pub(crate) mod world;

/// Any failure: a bench has nobody to tell apart one from the other.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// An error if a candidate did not do what it was to do.
pub(crate) fn same(what: &str, count: usize, want: usize) -> Result<()> {
    if count == want {
        Ok(())
    } else {
        Err(format!("{what}: {count} instead of {want}").into())
    }
}
