//! Filters as words.

use proptest::prelude::*;

use super::values::filter;
use super::*;

const EVERYTHING: &str = "family=ipv4 zone=5 orig-zone=5 reply-zone=0 mark=0x1/0xff \
    status=ASSURED,!DYING labels=1,!77 protocol=tcp orig-src=10.0.0.0/24 orig-dst=192.0.2.1/32 \
    orig-src-port=1024-65535 orig-dst-port=443 reply-src=2001:db8::/32 reply-dst=::/0 \
    reply-src-port=1-1023 reply-dst-port=0-65535 icmp-type=8 icmp-code=0 icmp-id=7 \
    state=ESTABLISHED helper=ftp nat=src timeout=30..600 id=123";

proptest! {
    #[test]
    fn filters_survive_their_text(filter in filter()) {
        let text = filter.to_string();
        prop_assert_eq!(&text.parse::<Filter>().unwrap(), &filter, "{}", text);
        prop_assert_eq!(text == "all", filter.is_empty());
        // In any order.
        let words: Vec<_> = text.split(' ').rev().collect();
        prop_assert_eq!(words.join("\n ").parse::<Filter>().unwrap(), filter);
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,60}", name in "[a-z-]{1,9}", value in ".{0,20}") {
        for text in [&text, &format!("{name}={value}"), &format!("helper={value}")] {
            if let Ok(filter) = text.parse::<Filter>() {
                prop_assert_eq!(filter.to_string().parse::<Filter>().unwrap(), filter);
            }
        }
    }
}

#[test]
fn words_are_conditions() {
    let filter: Filter = EVERYTHING.parse().unwrap();
    assert_eq!(filter.to_string(), EVERYTHING);
    assert_eq!(format!("{filter:>9}"), EVERYTHING);
    let prefix = |text: &str| text.parse::<IpNet>().unwrap();
    let same = Filter::new()
        .family(Family::Ipv4)
        .zone(Zone::new(5))
        .zone_in(Direction::Original, Zone::new(5))
        .zone_in(Direction::Reply, Zone::DEFAULT)
        .mark(Mark::masked(1, 0xff).unwrap())
        .status_masked(Status::ASSURED, Status::ASSURED | Status::DYING)
        .unwrap()
        .labels_masked(labels(&[1]), labels(&[1, 77]))
        .unwrap()
        .protocol(Protocol::TCP)
        .orig_src(prefix("10.0.0.0/24"))
        .orig_dst(prefix("192.0.2.1/32"))
        .orig_src_port(PortRange::new(1024, 65535).unwrap())
        .orig_dst_port(443)
        .reply_src(prefix("2001:db8::/32"))
        .reply_dst(prefix("::/0"))
        .reply_src_port(PortRange::new(1, 1023).unwrap())
        .reply_dst_port(PortRange::ANY)
        .icmp_type(8)
        .icmp_code(0)
        .icmp_id(7)
        .tcp_state(TcpState::Established)
        .helper(Helper::FTP)
        .nat(NatKind::Source)
        .timeout(left("30..600"))
        .id(123);
    assert_eq!(filter, same);
    // One of each: so this test, and those that take the words from it, leave none out.
    let names = EVERYTHING
        .split(' ')
        .filter_map(|word| word.split('=').next());
    assert!(names.eq(Filter::WORDS.iter().copied()));
}

