//! Listed entries survive their own line.

use ctnetlink::{Entry, Filter, Status};

use crate::support::{every_protocol, listed, open};

#[test]
fn the_line_of_a_listed_entry_is_read_back() {
    let ct = open();
    for (n, status) in (1..).zip([
        Status::empty(),
        Status::SEEN_REPLY,
        Status::SEEN_REPLY | Status::ASSURED,
    ]) {
        for entry in every_protocol(n) {
            let entry = entry.status(status).mark(u32::MAX).build().unwrap();
            ct.create(&entry).unwrap();
        }
    }
    for entry in listed(&ct, &Filter::new()) {
        for line in [entry.to_string(), format!("{entry:#}")] {
            let read: Entry = line.parse().unwrap();
            assert_eq!((read.orig(), read.reply()), (entry.orig(), entry.reply()));
            assert_eq!(read.zone(), entry.zone());
            assert_eq!(read.timeout(), entry.timeout());
            assert_eq!(read.mark(), entry.mark());
            assert_eq!(read.use_count(), entry.use_count());
            assert_eq!(read.tcp_state(), entry.tcp_state());
            // Of the status the line tells these two bits.
            let told = Status::SEEN_REPLY | Status::ASSURED;
            assert_eq!(read.status().unwrap(), entry.status().unwrap() & told);
        }
    }
}
