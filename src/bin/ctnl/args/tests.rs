//! Whole command lines: what is read of them, and what is refused.

use ctnetlink::{Protocol, Status};

use super::*;

fn read(line: &str, added: bool) -> Result<Request, Refusal> {
    let words: Vec<&str> = line.split_whitespace().collect();
    parse(&words, added)
}

fn good(line: &str) -> Request {
    read(line, false).unwrap_or_else(|refusal| panic!("{line}: {refusal}"))
}

/// The exit status of conntrack(8) for a line that it refuses.
fn refused(line: &str) -> u8 {
    match read(line, false) {
        Ok(request) => panic!("{line}: {request:?}"),
        Err(refusal) => refusal.of_conntrack(),
    }
}

const TCP: &str = "-p tcp --sport 1 --dport 2";
const ENDS: &str = "-s 10.0.0.1 -d 10.0.0.2";

#[test]
fn tables_follow_their_command() {
    for (line, action) in [
        ("-L", Action::List),
        ("-L conntrack", Action::List),
        ("-L expect", Action::ExpectList),
        ("-L e", Action::ExpectList),
        ("--dump dying", Action::ListDying),
        ("-L unconf", Action::ListUnconfirmed),
        ("-C expect", Action::ExpectCount),
        ("-S expect", Action::ExpectStats),
        ("-F", Action::Flush),
        // What is attached is a table if it is the name of one, and else nothing.
        ("-Fexpect", Action::ExpectFlush),
        ("--flush=expect", Action::ExpectFlush),
        ("-Lz", Action::List),
        ("-Ln", Action::List),
        ("", Action::Nothing),
    ] {
        assert_eq!(good(line).action, action, "{line}");
    }
    for line in [
        "-L foo",
        "-F dying",
        "-S unconfirmed",
        "-A expect",
        "-U expect",
        "-L -C",
        "-L -L",
    ] {
        assert_eq!(refused(line), 2, "{line}");
    }
}

/// Which options every command takes; the first words make it whole.
#[test]
fn every_command_takes_its_own_options() {
    const OPTIONS: [(&str, &str); 26] = [
        ("s", "-s 10.0.0.1"),
        ("d", "-d 10.0.0.2"),
        ("r", "-r 10.0.0.2"),
        ("q", "-q 10.0.0.1"),
        ("p", "-p 50"),
        ("t", "-t 5"),
        ("u", "-u ASSURED"),
        ("z", "-z"),
        ("e", "-e NEW"),
        ("[", "--tuple-src 10.0.0.1"),
        ("]", "--tuple-dst 10.0.0.1"),
        ("m", "-m 1"),
        ("i", "-i 5"),
        ("f", "-f ipv4"),
        ("n", "-n"),
        ("g", "-g"),
        ("o", "-o id"),
        ("c", "-c 1"),
        ("b", "-b 5"),
        ("j", "-j"),
        ("w", "-w 5"),
        ("l", "-l 1"),
        ("<", "--label-add 1"),
        (">", "--label-del"),
        ("(", "--orig-zone 5"),
        (")", "--reply-zone 5"),
    ];
    let new = format!("{ENDS} -p 50 -t 5");
    let expect = format!(
        "{ENDS} -p 50 -t 5 --tuple-src 1.1.1.1 --tuple-dst 1.1.1.1 --mask-src 1.1.1.1 --mask-dst 1.1.1.1"
    );
    let one = format!("{ENDS} -p 50");
    for (start, takes) in [
        ("-L".to_owned(), "sdrqpumfngocjwl()z"),
        ("-L dying".to_owned(), "sdrqpumfngocjwl()z"),
        (format!("-I {new}"), "sdrqptumngw<()"),
        (format!("-A {new}"), "sdrqptumngw<()"),
        ("-U".to_owned(), "sdrqptumifngol<>"),
        ("-D".to_owned(), "sdrqptumifngowl()"),
        (format!("-G {one}"), "sdrqpiol"),
        ("-F".to_owned(), "f"),
        ("-E".to_owned(), "sdrqpemfngocbjwl()"),
        ("-C".to_owned(), ""),
        ("-S".to_owned(), ""),
        ("-V".to_owned(), ""),
        ("-h".to_owned(), "p"),
        (String::new(), ""),
        ("-L expect".to_owned(), "fo"),
        (format!("-I expect {expect}"), "sdrqptu[]"),
        (format!("-D expect {one}"), "sdrqp"),
        (format!("-G expect {one}"), "sdrqp"),
        ("-F expect".to_owned(), ""),
        ("-E expect".to_owned(), "o"),
        ("-C expect".to_owned(), ""),
        ("-S expect".to_owned(), ""),
    ] {
        assert!(read(&start, false).is_ok(), "{start}");
        for (letter, option) in OPTIONS {
            let line = format!("{start} {option}");
            assert_eq!(read(&line, false).is_ok(), takes.contains(letter), "{line}");
        }
    }
}

