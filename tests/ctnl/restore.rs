//! `-o save` and `-R`: a table that is written down, emptied and made again, by each and by both.

use crate::base::Base;
use crate::compare::Pair;
use crate::spawn::{End, Program};
use crate::twin::{Inside, Table, both};

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Saves, empties, restores; gives the text and the table, and the words of -R.
fn trip(inside: &mut Inside, save: &Program, restore: &Program) -> (String, Table, String) {
    let saved = Inside::outcome(save, &words("-L -o save"), "");
    assert_eq!(saved.end, End::Exit(0), "{}", saved.stderr);
    inside.ct.flush_all().unwrap();
    let text = able(&saved.stdout);
    let restored = Inside::outcome(restore, &words("-R -"), &text);
    assert_eq!(restored.end, End::Exit(0), "{}\n{text}", restored.stderr);
    let mut lines: Vec<_> = text.lines().map(without_timeout).collect();
    lines.sort();
    (lines.join("\n"), inside.table(), restored.stderr)
}

/// Without the lines that no -R takes: -g and -n have no port, so the kernel keeps the one that
/// translation had chosen; and conntrack asks for a state of DCCP, which an entry of a kernel
/// without a tracker for it has not.
fn able(saved: &str) -> String {
    let stateless = |line: &str| line.contains("-p dccp") && !line.contains("--state");
    saved
        .lines()
        .filter(|line| !stateless(line))
        .map(|line| line.to_owned() + "\n")
        .collect()
}

fn without_timeout(line: &str) -> String {
    let words: Vec<_> = line.split(' ').collect();
    let place = words.iter().position(|word| *word == "-t").unwrap() + 1;
    let mut words = words;
    words[place] = "*";
    words.join(" ")
}

#[test]
fn a_saved_table_is_restored() {
    let mut pair = Pair::new(Base::All);
    let theirs = pair.programs().theirs();
    let ours = pair.programs().ours();
    let all = pair.entries();
    // Saved by one, restored by the other, on one twin; and each by itself, on the twin of that.
    for [one, other] in [
        [(&theirs, &theirs), (&ours, &ours)],
        [(&theirs, &theirs), (&ours, &theirs)],
        [(&theirs, &theirs), (&theirs, &ours)],
    ] {
        let programs = [one, other].map(|(save, restore)| (save.clone(), restore.clone()));
        let [theirs, ours] = both(pair.twins(), move |inside, which| {
            let (save, restore) = &programs[which];
            trip(inside, save, restore)
        });
        let way = format!("{:?} and {:?}", other.0.path, other.1.path);
        assert_eq!(ours.0, theirs.0, "{way}");
        assert_eq!(ours.2, theirs.2, "{way}");
        assert!(theirs.1.entries.keys().eq(ours.1.entries.keys()), "{way}");
        for (flow, (text, _)) in &theirs.1.entries {
            // conntrack does not keep the ports that translation chose.
            let translated = text.contains("_NAT\"");
            assert!(
                translated || ours.1.entries[flow].0 == *text,
                "{way}: {text}"
            );
        }
        // All of them, but for what cannot be said in a line.
        assert!(theirs.1.entries.len() + 2 >= all, "{way}");
        pair.put_back();
    }
    pair.assert_restored();
}

/// What our own lines of a table say is all there again, whatever the protocol.
#[test]
fn every_protocol_comes_back() {
    let pair = Pair::new(Base::All);
    let ours = pair.programs().ours();
    let [(text, before, after), _] = both(pair.twins(), move |inside, which| {
        let before = inside.table();
        if which == 1 {
            return (String::new(), Table::default(), before);
        }
        let (text, after, _) = trip(inside, &ours, &ours);
        (text, before, after)
    });
    for word in [
        "-p tcp",
        "-p udp",
        "-p sctp",
        "-p gre",
        "-p icmp ",
        "-p icmpv6",
        "-p 50",
        "-p 200",
        "-w 5",
        "--orig-zone 6",
        "--reply-zone 7",
        "-u ",
        "-g ",
        "-n ",
        "--orig-vtag",
    ] {
        assert!(text.contains(word), "{word}");
    }
    // A line says neither marks nor labels nor helpers, so they are not compared.
    let said = |text: &str| -> Vec<serde_json::Value> {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        let fields = ["orig", "reply", "zone", "zone_direction", "status", "sctp"];
        let mut said: Vec<_> = fields.iter().map(|field| value[field].clone()).collect();
        said.push(value["tcp"]["state"].clone());
        said
    };
    for (flow, (text, _)) in &before.entries {
        let (again, _) = &after.entries[flow];
        let (mut want, mut got) = (said(text), said(again));
        for status in [&mut want[4], &mut got[4]] {
            // A helper's bit goes with the helper.
            status.as_array_mut().unwrap().retain(|bit| bit != "HELPER");
        }
        assert_eq!(want, got, "{flow}");
    }
}