#[test]
fn other_spellings_print_as_one() {
    for (text, canonical) in [
        ("all", "all"),
        (" \t all\n", "all"),
        ("protocol=6\n\tzone=0x5", "zone=5 protocol=tcp"),
        ("orig-src=10.0.0.7", "orig-src=10.0.0.7/32"),
        ("orig-src=0.0.0.0", "orig-src=0.0.0.0/32"),
        ("protocol=0x6 zone=0X5", "zone=5 protocol=tcp"),
        ("id=0X7b", "id=123"),
        ("status=0X4", "status=ASSURED"),
        ("mark=7", "mark=0x7"),
        ("status=!DYING,0x4", "status=ASSURED,!DYING"),
        ("status=!0x80000000,0x40000", "status=0x40000,!0x80000000"),
        ("status=any", "status=any"),
        ("labels=77,1", "labels=1,77"),
        ("labels=77,1/all", "labels=1,77/all"),
        ("labels=NONE/all", "labels=NONE/all"),
        ("labels=any", "labels=any"),
        ("orig-dst-port=80-80", "orig-dst-port=80"),
        ("state=STATE_3", "state=ESTABLISHED"),
        ("state=STATE_99", "state=STATE_99"),
        ("helper=a\\u{20}b", "helper=a\\u{20}b"),
        ("helper=Q.931", "helper=Q.931"),
        ("timeout=60..60", "timeout=60"),
        ("timeout=0..60", "timeout=..60"),
        ("timeout=60..4294967295", "timeout=60.."),
        ("timeout=0..", "timeout=0.."),
        ("id=0x7b", "id=123"),
    ] {
        let filter: Filter = text.parse().unwrap();
        assert_eq!(filter.to_string(), canonical, "{text}");
    }
    let spaced: Filter = "helper=a\\u{20}b".parse().unwrap();
    assert_eq!(spaced.helper.unwrap().as_str(), "a b");
}

