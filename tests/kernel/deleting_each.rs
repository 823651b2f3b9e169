//! Deleting entry by entry, with a condition that no filter has, and being told of each.

use std::ops::ControlFlow;

use ctnetlink::{DeleteOptions, Entry, Filter, NewEntry, Zone};

use crate::support::{assert_flows, flows, listed, open, udp};

const FIVE: Zone = Zone::new(5);

fn population(ct: &ctnetlink::Conntrack) -> Vec<NewEntry> {
    let mut all = Vec::new();
    for port in 1..=20 {
        for zone in [Zone::DEFAULT, FIVE, Zone::new(6)] {
            all.push(udp(port).zone(zone).mark(port.into()).build().unwrap());
        }
    }
    assert!(ct.create_many(&all).is_ok());
    all
}

fn go_on(told: &mut Vec<Entry>) -> impl FnMut(&Entry) -> ControlFlow<()> {
    |entry| {
        told.push(entry.clone());
        ControlFlow::Continue(())
    }
}

#[test]
fn what_is_meant_goes_and_is_told_and_nothing_else() {
    let ct = open();
    let all = population(&ct);
    let even = |entry: &Entry| entry.mark().is_some_and(|mark| mark % 2 == 0);
    let meant = |new: &&NewEntry| new.entry().zone().zone() == FIVE && even(new.entry());
    let filter = Filter::new().zone(FIVE);
    let mut told = Vec::new();
    let dry = DeleteOptions::new().dry_run();
    let deleted = ct
        .delete_each(&filter, &dry, Some(&even), go_on(&mut told))
        .unwrap();
    assert_eq!((deleted.matched, deleted.deleted), (Some(10), Some(0)));
    assert_flows(&told, all.iter().filter(meant));
    assert_flows(&listed(&ct, &Filter::new()), &all);

    told.clear();
    let deleted = ct.delete_each(
        &filter,
        &DeleteOptions::new(),
        Some(&even),
        go_on(&mut told),
    );
    let deleted = deleted.unwrap();
    assert!(deleted.is_clean() && !deleted.by_kernel());
    assert_eq!((deleted.matched, deleted.deleted), (Some(10), Some(10)));
    assert_flows(&told, all.iter().filter(meant));
    assert_flows(
        &listed(&ct, &Filter::new()),
        all.iter().filter(|new| !meant(new)),
    );
}

/// The condition stands in for the filter's: without any, all goes.
#[test]
fn a_filter_without_conditions_is_none() {
    let ct = open();
    let all = population(&ct);
    let options = DeleteOptions::new().protect([FIVE]);
    let mut told = Vec::new();
    let deleted = ct
        .delete_each(&Filter::new(), &options, None, go_on(&mut told))
        .unwrap();
    assert_eq!(deleted.deleted, Some(40));
    let protected = |new: &&NewEntry| new.entry().zone().zone() == FIVE;
    assert_flows(&told, all.iter().filter(|new| !protected(new)));
    assert_flows(&listed(&ct, &Filter::new()), all.iter().filter(protected));
    let refused = ct.delete_each(&Filter::new().zone(FIVE), &options, None, go_on(&mut told));
    assert!(refused.unwrap_err().is_invalid_input());
}

#[test]
fn too_many_are_refused_before_any_is_told() {
    let ct = open();
    let all = population(&ct);
    let options = DeleteOptions::new().max_deletes(19);
    let mut told = Vec::new();
    let refused = ct.delete_each(&Filter::new().zone(FIVE), &options, None, go_on(&mut told));
    assert!(refused.unwrap_err().is_too_many() && told.is_empty());
    assert_flows(&listed(&ct, &Filter::new()), &all);
}

/// Whoever breaks off knows of all that is gone.
#[test]
fn breaking_off_leaves_no_deletion_untold() {
    let ct = open();
    let ports = 1..=6000_u16;
    let all: Vec<NewEntry> = ports
        .map(|port| udp(port).zone(FIVE).build().unwrap())
        .collect();
    assert!(ct.create_many(&all).is_ok());
    let mut told = Vec::new();
    let options = DeleteOptions::new();
    let deleted = ct.delete_each(&Filter::new().zone(FIVE), &options, None, |entry| {
        told.push(entry.clone());
        ControlFlow::Break(())
    });
    let left = listed(&ct, &Filter::new());
    assert_eq!(deleted.unwrap().deleted, Some(told.len() as u64));
    assert!(!left.is_empty() && left.len() + told.len() == all.len());
    let mut seen = flows(&told);
    seen.extend(flows(&left));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all.len());
}
