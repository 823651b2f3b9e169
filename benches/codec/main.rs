//! Instructions that the codec takes for one entry, counted by callgrind.
//!
//! `cargo bench --bench codec` prints `instructions NAME VALUE` and `bytes Entry VALUE`. Machines are
//! noisy, instruction counts are not: the same binary gives the same figures.
//!
//! The program runs itself under `valgrind --tool=callgrind`, once for [`FEW`] and once for [`MANY`]
//! turns of each work, and divides what is between the two. So start and end of the process are not
//! counted; the loop around the work is.
//!
//! - `decode.entry`: an owned entry out of what follows the netlink header.
//! - `decode.view`: both tuples and the zone of a borrowed entry.
//! - `encode.entry`: the request that creates the entry, headers included, into a buffer that is
//!   used again.
//!
//! The entry is a TCP connection with counters, mark and zone, as Linux 6.18 sends it.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the output is the point"
)]

use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

use ctnetlink::{Entry, EntryRef, NewEntry, Status, TcpState, Zone};

/// What each work may take. More fails the program, and with it the tests.
const MOST: [(&str, u64); 3] = [
    ("decode.entry", 900),
    ("decode.view", 300),
    ("encode.entry", 500),
];
const FEW: u64 = 1000;
const MANY: u64 = 3000;

/// What follows the netlink header.
///
/// `conntrack -I -p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 40000 --dport 443 --state ESTABLISHED -t 600
/// -w 5 -m 7 -u SEEN_REPLY,ASSURED` (conntrack 1.4.7 makes it mark 6) with accounting on, then a
/// dump; Linux 6.18.44, 2026-11-22.
const MESSAGE: &str = "\
02000000340001801400018008000100\
0a000001080002000a0000021c000280\
0500010006000000060002009c400000\
0600030001bb00003400028014000180\
080001000a000002080002000a000001\
1c000280050001000600000006000200\
01bb0000060003009c40000006001200\
00050000080003000000000e08000800\
0000000608000c00f44b758b08000b00\
00000001080007000000025730000480\
2c000180050001000300000005000200\
00000000050003000000000006000400\
0a000000060005000a0000001c000980\
0c00010000000000000000000c000200\
00000000000000001c000a800c000100\
00000000000000000c00020000000000\
000000001c0018800800010000000000\
08000200000000000800030000000000";

fn message() -> Vec<u8> {
    let digits: Vec<_> = MESSAGE
        .chars()
        .map(|digit| digit.to_digit(16).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
        .collect()
}

fn new_entry() -> NewEntry {
    let (src, dst) = ("10.0.0.1:40000", "10.0.0.2:443");
    Entry::tcp(src.parse().unwrap(), dst.parse().unwrap())
        .state(TcpState::Established)
        .zone(Zone::new(5))
        .mark(7)
        .status(Status::SEEN_REPLY | Status::ASSURED)
        .timeout(Duration::from_secs(600))
        .build()
        .unwrap()
}

/// Does one kind of work this many times.
fn work(name: &str, turns: u64) {
    let message = message();
    let new = new_entry();
    let mut request = Vec::with_capacity(512);
    for _ in 0..turns {
        match name {
            "decode.entry" => {
                let entry = EntryRef::parse(black_box(&message)).and_then(|e| e.to_entry());
                black_box(&entry);
            }
            "decode.view" => {
                let entry = EntryRef::parse(black_box(&message)).unwrap();
                black_box((&entry.orig(), &entry.reply(), &entry.zone()));
            }
            "encode.entry" => {
                black_box(&new).write_request(7, &mut request).unwrap();
                black_box(&request);
            }
            other => panic!("no work is called {other}"),
        }
    }
}

/// Instructions of a process that does the work this many times.
fn counted(name: &str, turns: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["work", name, &turns.to_string()])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .output()
        .unwrap_or_else(|error| panic!("valgrind: {error}; install the package valgrind"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "valgrind: {text}");
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .unwrap_or_else(|| panic!("no count in: {text}"));
    collected.1.trim().parse().unwrap()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, name, turns] = &arguments[..] {
        if verb == "work" {
            work(name, turns.parse().unwrap());
            return;
        }
    }
    let mut over = Vec::new();
    let mut check = |figure: String, value: u64, most: u64| {
        println!("{figure} {value}");
        if value > most {
            over.push(format!("{figure} is {value}, more than {most}"));
        }
    };
    for (name, most) in MOST {
        let instructions = (counted(name, MANY) - counted(name, FEW)) / (MANY - FEW);
        check(format!("instructions {name}"), instructions, most);
    }
    check("bytes Entry".to_owned(), size_of::<Entry>() as u64, 256);
    assert!(over.is_empty(), "{}", over.join("; "));
}