/// What is refused, and how the error begins.
const REFUSALS: &[(&str, &str)] = &[
    (
        "",
        "filter \"\": it says nothing; expected conditions such as zone=5, or `all` for every entry",
    ),
    ("  \n", "filter \"  \\n\": it says nothing"),
    (
        "all zone=5",
        "filter \"all zone=5\": `all` stands beside conditions; expected either of both",
    ),
    (
        "zone=5 all",
        "filter \"zone=5 all\": `all` stands beside conditions",
    ),
    (
        "zone=5 zone=5",
        "filter \"zone=5\": zone is given twice; expected each condition once",
    ),
    (
        "zone=5 mark=1 zone=6",
        "filter \"zone=6\": zone is given twice",
    ),
    (
        "zone=",
        "filter \"zone=\": empty; expected a number from 0 to 65535",
    ),
    (
        "zone",
        "filter \"zone\": it has no value; expected zone=VALUE",
    ),
    (
        "zone=70000",
        "filter \"zone=70000\": too large; expected a number from 0 to 65535",
    ),
    ("zone=5,6", "filter \"zone=5,6\": not a number"),
    (
        "dport=80",
        "filter \"dport=80\": the direction is missing; expected orig-dst-port or reply-dst-port",
    ),
    (
        "src=10.0.0.1",
        "filter \"src=10.0.0.1\": the direction is missing; expected orig-src or reply-src",
    ),
    ("dport", "filter \"dport\": the direction is missing"),
    (
        "orig-sport=1",
        "filter \"orig-sport=1\": no such condition; expected orig-src-port",
    ),
    (
        "orig_src=10.0.0.1",
        "filter \"orig_src=10.0.0.1\": no such condition; expected orig-src=VALUE",
    ),
    (
        "ZONE=5",
        "filter \"ZONE=5\": no such condition; expected zone=VALUE",
    ),
    (
        "tcp-state=NONE",
        "filter \"tcp-state=NONE\": no such condition; expected state",
    ),
    (
        "zones=5",
        "filter \"zones=5\": no such condition; expected `all`, or NAME=VALUE with one of family, zone, orig-zone,",
    ),
    ("=5", "filter \"=5\": no such condition"),
    ("family=arp", "filter \"family=arp\": not a family"),
    (
        "mark=2/1",
        "filter \"mark=2/1\": the bits 0x2 are outside of the mask",
    ),
    (
        "status=NONE",
        "filter \"status=NONE\": \"NONE\" is none; expected bits such as ASSURED,!DYING, or `any`",
    ),
    ("status=", "filter \"status=\": \"\" is none"),
    ("status=0x0", "filter \"status=0x0\": \"0x0\" is none"),
    ("status=0x+4", "filter \"status=0x+4\": \"0x+4\" is none"),
    ("status=!", "filter \"status=!\": \"!\" is none"),
    ("status=!any", "filter \"status=!any\": \"!any\" is none"),
    (
        "status=ASSURED,any",
        "filter \"status=ASSURED,any\": \"any\" is none",
    ),
    (
        "status=assured",
        "filter \"status=assured\": \"assured\" is none",
    ),
    (
        "status=ASSURED,!ASSURED",
        "filter \"status=ASSURED,!ASSURED\": ASSURED is given twice",
    ),
    (
        "status=ASSURED,0x6",
        "filter \"status=ASSURED,0x6\": 0x6 is given twice",
    ),
    (
        "labels=128",
        "filter \"labels=128\": \"128\" is none; expected labels such as",
    ),
    (
        "labels=NONE",
        "filter \"labels=NONE\": \"NONE\" is none; expected labels such as 1,!77, 1,77/all for no others, NONE/all",
    ),
    ("labels=1,!1", "filter \"labels=1,!1\": 1 is given twice"),
    (
        "labels=1,!2/all",
        "filter \"labels=1,!2/all\": with /all, the others are off anyway",
    ),
    ("labels=any/all", "filter \"labels=any/all\": with /all"),
    ("labels=/all", "filter \"labels=/all\": \"\" is none"),
    (
        "protocol=ospf",
        "filter \"protocol=ospf\": neither a known name nor a protocol number",
    ),
    (
        "orig-src=10.0.0.0/33",
        "filter \"orig-src=10.0.0.0/33\": not a prefix; expected a prefix such as",
    ),
    (
        "orig-dst-port=2-1",
        "filter \"orig-dst-port=2-1\": the first port is greater than the last",
    ),
    (
        "orig-dst-port=65536",
        "filter \"orig-dst-port=65536\": \"65536\" is not a port; expected a port from 0 to 65535",
    ),
    (
        "orig-dst-port=-1",
        "filter \"orig-dst-port=-1\": \"\" is not a port",
    ),
    (
        "orig-dst-port=+1",
        "filter \"orig-dst-port=+1\": \"+1\" is not a port",
    ),
    (
        "icmp-type=256",
        "filter \"icmp-type=256\": not such a number; expected a number from 0 to 255",
    ),
    (
        "icmp-id=-1",
        "filter \"icmp-id=-1\": not such a number; expected a number from 0 to 65535",
    ),
    (
        "state=established",
        "filter \"state=established\": no such state; expected NONE SYN_SENT",
    ),
    (
        "helper=",
        "filter \"helper=\": not a helper's name; expected 1 to 15 bytes",
    ),
    (
        "nat=snat",
        "filter \"nat=snat\": not known; expected src, dst, any or none",
    ),
    (
        "timeout=..",
        "filter \"timeout=..\": it has no end; expected seconds as",
    ),
    (
        "timeout=60..30",
        "filter \"timeout=60..30\": the first is longer than the last",
    ),
    (
        "timeout=1m",
        "filter \"timeout=1m\": \"1m\" is not a number of seconds",
    ),
    (
        "timeout=0..4294967296",
        "filter \"timeout=0..4294967296\": \"4294967296\" is not a number of seconds",
    ),
    (
        "id=4294967296",
        "filter \"id=4294967296\": not such a number",
    ),
];

#[test]
fn refusals_name_the_word_and_what_is_right() {
    for (text, want) in REFUSALS {
        let error = text.parse::<Filter>().unwrap_err();
        assert!(error.is_invalid_input());
        assert!(error.to_string().starts_with(want), "{text}: {error}");
    }
}

/// The guide's table has the words, no more and no fewer.
#[test]
fn the_guide_has_the_words() {
    let guide = include_str!("../../../docs/guide.md");
    let section = guide.split_once("\n## Filters\n").unwrap().1;
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let names: Vec<_> = rows.flat_map(row_names).collect();
    assert_eq!(names, Filter::WORDS);
    // And those that a filter's own documentation has.
    let source = include_str!("../mod.rs");
    let rows = source.lines().filter(|line| line.starts_with("/// | `"));
    let names: Vec<_> = rows.flat_map(row_names).collect();
    for word in Filter::WORDS {
        assert!(names.contains(word), "{word}");
    }
    assert_eq!(names.len(), Filter::WORDS.len());
}
