//! Pictures that are compared with those of the tree.

use std::path::Path;

/// Compares a picture with the file of this name, or writes that with `CTNL_SNAPSHOTS=write`.
#[track_caller]
pub(super) fn snapshot(name: &str, drawn: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/ctnl/tools/zone/snapshots");
    let path = directory.join(name);
    if std::env::var("CTNL_SNAPSHOTS").is_ok_and(|what| what == "write") {
        assert!(std::fs::write(&path, drawn).is_ok(), "cannot write {name}");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(drawn == there, "{name} is not this:\n{drawn}");
}
