//! `-z`: counters of real packets, shown and zeroed in one go.

use std::net::UdpSocket;
use std::time::Duration;

use ctnetlink::{Conntrack, Counters, Filter};

use crate::base::Base;
use crate::compare::Pair;
use crate::shown;
use crate::spawn::{End, Outcome};
use crate::twin::{Inside, both, list, run};

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// A question of 100 bytes and an answer of 50.
fn exchange() {
    let bind = |port: u16| UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let (a, b) = (bind(5001), bind(5002));
    for socket in [&a, &b] {
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
    }
    a.send_to(&[0; 100], b.local_addr().unwrap()).unwrap();
    let (_, from) = b.recv_from(&mut [0; 200]).unwrap();
    b.send_to(&[0; 50], from).unwrap();
    a.recv_from(&mut [0; 200]).unwrap();
}

fn of_exchange(ct: &Conntrack) -> (Option<Counters>, Option<Counters>) {
    let all = list(ct);
    let mut found = all
        .iter()
        .filter(|entry| entry.orig().src_port() == Some(5001));
    let entry = found.next().unwrap();
    (entry.orig_counters(), entry.reply_counters())
}

#[test]
fn counters_are_zeroed_once_they_were_shown() {
    let pair = Pair::new(Base::All);
    let programs = [pair.programs().theirs(), pair.programs().ours()];
    for line in ["-L -z", "-L --zero -o extended", "-zL -o xml"] {
        let programs = programs.clone();
        let [theirs, ours]: [Outcome; 2] = both(pair.twins(), move |inside, which| {
            run("ip", &["link", "set", "lo", "up"]);
            let rules = "table inet t { chain c { type filter hook output priority 0; \
                         ct state new accept; }; }";
            run("nft", &[rules]);
            let only = Filter::new().orig_src_port(5001);
            let gone = inside.ct.delete_matching(&only).unwrap();
            assert!(gone.is_clean());
            exchange();
            let before = of_exchange(&inside.ct);
            let outcome = Inside::outcome(&programs[which], &words(line), "");
            let told = |counters: Option<Counters>| counters.unwrap().bytes;
            assert_eq!((told(before.0), told(before.1)), (128, 78));
            let after = of_exchange(&inside.ct);
            assert_eq!((told(after.0), told(after.1)), (0, 0), "{line}");
            outcome
        });
        assert_eq!((theirs.end, ours.end), (End::Exit(0), End::Exit(0)));
        assert!(ours.stdout.contains("128"), "{line}: {}", ours.stdout);
        let [theirs, ours] = [theirs, ours].map(|outcome| shown::lines(&outcome.stdout));
        let differing = ours
            .iter()
            .zip(&theirs)
            .find(|(ours, theirs)| ours.text != theirs.text);
        // States of SCTP in XML differ on purpose.
        let differing = differing.filter(|(ours, _)| !ours.text.contains("\"sctp\""));
        assert!(differing.is_none(), "{line}: {differing:?}");
        assert_eq!(ours.len(), theirs.len(), "{line}");
    }
}
