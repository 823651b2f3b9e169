//! More events than the buffer holds, from flows that are real.

use ctnetlink::{Event, Tuple};

use super::proc::agreed;
use super::world::{SOON, V4, World, at, new};

#[test]
fn an_overrun_by_real_flows_is_told_and_what_follows_arrives() {
    const FLOWS: usize = 300;
    let world = World::new();
    let bystander = world.bystander();
    let mut events = world.ct.events().receive_buffer(1).open().unwrap();
    let answering = world.server.udp(V4.plain, 4446);
    let to = at(V4.plain, 4446);
    // Each waits for the last to arrive, so that no other buffer overruns.
    let send = || {
        let asking = world.client.udp(V4.client, 0);
        asking.send_to(b"?", to).unwrap();
        let (_, from) = answering.recv_from(&mut [0; 8]).unwrap();
        assert_eq!(from, asking.local_addr().unwrap());
        // Kept open, so that the next one gets another port.
        (asking, Tuple::udp(from, to).unwrap())
    };
    let sent: Vec<_> = std::iter::repeat_with(send).take(FLOWS).collect();
    let heard: Vec<_> = std::iter::from_fn(|| events.try_next().unwrap()).collect();
    let (last, before) = heard.split_last().unwrap();
    let Event::Overrun(overrun) = last else {
        panic!("{last:?} after all that was queued");
    };
    assert_eq!((overrun.times, overrun.received), (1, before.len() as u64));
    assert_eq!(overrun.receive_buffer, events.receive_buffer());
    assert!(
        !before.is_empty() && before.len() < FLOWS,
        "{}",
        before.len()
    );
    // What came before the loss is the beginning, in order and whole.
    for (event, (_, orig)) in before.iter().zip(&sent) {
        assert!(
            matches!(event, Event::New(entry) if entry.orig() == orig),
            "{event:?}"
        );
    }
    // As the documentation advises, the table is read anew: nothing is missing there.
    let entries = agreed(&world.ct);
    assert_eq!(entries.len(), FLOWS + 1);
    for (_, orig) in &sent {
        assert!(entries.iter().any(|entry| entry.orig() == orig), "{orig:?}");
    }
    // What follows arrives, an answer as well as a flow.
    let (_late, orig) = send();
    new(&mut events, &orig);
    let (first, orig) = &sent[0];
    answering
        .send_to(b"!", first.local_addr().unwrap())
        .unwrap();
    first.recv_from(&mut [0; 8]).unwrap();
    let Some(Event::Update(answered)) = events.next_within(SOON).unwrap() else {
        panic!("an answer");
    };
    assert_eq!(answered.orig(), orig);
    assert_eq!(events.malformed(), 0);
    world.assert_spared(&bystander);
}
