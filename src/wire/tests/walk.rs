//! Every attribute of a message in turn.

use std::fmt::Debug;

use crate::wire::path::{Path, Root};
use crate::wire::{Malformed, NETLINK_HEADER};

struct Attribute {
    path: Path,
    /// Where its value stands behind the netlink header.
    at: usize,
    is_nest: bool,
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn walk(bytes: &[u8], from: usize, to: usize, above: Path, all: &mut Vec<Attribute>) {
    let mut at = from;
    while at < to {
        let length = usize::from(half(bytes, at));
        let path = above.join(half(bytes, at + 2) & 0x3fff);
        let is_nest = half(bytes, at + 2) & 0x8000 != 0;
        all.push(Attribute {
            path,
            at: at + 4,
            is_nest,
        });
        if is_nest {
            walk(bytes, at + 4, at + length, path, all);
        }
        at += length.next_multiple_of(4);
    }
}

/// Of what follows the netlink header, as the library writes it: nests are marked.
fn attributes(bytes: &[u8], root: Root) -> Vec<Attribute> {
    let mut all = Vec::new();
    walk(bytes, 4, bytes.len(), Path::root(root), &mut all);
    all
}

/// The places where attributes can be: the top level, and all nests.
pub(super) fn nests(bytes: &[u8], root: Root) -> Vec<Vec<u16>> {
    let nests = attributes(bytes, root).into_iter();
    let nests = nests.filter(|attribute| attribute.is_nest);
    std::iter::once(Vec::new())
        .chain(nests.map(|nest| nest.path.parts().collect()))
        .collect()
}

/// Spoils each attribute that holds no others; the error must say which one it is, and where. Gives
/// the numbers that lead to each.
pub(super) fn check_damage<T: Debug>(
    whole: &[u8],
    root: Root,
    decode: impl Fn(&[u8]) -> Result<T, Malformed>,
) -> Vec<Vec<u16>> {
    let leaves = attributes(whole, root).into_iter();
    let leaves = leaves.filter(|attribute| !attribute.is_nest);
    let spoil = |leaf: Attribute| {
        let mut bytes = whole.to_vec();
        let length = half(whole, leaf.at - 4);
        // A byte less, or one of the padding more, so that what follows stays where it is.
        let wrong = if length % 4 == 1 {
            length + 1
        } else {
            length - 1
        };
        bytes[leaf.at - 4..leaf.at - 2].copy_from_slice(&wrong.to_ne_bytes());
        // A text may have any length, so it is made not to be one.
        bytes[leaf.at] = 0xff;
        let numbers: Vec<_> = leaf.path.parts().collect();
        match decode(&bytes) {
            Err(malformed) => {
                let place = u32::try_from(NETLINK_HEADER + leaf.at).unwrap();
                assert_eq!((malformed.path, malformed.offset), (leaf.path, place));
            }
            // CTA_HELP_INFO: a helper's own bytes, any number of them.
            Ok(_) if root == Root::Entry && numbers == [5, 2] => {}
            Ok(found) => panic!("{:?}: {found:?}", leaf.path),
        }
        numbers
    };
    leaves.map(spoil).collect()
}
