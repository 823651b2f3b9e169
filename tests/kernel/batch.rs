//! Batches: one result an entry, failures in the middle, bystanders untouched.

use std::time::Duration;

use ctnetlink::{Filter, Key, Update};

use crate::support::{assert_flows, every_protocol, listed, open, udp};

#[test]
fn failures_in_the_middle_are_reported_on_their_own_entries() {
    let ct = open();
    let all: Vec<_> = (0..2000).map(|n| udp(n).mark(1).build().unwrap()).collect();
    let taken: Vec<_> = (0..2000)
        .step_by(7)
        .map(|n| udp(n).build().unwrap())
        .collect();
    assert!(ct.create_many(&taken).is_ok());
    let batch = ct.create_many(&all);
    assert_eq!(batch.results().len(), 2000);
    assert!(batch.stopped().is_none() && !batch.is_ok());
    for (n, result) in batch.results().iter().enumerate() {
        match result {
            Ok(()) => assert_ne!(n % 7, 0),
            Err(error) => {
                assert_eq!(n % 7, 0);
                assert!(error.is_exists(), "{error}");
            }
        }
    }
    assert_eq!(batch.succeeded(), 2000 - taken.len());
    assert_flows(&listed(&ct, &Filter::new()), &all);
    // What was there has kept its mark.
    assert_eq!(listed(&ct, &Filter::new().mark(0)).len(), taken.len());
    assert!(batch.into_result().unwrap_err().is_exists());
}

#[test]
fn deletes_with_and_without_ids_spare_the_rest() {
    let ct = open();
    let all: Vec<_> = (0..2000).map(|n| udp(n).build().unwrap()).collect();
    assert!(ct.create_many(&all).is_ok());
    let entries = listed(&ct, &Filter::new());

    // With ids, every third; half of those are gone already.
    let chosen: Vec<_> = entries.iter().step_by(3).collect();
    let gone: Vec<_> = chosen.iter().step_by(2).map(|entry| entry.key()).collect();
    assert!(ct.delete_many(&gone).is_ok());
    let batch = ct.delete_many(chosen.iter().map(|entry| entry.key()));
    for (n, result) in batch.results().iter().enumerate() {
        assert_eq!(
            result.as_ref().is_err_and(ctnetlink::Error::is_not_found),
            n % 2 == 0
        );
    }
    let kept: Vec<_> = entries
        .iter()
        .enumerate()
        .filter(|(n, _)| n % 3 != 0)
        .map(|(_, entry)| entry.to_new().unwrap())
        .collect();
    assert_flows(&listed(&ct, &Filter::new()), &kept);

    // Without ids, by either tuple, the missing among them.
    let keys: Vec<_> = kept[..700]
        .iter()
        .map(|new| Key::reply(*new.entry().reply()))
        .chain(gone.iter().map(|key| Key::orig(*key.tuple())))
        .collect();
    let batch = ct.delete_many(&keys);
    assert_eq!(batch.results().len(), keys.len());
    for (n, result) in batch.results().iter().enumerate() {
        match result {
            Ok(()) => assert!(n < 700),
            Err(error) => assert!(n >= 700 && error.is_not_found(), "{n}: {error}"),
        }
    }
    assert_flows(&listed(&ct, &Filter::new()), &kept[700..]);
}

#[test]
fn updates_of_every_protocol_at_once() {
    let ct = open();
    let changed: Vec<_> = every_protocol(1)
        .into_iter()
        .map(|entry| entry.build().unwrap())
        .collect();
    let bystanders: Vec<_> = every_protocol(2)
        .into_iter()
        .map(|entry| entry.build().unwrap())
        .collect();
    assert!(ct.create_many(changed.iter().chain(&bystanders)).is_ok());
    let update = Update::builder()
        .mark(5)
        .assured()
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    let missing = udp(999).build().unwrap();
    let batch = ct.update_many(
        [&missing]
            .into_iter()
            .chain(&changed)
            .map(|new| (new, update)),
    );
    let (first, rest) = batch.results().split_first().unwrap();
    assert!(first.as_ref().unwrap_err().is_not_found());
    assert!(rest.iter().all(Result::is_ok), "{rest:?}");
    assert_flows(&listed(&ct, &Filter::new().mark(5)), &changed);
    let untouched = Filter::new()
        .mark(0)
        .status_masked(ctnetlink::Status::empty(), ctnetlink::Status::ASSURED)
        .unwrap();
    assert_flows(&listed(&ct, &untouched), &bystanders);
}

#[test]
fn an_empty_batch_does_nothing() {
    let ct = open();
    let batch = ct.create_many(Vec::<ctnetlink::NewEntry>::new());
    assert!(batch.is_ok() && batch.results().is_empty());
    assert_eq!(ct.delete_many(Vec::<Key>::new()).into_result().unwrap(), 0);
}

#[test]
fn entries_are_asked_for_as_they_are_sent() {
    const ALL: u16 = 5000;
    let ct = open();
    // So that a batch of any length takes the same memory: the first have been created while the
    // last have not even been asked for.
    let mut asked = 0;
    let mut ahead = 0;
    let batch = ct.create_many(std::iter::from_fn(|| {
        ahead = ahead.max(u32::from(asked) - ct.count().unwrap().entries);
        asked += 1;
        (asked <= ALL).then(|| udp(asked).build().unwrap())
    }));
    assert_eq!(batch.into_result().unwrap(), usize::from(ALL));
    assert_eq!(ct.count().unwrap().entries, u32::from(ALL));
    assert!(ahead < ALL.into(), "{ahead}");
}
