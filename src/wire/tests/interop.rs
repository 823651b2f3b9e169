//! Conversion to netlink-packet-netfilter's messages and back.

use netlink_packet_core::{DefaultNla, NLA_F_NESTED};
use netlink_packet_netfilter::conntrack::{ConntrackAttribute, ConntrackMessage};

use super::*;

fn attributes(message: ConntrackMessage) -> Vec<ConntrackAttribute> {
    match message {
        ConntrackMessage::New(attributes) => attributes,
        other => panic!("{other:?}"),
    }
}

fn other(kind: u16, value: Vec<u8>) -> ConntrackAttribute {
    ConntrackAttribute::Other(DefaultNla::new(kind, value))
}

/// What is promised says nothing of their order.
fn in_order(attributes: &[ConntrackAttribute]) -> Vec<String> {
    let mut all: Vec<_> = attributes.iter().map(|one| format!("{one:?}")).collect();
    all.sort();
    all
}

proptest! {
    #[test]
    fn entries_become_messages_and_entries_again(entry in reported()) {
        let message = ConntrackMessage::try_from(&entry).unwrap();
        let direct = read(&bytes_of(&entry));
        prop_assert_eq!(Entry::try_from(&message).unwrap(), direct);
    }

    #[test]
    fn messages_become_entries_and_messages_again(
        entry in reported(),
        strangers in proptest::collection::vec(
            (28..0x4000_u16, proptest::collection::vec(any::<u8>(), 0..9), any::<usize>()),
            0..4,
        ),
    ) {
        // Read once, so that a nest of unknown attributes is a single one without flags.
        let entry = read(&bytes_of(&entry));
        let mut before = attributes(ConntrackMessage::try_from(&entry).unwrap());
        for (kind, value, place) in strangers {
            before.insert(place % (before.len() + 1), other(kind, value));
        }
        let message = ConntrackMessage::New(before.clone());
        let between = Entry::try_from(&message).unwrap();
        let after = attributes(ConntrackMessage::try_from(&between).unwrap());
        prop_assert_eq!(in_order(&after), in_order(&before));
    }
}

#[test]
fn what_an_entry_does_not_tell_of_a_message() {
    let plain = attributes(ConntrackMessage::try_from(&read(&followed_by(&[]))).unwrap());
    let mut more = plain.clone();
    more.insert(0, other(18, vec![0, 0]));
    more.push(ConntrackAttribute::CtaTimeout(1));
    more.push(other(0x63 | NLA_F_NESTED, vec![1]));
    let entry = Entry::try_from(&ConntrackMessage::Delete(more)).unwrap();
    let after = attributes(ConntrackMessage::try_from(&entry).unwrap());
    let want = [&plain[..], &[other(99, vec![1])]].concat();
    assert_eq!(in_order(&after), in_order(&want));
}

#[test]
fn an_attribute_that_is_too_long_is_refused() {
    let plain = attributes(ConntrackMessage::try_from(&full_tcp()).unwrap());
    for (length, fits) in [(65_531, true), (65_532, false), (70_000, false)] {
        let long = DefaultNla::new(99, vec![0; length]);
        let mut all = plain.clone();
        all.push(ConntrackAttribute::Other(long.clone()));
        let converted = Entry::try_from(&ConntrackMessage::New(all));
        assert_eq!(converted.is_ok(), fits);
        if let Err(error) = converted {
            assert!(error.is_invalid_input(), "{error}");
            let attributes = vec![long];
            let message = ConntrackMessage::Other {
                message_type: 9,
                attributes,
            };
            assert!(Entry::try_from(&message).unwrap_err().is_invalid_input());
        }
    }
}
