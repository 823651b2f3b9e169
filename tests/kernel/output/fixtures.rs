//! What other kernels sent (`tests/fixtures`), loaded into this one's table.

use std::collections::BTreeMap;

use ctnetlink::{Conntrack, Entry, EntryRef, EntryZone, NewEntry, Protocol};

use include_dir::{Dir, File, include_dir};

use super::oracle::compare_with_conntrack;
use crate::support::{LONG, open, reserve_labels, set, tracks};

/// `CTA_TIMEOUT`, `CTA_ZONE`
const TIMEOUT: u16 = 7;
const ZONE: u16 = 18;

/// Within the program, which may run where the tree is not.
static FIXTURES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/tests/fixtures");

/// The attributes of an entry that a kernel reported, if the fixture is one.
fn reported(file: &File<'_>) -> Option<Vec<u8>> {
    let text = file.contents_utf8().unwrap();
    let digits: String = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::trim)
        .collect();
    let bytes: Vec<u8> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect();
    // IPCTNL_MSG_CT_NEW
    (bytes[4..6] == 0x100_u16.to_ne_bytes()).then(|| bytes[20..].to_vec())
}

/// With a time-out that outlasts the test, and a zone of its own where it has none.
fn apart(attributes: &[u8], zone: u16) -> Vec<u8> {
    let mut payload = vec![0; 4];
    let mut rest = attributes;
    while !rest.is_empty() {
        let header = [rest[0], rest[1], rest[2], rest[3]];
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let (attribute, after) = rest.split_at(((length + 3) & !3).min(rest.len()));
        if kind != TIMEOUT {
            payload.extend(attribute);
        }
        rest = after;
    }
    let put = |payload: &mut Vec<u8>, kind: u16, value: &[u8]| {
        let length = u16::try_from(4 + value.len()).unwrap();
        payload.extend(length.to_ne_bytes());
        payload.extend(kind.to_ne_bytes());
        payload.extend(value);
        payload.resize(payload.len().next_multiple_of(4), 0);
    };
    let seconds = u32::try_from(LONG.as_secs()).unwrap();
    put(&mut payload, TIMEOUT, &seconds.to_be_bytes());
    let entry = EntryRef::parse(&payload).unwrap();
    if entry.zone().unwrap() == EntryZone::default() {
        put(&mut payload, ZONE, &zone.to_be_bytes());
    }
    payload
}

/// Those that can be created here (the others are refused), in lots in which no two have the same tuples and zone.
fn lots(ct: &Conntrack) -> Vec<Vec<NewEntry>> {
    let mut lots: Vec<Vec<NewEntry>> = Vec::new();
    let mut taken = BTreeMap::<String, usize>::new();
    let mut zone = 1000;
    let mut left_out = Vec::new();
    for kernel in FIXTURES.dirs() {
        for file in kernel.files() {
            let path = file.path();
            let Some(attributes) = reported(file) else {
                continue;
            };
            zone += 1;
            let payload = apart(&attributes, zone);
            let entry = EntryRef::parse(&payload).unwrap().to_entry().unwrap();
            let Ok(new) = entry.to_new() else {
                // Entries of a kernel that does not track the protocol's ports.
                assert_eq!(entry.protocol(), Protocol::DCCP, "{}", path.display());
                left_out.push(path);
                continue;
            };
            if !tracks(entry.protocol()) {
                let error = ct.create(&new).unwrap_err();
                assert!(error.is_unsupported(), "{}: {error}", path.display());
                continue;
            }
            let place = |tuple| format!("{tuple:?} {:?}", entry.zone());
            let lot = [entry.orig(), entry.reply()]
                .into_iter()
                .filter_map(|tuple| taken.get(&place(tuple)).copied())
                .max()
                .map_or(0, |lot| lot + 1);
            for tuple in [entry.orig(), entry.reply()] {
                taken.insert(place(tuple), lot);
            }
            if lots.len() <= lot {
                lots.resize_with(lot + 1, Vec::new);
            }
            lots[lot].push(new);
        }
    }
    assert!(left_out.len() < 30, "{left_out:?}");
    lots
}

#[test]
fn what_kernels_sent_is_shown_as_by_conntrack() {
    let ct = open();
    reserve_labels();
    set("nf_conntrack_acct", "1");
    set("nf_conntrack_timestamp", "1");
    let lots = lots(&ct);
    let loaded: usize = lots.iter().map(Vec::len).sum();
    assert!(loaded > 300, "{loaded}");
    assert!(lots.len() < 12, "{}", lots.len());
    for lot in lots {
        let batch = ct.create_many(&lot);
        if let Some((place, error)) = batch.failures().next() {
            panic!("{}: {error}", Entry::from(lot[place].clone()));
        }
        compare_with_conntrack(&ct);
        ct.flush_all().unwrap();
    }
}
