//! What real kernels sent (`tests/fixtures`).

mod encode;
mod second_opinion;
mod tests;

use std::fs;
use std::path::Path;

use super::message::{Frame, FrameKind};
use super::{EntryRef, frame};
use crate::model::Entry;

/// A message that a kernel sent.
pub(super) struct Fixture {
    /// The kernel's first two numbers, `6.1`.
    pub(super) kernel: String,
    /// What the message is about; means the same on every kernel.
    pub(super) name: String,
    /// Lines of `key: value`.
    pub(super) comment: String,
    /// With its netlink header.
    pub(super) bytes: Vec<u8>,
}

/// All there are, by kernel and name.
pub(super) fn fixtures() -> Vec<Fixture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut all = Vec::new();
    for directory in fs::read_dir(&root)
        .unwrap()
        .map(|item| item.unwrap().path())
    {
        if !directory.is_dir() {
            continue;
        }
        for path in fs::read_dir(&directory)
            .unwrap()
            .map(|item| item.unwrap().path())
        {
            let text = fs::read_to_string(&path).unwrap();
            let (comment, hex): (Vec<_>, Vec<_>) =
                text.lines().partition(|line| line.starts_with('#'));
            let part = |name: Option<&std::ffi::OsStr>| name.unwrap().to_str().unwrap().to_owned();
            let digits = hex.concat();
            assert!(digits.len() % 2 == 0, "{}", path.display());
            all.push(Fixture {
                kernel: part(directory.file_name()),
                name: part(path.file_stem()),
                comment: comment.join("\n"),
                bytes: (0..digits.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
                    .collect(),
            });
        }
    }
    all.sort_by(|a, b| (&a.kernel, &a.name).cmp(&(&b.kernel, &b.name)));
    all
}

impl Fixture {
    /// The message, which must be the only one.
    pub(super) fn frame(&self) -> Frame<'_> {
        let mut rest = &self.bytes[..];
        let first = frame(&mut rest).unwrap().unwrap();
        assert!(rest.is_empty(), "{self}");
        first
    }

    /// The message's type, subsystem first, as `nfnetlink.h` composes it.
    pub(super) fn kind(&self) -> Option<u16> {
        match self.frame().kind {
            FrameKind::Data(kind) => Some(kind),
            _ => None,
        }
    }

    /// The entry that a message of ctnetlink's `NEW` or `DELETE` is about.
    pub(super) fn entry(&self) -> Option<Entry> {
        matches!(self.kind(), Some(NEW | DELETE)).then(|| {
            EntryRef::decode(self.frame().payload)
                .and_then(|entry| entry.try_entry())
                .unwrap_or_else(|malformed| panic!("{self}: {malformed}"))
        })
    }
}

impl std::fmt::Display for Fixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kernel, self.name)
    }
}

/// `IPCTNL_MSG_CT_NEW`, `.._DELETE`
const NEW: u16 = 0x100;
const DELETE: u16 = 0x102;

/// Those about entries, decoded.
pub(super) fn entries() -> Vec<(Fixture, Entry)> {
    let entries: Vec<_> = fixtures()
        .into_iter()
        .filter_map(|fixture| fixture.entry().map(|entry| (fixture, entry)))
        .collect();
    assert!(entries.len() > 300, "{}", entries.len());
    entries
}
