//! Statistics.

use crate::bytes::{AF_UNSPEC, DUMP, ENTRIES, EXPECTATIONS, request};
use crate::store::Store;
use crate::talk::{Talk, kind};

pub(crate) fn all(store: &mut Store) {
    let talk = Talk::open();
    let got = talk.ask(&request(ENTRIES, 5, 0, AF_UNSPEC, &[]));
    store.keep(
        "stats",
        "the size of the table and its limit",
        "IPCTNL_MSG_CT_GET_STATS",
        &got[0],
    );
    let cpus = talk.dump(&request(ENTRIES, 4, DUMP, AF_UNSPEC, &[]));
    for (number, cpu) in cpus.iter().enumerate().take(2) {
        store.keep(
            &format!("stats-cpu{number}"),
            "what a CPU counts",
            "IPCTNL_MSG_CT_GET_STATS_CPU, NLM_F_DUMP",
            cpu,
        );
    }
    let cpus = talk.dump(&request(EXPECTATIONS, 3, DUMP, AF_UNSPEC, &[]));
    for (number, cpu) in cpus.iter().enumerate().take(2) {
        store.keep(
            &format!("stats-expect-cpu{number}"),
            "what a CPU counts of expectations",
            "IPCTNL_MSG_EXP_GET_STATS_CPU, NLM_F_DUMP",
            cpu,
        );
    }
    let answer = talk.ask(&request(ENTRIES, 1, DUMP, AF_UNSPEC, &[]));
    assert_eq!(answer.len(), 1);
    assert_eq!(kind(&answer[0]), 3);
    store.keep(
        "done",
        "the end of a dump",
        "IPCTNL_MSG_CT_GET, NLM_F_DUMP",
        &answer[0],
    );
}
