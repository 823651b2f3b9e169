//! What differs from conntrack(8) and is meant to: the same list as in docs/ctnl.md.

use crate::compare::{Aspect, Meeting};
use crate::grammar::Case;

/// What differs in a meeting, without what is meant to.
pub(crate) fn not_meant(case: &Case, meeting: &Meeting) -> Vec<Aspect> {
    let _ = case;
    meeting.differs.clone()
}
