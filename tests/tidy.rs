//! Rules of the source tree that no compiler checks: who may import whom, how long files are, and
//! what the library must never do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(directory: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut pending = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)];
    while let Some(directory) = pending.pop() {
        for item in fs::read_dir(&directory).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let short = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
                found.push((short.to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {directory}");
    found
}

/// The command stands on the library, and is no part of it.
fn library() -> impl Iterator<Item = (PathBuf, String)> {
    let all = sources("src").into_iter();
    all.filter(|(path, _)| !path.starts_with("src/bin"))
}

/// Without tests at the end of a file, and without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let end = ["\n#[cfg(test)]\nmod tests {", "\n#[cfg(test)]\nimpl"]
        .into_iter()
        .filter_map(|start| text.find(start))
        .min()
        .unwrap_or(text.len());
    text[..end]
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

/// The room of a file below src, and how high it is. Imports only descend or stay in the room.
fn rank(room: &str) -> u8 {
    match room {
        "model" | "error" => 0,
        "wire" => 1,
        "filter" | "link" => 2,
        "ops" => 3,
        "conntrack" => 4,
        "zones" => 5,
        "lib" => 6,
        other => panic!("src/{other}: a new room needs a rank here and in docs/architecture.md"),
    }
}

fn room(path: &Path) -> String {
    let below = path.strip_prefix("src").unwrap();
    let first = below.components().next().unwrap();
    let name = first.as_os_str().to_str().unwrap();
    name.trim_end_matches(".rs").to_owned()
}

#[test]
fn imports_only_descend() {
    let mut checked = 0;
    for (path, text) in library() {
        let here = room(&path);
        for line in code(&text).filter(|line| line.contains("crate::")) {
            for used in line.split("crate::").skip(1) {
                let there: String = used
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                // `use crate::{Conntrack, ..}` of public names stands for the root.
                let there = match there.as_str() {
                    "Error" | "Conntrack" => continue,
                    name => name.to_owned(),
                };
                assert!(
                    here == there
                        || rank(&there) <= rank(&here) && here != "model"
                        || here == "model" && there == "error"
                        || here == "error" && there == "model",
                    "{}: `{here}` must not import from `{there}`: {line}",
                    path.display()
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "only {checked} imports were looked at");
}

#[test]
fn files_stay_short() {
    for directory in ["src", "tests", "benches", "examples"] {
        for (path, text) in sources(directory) {
            let lines = text
                .lines()
                .filter(|line| {
                    let line = line.trim_start();
                    !line.is_empty() && !line.starts_with("//")
                })
                .count();
            assert!(
                lines <= 600,
                "{}: {lines} lines of code; find the wall that is missing",
                path.display()
            );
        }
    }
}

#[test]
fn the_library_prints_nothing_and_starts_nothing() {
    const FORBIDDEN: [&str; 9] = [
        "println!",
        "print!(",
        "dbg!(",
        "process::Command",
        "Command::new",
        "unsafe ",
        "todo!(",
        "unimplemented!(",
        "signal",
    ];
    for (path, text) in library() {
        for line in code(&text) {
            for word in FORBIDDEN {
                // Words in texts (a signal that interrupted a wait) are not calls.
                let outside = line.split('"').step_by(2).any(|part| part.contains(word));
                assert!(!outside, "{}: {line}", path.display());
            }
        }
    }
}

/// Leases go by the monotonic clock and by the kernel's time-outs, so a jump of the clock costs none.
#[test]
fn leases_do_not_ask_what_time_it_is() {
    for (path, text) in sources("src/zones") {
        for line in code(&text) {
            assert!(!line.contains("SystemTime"), "{}: {line}", path.display());
        }
    }
}

/// What bytes of the kernel's or input of users reaches must not panic.
#[test]
fn no_unwrap_on_the_way() {
    for (path, text) in sources("src") {
        if path
            .components()
            .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "fixtures")
            || [
                "script.rs",
                "strategies.rs",
                "tests.rs",
                "fixtures.rs",
                "fuzzing.rs",
            ]
            .iter()
            .any(|name| path.ends_with(name))
        {
            continue;
        }
        for line in code(&text) {
            assert!(
                !line.contains(".unwrap()") && !line.contains(".expect("),
                "{}: {line}",
                path.display()
            );
        }
    }
}

/// A link to a file of the tree that is not there.
#[test]
fn documents_link_to_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    for item in fs::read_dir(root.join("docs")).unwrap() {
        let path = item.unwrap().path();
        if path.is_file() {
            documents.push(path);
        }
    }
    let mut links = 0;
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for after in text.split("](").skip(1) {
            let target = after.split(')').next().unwrap().split('#').next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = document.parent().unwrap().join(target);
            assert!(path.exists(), "{}: {target}", document.display());
            links += 1;
        }
    }
    assert!(links > 3, "only {links} links were looked at");
}

/// Let chains need Rust 1.88, and no lint knows that.
#[test]
fn the_oldest_compiler_can_read_it() {
    let mut looked = 0;
    for directory in ["src", "tests", "examples", "benches"] {
        for (path, text) in sources(directory) {
            for (start, _) in text
                .match_indices("if let ")
                .chain(text.match_indices("while let "))
            {
                // The condition ends at the brace that opens the block: the first one that is not
                // inside of parentheses and not part of a pattern.
                let rest = &text[start..];
                let value = rest.find(" = ").map_or("", |at| &rest[at..]);
                let mut depth = 0;
                for (at, c) in value.char_indices() {
                    match c {
                        '(' | '[' => depth += 1,
                        ')' | ']' => depth -= 1,
                        '{' if depth <= 0 => break,
                        '&' if depth <= 0 && value[at..].starts_with("&& ") => {
                            panic!("{}: a let chain: {}", path.display(), &rest[..40]);
                        }
                        _ => {}
                    }
                }
                looked += 1;
            }
            assert!(!text.contains(concat!("&& ", "let ")), "{}", path.display());
        }
    }
    assert!(looked > 20);
}
