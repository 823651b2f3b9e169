//! Captures what this kernel sends, as the files of `tests/fixtures`.
//!
//! `capture DIRECTORY` writes `DIRECTORY/<kernel>/<name>.hex`, one message a file. It needs root, `nft`
//! and `ip`, and works in network namespaces of its own. `tests/fixtures/capture.sh` runs it on every
//! kernel. What the kernel lacks is printed and left out; whatever else goes wrong ends the program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program of the developers' own, which ends where it cannot go on"
)]

mod acks;
mod bytes;
mod entries;
mod events;
mod expect;
mod policies;
mod stats;
mod store;
mod talk;
mod traffic;
mod world;

use std::process::ExitCode;

use store::Store;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [directory] = &arguments[..] else {
        eprintln!("capture: one argument is expected, the directory to write to");
        return ExitCode::from(2);
    };
    let mut store = Store::new(directory.as_ref());
    // Each in namespaces of its own.
    for capture in [
        entries::protocols,
        entries::zones,
        entries::extensions,
        entries::translation,
        entries::replies,
        events::of_requests,
        events::dying,
        traffic::loopback,
        traffic::ftp,
        traffic::offload,
        traffic::syn_proxy,
        expect::requested,
        stats::all,
        policies::all,
        acks::all,
    ] {
        world::apart(|| capture(&mut store));
    }
    println!("{} fixtures of {}", store.count(), store.release());
    ExitCode::SUCCESS
}