#[test]
fn what_a_new_entry_needs() {
    assert_eq!(
        good(&format!("-I {ENDS} {TCP} -t 5 --state NONE")).protocol,
        Some(Protocol::TCP)
    );
    for line in [
        format!("-I {ENDS} {TCP} --state NONE"),
        format!("-I {ENDS} {TCP} -t 5"),
        format!("-I {TCP} -t 5 --state NONE"),
        format!("-I -s 10.0.0.1 {TCP} -t 5 --state NONE"),
        format!("-I {ENDS} -p tcp --sport 1 -t 5 --state NONE"),
        format!("-I {ENDS} -p udp -t 5"),
        format!("-I {ENDS} -p icmp -t 5 --icmp-type 8"),
        format!("-I {ENDS} -p sctp --sport 1 --dport 2 -t 5 --state NONE"),
        format!("-I {ENDS} -p dccp --sport 1 --dport 2 -t 5 --state OPEN"),
        format!("-I {ENDS} -p gre -t 5 --srckey 1"),
        "-I -s 10.0.0.0/8 -d 10.0.0.2 -p 50 -t 5".to_owned(),
        "-G -p tcp".to_owned(),
        format!("-G {ENDS} -p udp"),
        format!("-G {ENDS} -p icmp"),
    ] {
        assert_eq!(refused(&line), 2, "{line}");
    }
    assert!(read(&format!("-I {ENDS} -p sctp --sport 1 --dport 2 -t 5 --state NONE --orig-vtag 1 --reply-vtag 2"), false).is_ok());
    assert!(
        read(
            &format!("-I {ENDS} -p dccp --sport 1 --dport 2 -t 5 --state OPEN --role client"),
            false
        )
        .is_ok()
    );
    assert!(
        read(
            "-I -r 10.0.0.1 -q 10.0.0.2 -p udp --reply-port-src 1 --reply-port-dst 2 -t 5",
            false
        )
        .is_ok()
    );
}

#[test]
fn what_does_not_go_together() {
    for line in [
        "-L -n -j",
        "-L -g -j",
        "-L -s 10.0.0.1 -d ::1",
        "-L -f ipv6 -s 10.0.0.1",
        "-L --mask-src 255.0.0.0",
        "-D --mask-dst 255.0.0.0 -s 1.1.1.1",
        "-L -z -s 10.0.0.1",
        "-L -z -u ASSURED",
        "-L -z -w 5",
        "-L -r 10.0.0.0/8",
        "-L -n 1.1.1.1/24",
        "-L --sport 1",
        "-L -p icmp --sport 1",
        "-L -p udp --state NONE",
        "-L -p sctp --orig-vtag 1",
        "-L -p tcp --mask-port-src 1",
        "-L -f inet",
        "-L -p nothing",
        "-L -o json",
        "-L --netns x",
        "-L -R",
    ] {
        assert_eq!(refused(line), 2, "{line}");
    }
    // For these conntrack(8) ends as for a failure.
    for line in [
        "-U --label-add 1 --label-del",
        "-L -o save,id",
        "-L -o save -o xml",
    ] {
        assert_eq!(refused(line), 1, "{line}");
    }
}

/// conntrack(8) takes what is no number for 0, and cuts what is too large.
#[test]
fn numbers_that_are_none_are_refused() {
    for line in [
        "-L -w foo",
        "-L -w 65536",
        "-L -w -1",
        "-L -m abc",
        "-D -i x",
        "-U -t x",
        "-L -p udp --sport 65537",
    ] {
        assert_eq!(refused(line), 2, "{line}");
    }
}

