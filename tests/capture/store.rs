//! Where fixtures go.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crate::bytes::{PORT, SEQUENCE};
use crate::world::run;

pub(crate) struct Store {
    directory: PathBuf,
    release: String,
    date: String,
    names: BTreeSet<String>,
}

impl Store {
    /// Empties the directory of the running kernel.
    pub(crate) fn new(root: &Path) -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let release = release.trim().to_owned();
        let numbers: Vec<_> = release.split(['.', '-', '+']).collect();
        let directory = root.join(format!("{}.{}", numbers[0], numbers[1]));
        if directory.exists() {
            fs::remove_dir_all(&directory).unwrap();
        }
        fs::create_dir_all(&directory).unwrap();
        Self {
            directory,
            release,
            date: run("date", &["-u", "+%F"]).trim().to_owned(),
            names: BTreeSet::new(),
        }
    }

    pub(crate) fn release(&self) -> &str {
        &self.release
    }

    pub(crate) fn count(&self) -> usize {
        self.names.len()
    }

    /// Writes a message down. Sequence and port of its header are made the same in all, since they are
    /// the asking socket's; nothing else is changed.
    pub(crate) fn keep(&mut self, name: &str, what: &str, request: &str, message: &[u8]) {
        assert!(self.names.insert(name.to_owned()), "{name}: twice");
        let mut message = message.to_vec();
        message[8..12].copy_from_slice(&SEQUENCE.to_ne_bytes());
        message[12..16].copy_from_slice(&PORT.to_ne_bytes());
        let mut text = format!(
            "# what: {what}\n# request: {request}\n# kernel: {}\n# date: {}\n",
            self.release, self.date
        );
        assert_eq!(text.lines().count(), 4, "{text}");
        for line in message.chunks(32) {
            for byte in line {
                write!(text, "{byte:02x}").unwrap();
            }
            text.push('\n');
        }
        fs::write(self.directory.join(format!("{name}.hex")), text).unwrap();
    }

    /// Says that this kernel has no such thing.
    pub(crate) fn lacks(&self, name: &str, why: impl std::fmt::Display) {
        println!("{}: no {name}: {why}", self.release);
    }
}
