//! What the kernel counts about connection tracking, a CPU at a time.

use super::Unknown;

macro_rules! counts {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
        #[non_exhaustive]
        pub struct $name {
            /// The CPU's number; `None` of a sum.
            pub cpu: Option<u16>,
            $($(#[$fdoc])* pub $field: Option<u64>,)*
            /// Figures that this version of the library does not know; a sum has none.
            pub unknown: Vec<Unknown>,
        }

        impl std::iter::Sum for $name {
            /// Adds up what every CPU counts; a figure that none has stays `None`.
            fn sum<I: Iterator<Item = Self>>(each: I) -> Self {
                each.fold(Self::default(), |sum, one| Self {
                    cpu: None,
                    unknown: Vec::new(),
                    $($field: match (sum.$field, one.$field) {
                        (None, None) => None,
                        (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
                    },)*
                })
            }
        }
    };
}

counts! {
    /// What one CPU counted since the namespace was made. The kernel's counters have 32 bits and
    /// start again at zero after the last; what a kernel no longer counts is `None`.
    #[doc(alias = "IPCTNL_MSG_CT_GET_STATS_CPU")]
    CpuStats {
        /// Look-ups that were made. Not counted since Linux 5.10 at the latest.
        #[doc(alias = "CTA_STATS_SEARCHED")]
        searched,
        /// Look-ups that found an entry, of an expectation for example.
        #[doc(alias = "CTA_STATS_FOUND")]
        found,
        /// Entries that were made, whether or not they came into the table. Not counted
        /// since Linux 5.10 at the latest.
        #[doc(alias = "CTA_STATS_NEW")]
        new,
        /// Packets that belong to no flow and cannot begin one.
        #[doc(alias = "CTA_STATS_INVALID")]
        invalid,
        /// Packets that were left alone. Not counted since Linux 5.10 at the latest.
        #[doc(alias = "CTA_STATS_IGNORE")]
        ignore,
        /// Entries that were removed. Not counted since Linux 5.10 at the latest.
        #[doc(alias = "CTA_STATS_DELETE")]
        delete,
        /// Entries that were put on the list of the dying. Not counted since Linux 5.10 at the latest.
        #[doc(alias = "CTA_STATS_DELETE_LIST")]
        delete_list,
        /// Entries that were put into the table.
        #[doc(alias = "CTA_STATS_INSERT")]
        insert,
        /// Entries that could not be put into the table, because another one was there.
        #[doc(alias = "CTA_STATS_INSERT_FAILED")]
        insert_failed,
        /// Packets that were dropped: no entry could be made for them.
        #[doc(alias = "CTA_STATS_DROP")]
        drop,
        /// Entries that had to go, because the table was full.
        #[doc(alias = "CTA_STATS_EARLY_DROP")]
        early_drop,
        /// ICMP errors that could not be made sense of.
        #[doc(alias = "CTA_STATS_ERROR")]
        error,
        /// Look-ups that had to start again, because the table was resized.
        #[doc(alias = "CTA_STATS_SEARCH_RESTART")]
        search_restart,
        /// Two packets made the same entry at once, and both could stay. Since Linux 5.10.
        #[doc(alias = "CTA_STATS_CLASH_RESOLVE")]
        clash_resolve,
        /// Entries that were refused because their hash chain was too long. Since Linux 5.15.
        #[doc(alias = "CTA_STATS_CHAIN_TOOLONG")]
        chain_toolong,
    }
}

counts! {
    /// What one CPU counted of expectations since the namespace was made.
    #[doc(alias = "IPCTNL_MSG_EXP_GET_STATS_CPU")]
    ExpectCpuStats {
        /// Flows that met an expectation.
        #[doc(alias = "CTA_STATS_EXP_NEW")]
        met,
        /// Expectations that were made.
        #[doc(alias = "CTA_STATS_EXP_CREATE")]
        create,
        /// Expectations that ended.
        #[doc(alias = "CTA_STATS_EXP_DELETE")]
        delete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_knows_what_nobody_counts() {
        let one = CpuStats {
            cpu: Some(0),
            drop: Some(u64::MAX),
            ..CpuStats::default()
        };
        let two = CpuStats {
            cpu: Some(1),
            drop: Some(1),
            insert: Some(0),
            ..CpuStats::default()
        };
        let sum: CpuStats = [one, two].into_iter().sum();
        assert_eq!((sum.cpu, sum.drop), (None, Some(u64::MAX)));
        assert_eq!((sum.insert, sum.found), (Some(0), None));
    }
}