/// conntrack(8) passes over an address that is attached, and would delete every translated flow.
#[test]
fn what_is_attached_to_translation_counts() {
    for line in [
        "-D -n 1.1.1.1:80",
        "-D -n1.1.1.1:80",
        "-D --src-nat=1.1.1.1:80",
        "-D --src-nat 1.1.1.1:80",
    ] {
        let wish = good(line).src_nat.unwrap();
        assert_eq!(
            (wish.address.to_string(), wish.port),
            ("1.1.1.1".into(), Some(80)),
            "{line}"
        );
    }
    assert_eq!(good("-D -n -s 1.1.1.1").src_nat, None);
    assert_eq!(
        good("-U --label-del=a").labels_off,
        Some(LabelsOff::These(vec!["a".into()]))
    );
    assert_eq!(good("-U --label-del").labels_off, Some(LabelsOff::All));
    assert_eq!(good("-D --id 7").id, Some(7));
    assert_eq!(good("-D --id=7").id, Some(7));
    assert_eq!(refused("-D --id"), 2);
}

#[test]
fn values_arrive() {
    let request = good("-L -s 10.0.0.9/24 -d 10.1 -m 0x8/0xc -u a,!SEEN_REPLY -o e,id -l a -l b,c");
    assert_eq!(request.orig.src.unwrap().to_string(), "10.0.0.9");
    assert_eq!(request.mask.src.unwrap().to_string(), "255.255.255.0");
    assert_eq!(request.orig.dst.unwrap().to_string(), "10.0.0.1");
    assert_eq!(request.mark, Some((8, 12)));
    let status = request.status.unwrap();
    assert_eq!(
        (status.on, status.off),
        (Status::ASSURED, Status::SEEN_REPLY)
    );
    assert!(request.outputs.extended && request.outputs.id);
    assert_eq!(request.labels, ["a", "b,c"]);
    assert!(good("-L -s 10.0.0.9/32").mask.src.is_none());
    assert_eq!(good("-L -a 1").warnings.len(), 1);
}

#[test]
fn what_is_added_fits_some_commands() {
    for line in [
        "-D --dry-run --max-deletes 5 --verify 2 --protect-zone 1,2",
        "-F --dry-run",
        "-L --netns a --filter zone=5",
        "-L -o json",
        "-E -o table",
        "--netns 1 -C",
    ] {
        assert!(read(line, true).is_ok(), "{line}");
    }
    for line in [
        "-L --dry-run",
        "-E --verify 1",
        "-F --filter zone=5",
        "-C --filter zone=5",
        "-L --filter foo",
        "-L -z --filter zone=5",
        "-D --protect-zone x",
        "-V --netns x",
    ] {
        assert!(read(line, true).is_err(), "{line}");
    }
    let netns = |text| {
        read(&format!("-L --netns {text}"), true)
            .unwrap()
            .extras
            .netns
    };
    assert_eq!(netns("blue"), Some(Netns::Name("blue".into())));
    assert_eq!(netns("/run/x"), Some(Netns::Path("/run/x".into())));
    assert_eq!(netns("42"), Some(Netns::Pid(42)));
}

/// Command lines that programs run, word for word.
#[test]
fn command_lines_of_neutron_and_kube_proxy() {
    for line in [
        "-D -f ipv4 -d 10.0.0.2 -w 5",
        "-D -p tcp -f ipv4 -s 10.0.0.2 -w 5",
        "-D -f ipv6 -r fe80::1 -q fe80::2 -w 5",
        "-D -p icmp -f ipv4 -s 1.2.3.4 -d 1.2.3.5 -w 10",
        "-D --orig-dst 10.96.0.10 -p udp",
        "-D --orig-dst 10.96.0.10 --dst-nat 10.244.0.3 -p udp",
        "-D -p udp --dport 30053",
        "-D -p udp --dport 30053 --dst-nat 10.244.0.3",
        "-D -f ipv6 --orig-dst fd00::a --dst-nat fd00::3 -p udp",
        "-D -p udp --orig-port-dst 53 --dst-nat 1.1.1.1",
    ] {
        good(line);
    }
}
