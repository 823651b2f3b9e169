//! What a kernel cannot be made to report everywhere, against what `libnetfilter_conntrack` 1.0.9
//! writes of it (`nfct_snprintf_labels`), and what no name may do.
//!
//! Real tables are compared with conntrack(8) in `kernel::output`.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::{
    Counters, DccpInfo, DccpRole, DccpState, EntryZone, Labels, ProtoInfo, Rare, SctpInfo,
    SctpState, Status, TcpInfo, TcpState, Timestamps, Zone,
};

fn entry(line: &str) -> Entry {
    line.parse().unwrap()
}

fn udp() -> Entry {
    entry(
        "udp 17 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1",
    )
}

/// Everything that the formats know of.
fn all() -> Entry {
    let mut entry = entry(
        "tcp 6 9 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 packets=1 bytes=2 [UNREPLIED] \
         src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 packets=3 bytes=4 [ASSURED] mark=8 secmark=11 secctx=s:c zone=7 \
         helper=ftp use=3 id=5",
    );
    let rare = entry.rare.as_mut().unwrap();
    rare.timestamps = Some(Timestamps {
        start: Some(1_500_000_000),
        stop: Some(3_400_000_000),
        event: None,
    });
    rare.labels = Some(Labels::from_bits(0b10_0000_1011));
    entry
}

fn names() -> LabelNames {
    LabelNames::from_text("0 zero\n1 one\n9 nine\n127 last\n").unwrap()
}

const DIRECTIONS: &str = "<meta direction=\"original\"><layer3 protonum=\"2\" protoname=\"ipv4\">\
    <src>10.0.0.1</src><dst>10.0.0.2</dst></layer3><layer4 protonum=\"17\" protoname=\"udp\">\
    <sport>1</sport><dport>2</dport></layer4></meta><meta direction=\"reply\">\
    <layer3 protonum=\"2\" protoname=\"ipv4\"><src>10.0.0.2</src><dst>10.0.0.1</dst></layer3>\
    <layer4 protonum=\"17\" protoname=\"udp\"><sport>2</sport><dport>1</dport></layer4></meta>";

#[test]
fn everything_at_once() {
    let (entry, names) = (all(), names());
    let shown = |format| {
        entry
            .display(format)
            .id(true)
            .timestamps(true)
            .labels(&names)
    };
    assert_eq!(
        shown(Format::Extended).to_string(),
        "ipv4     2 tcp      6 9 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 packets=1 bytes=2 \
         [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 packets=3 bytes=4 [ASSURED] mark=8 \
         secmark=11 secctx=s:c zone=7 delta-time=2 [start=Thu Jan  1 00:00:01 1970] \
         [stop=Thu Jan  1 00:00:03 1970] helper=ftp use=3 id=5 labels=zero,one,nine"
    );
    // The seconds of a difference are not the difference of seconds.
    let xml = shown(Format::Xml).to_string();
    let (_, independent) = xml.split_once("<meta direction=\"independent\">").unwrap();
    assert_eq!(
        independent,
        "<state>ESTABLISHED</state><timeout>9</timeout><mark>8</mark>\
         <labels><label>zero</label><label>one</label><label>nine</label></labels>\
         <secmark>11</secmark><secctx>s:c</secctx><zone>7</zone><use>3</use><id>5</id><assured/><unreplied/>\
         <timestamp><start>1500000000</start><stop>3400000000</stop></timestamp>\
         <deltatime>1</deltatime></meta><helper>ftp</helper></flow>"
    );
    assert_eq!(
        shown(Format::Save).to_string(),
        "-A -t 9 -u ASSURED -w 7 -s 10.0.0.1 -d 10.0.0.2 -r 10.0.0.2 -q 10.0.0.1 -p tcp \
         --sport 1 --dport 2 --reply-port-src 2 --reply-port-dst 1 --state ESTABLISHED"
    );
}

#[test]
fn what_was_not_asked_for_is_not_said() {
    let entry = all();
    assert_eq!(
        entry.display(Format::Plain).to_string(),
        entry.to_string().replace(" helper", " delta-time=2 helper")
    );
    assert!(!entry.display(Format::Xml).to_string().contains("label"));
    assert!(
        !entry
            .display(Format::Xml)
            .to_string()
            .contains("<timestamp>")
    );
    // An entry that nothing is known of but its tuples.
    let mut bare = udp();
    bare.status = None;
    assert_eq!(
        bare.display(Format::Xml).to_string(),
        format!("<flow>{DIRECTIONS}</flow>")
    );
    assert_eq!(
        bare.display(Format::Save).to_string(),
        "-A -s 10.0.0.1 -d 10.0.0.2 -r 10.0.0.2 -q 10.0.0.1 -p udp --sport 1 --dport 2 \
         --reply-port-src 2 --reply-port-dst 1"
    );
}

#[test]
fn events_say_what_happened() {
    let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_392_177_000_042);
    let shown = |event: &Event, format| {
        let event = event.display(format).unwrap();
        event.heard(at).utc_offset(|_| 3600).to_string()
    };
    let line = udp().to_string();
    let options = udp().display(Format::Save).to_string().replace("-A", "");
    let when = "<when><hour>1</hour><min>02</min><sec>57</sec><wday>2</wday><day>23</day>\
                <month>11</month><year>2026</year></when>";
    for (event, tag, kind, option) in [
        (Event::New(udp()), "    [NEW]", "new", "-A"),
        (Event::Update(udp()), " [UPDATE]", "update", "-U"),
        (Event::Destroy(udp()), "[DESTROY]", "destroy", "-D"),
    ] {
        let stamp = "[1795392177.000042]";
        assert_eq!(
            shown(&event, Format::Plain),
            format!("{stamp}\t{tag} {line}")
        );
        assert_eq!(
            shown(&event, Format::Extended),
            format!("{stamp}\t{tag} ipv4     2 {line}")
        );
        assert_eq!(shown(&event, Format::Save), format!("{option}{options}"));
        let xml = shown(&event, Format::Xml);
        assert!(xml.starts_with(&format!("<flow type=\"{kind}\">")), "{xml}");
        assert!(xml.ends_with(&format!("</meta>{when}</flow>")), "{xml}");
        // Without a moment there is none.
        let quiet = event.display(Format::Plain).unwrap().to_string();
        assert_eq!(quiet, format!("{tag} {line}"));
    }
    let overrun = Event::Overrun(crate::model::Overrun {
        times: 1,
        received: 2,
        receive_buffer: 3,
    });
    assert!(overrun.display(Format::Plain).is_none());
    // An entry was not heard of.
    assert_eq!(udp().display(Format::Plain).heard(at).to_string(), line);
}

#[test]
fn offloaded_flows() {
    let mut entry = udp();
    for (status, line, xml, options) in [
        (
            Status::OFFLOAD | Status::ASSURED,
            " [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 [OFFLOAD]",
            "<assured/><unreplied/>",
            "-A -u ASSURED ",
        ),
        (
            Status::HW_OFFLOAD | Status::OFFLOAD | Status::ASSURED | Status::SEEN_REPLY,
            " sport=2 dport=1 [HW_OFFLOAD]",
            "<assured/>",
            "-A -u SEEN_REPLY,ASSURED ",
        ),
        (
            Status::EXPECTED | Status::CONFIRMED | Status::FIXED_TIMEOUT,
            " sport=2 dport=1",
            "<unreplied/>",
            "-A -u EXPECTED,FIXED_TIMEOUT ",
        ),
        (Status::SEEN_REPLY, " dport=1", "", "-A -u SEEN_REPLY "),
        (
            Status::CONFIRMED,
            " dport=1",
            "<unreplied/>",
            "-A -u UNSET ",
        ),
    ] {
        entry.status = Some(status);
        let plain = entry.display(Format::Plain).to_string();
        assert!(plain.ends_with(line), "{plain}");
        assert_eq!(
            entry.display(Format::Xml).to_string(),
            format!("<flow>{DIRECTIONS}<meta direction=\"independent\">{xml}</meta></flow>")
        );
        let saved = entry.display(Format::Save).to_string();
        assert!(saved.starts_with(options), "{saved}");
    }
}

#[test]
fn translation_that_was_decided_on_is_told_from_a_chosen_reply() {
    let chosen = "udp 17 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.9.9.9 dst=10.8.8.8 sport=2 dport=1";
    let mut entry = entry(chosen);
    for (status, want) in [
        (Some(Status::empty()), "-r 10.9.9.9 -q 10.8.8.8"),
        // nfct_getobjopt looks at what was decided on, not at what was translated.
        (
            Some(Status::SRC_NAT | Status::DST_NAT),
            "-r 10.9.9.9 -q 10.8.8.8",
        ),
        (Some(Status::SRC_NAT_DONE), "-r 10.9.9.9 -n 10.8.8.8"),
        (Some(Status::DST_NAT_DONE), "-g 10.9.9.9 -q 10.8.8.8"),
        (None, "-g 10.9.9.9 -n 10.8.8.8"),
    ] {
        entry.status = status;
        let saved = entry.display(Format::Save).to_string();
        assert!(saved.contains(want), "{saved}");
    }
    let mut unchanged = udp();
    unchanged.status = Some(Status::SRC_NAT_DONE | Status::DST_NAT_DONE);
    let saved = unchanged.display(Format::Save).to_string();
    assert!(saved.contains("-r 10.0.0.2 -q 10.0.0.1"), "{saved}");
}

/// Addresses against `inet_ntop` of glibc.
#[test]
fn addresses_are_written_as_by_the_c_library() {
    for text in [
        "::",
        "::1",
        "::ffff",
        "::0.1.0.0",
        "::1.2.3.4",
        "::ffff:1.2.3.4",
        "::ffff:0.0.0.0",
        "::1:102:304",
        "::ffff:0:102:304",
        "1:0:2::3:0:0",
        "64:ff9b::102:304",
        "2001:db8:0:1:1:1:1:1",
        "2001:0:0:1::1",
        "1::",
        "fe80::1",
        "10.0.0.1",
    ] {
        assert_eq!(Address(text.parse().unwrap()).to_string(), text);
    }
}

#[test]
fn states_have_their_own_names() {
    let mut entry = entry("dccp 33 src=10.0.0.1 dst=10.0.0.2 src=10.0.0.2 dst=10.0.0.1");
    let mut dccp = DccpInfo::new(DccpState::Open, DccpRole::Server);
    entry.proto_info = Some(ProtoInfo::Dccp(dccp));
    let saved = entry.display(Format::Save).to_string();
    assert!(
        saved.ends_with("-p dccp --state OPEN --role server"),
        "{saved}"
    );
    let xml = entry.display(Format::Xml).to_string();
    assert!(xml.contains("<state>OPEN</state>"), "{xml}");
    assert!(!xml.contains("port>"), "{xml}");
    dccp.role = Some(DccpRole::Other(9));
    dccp.state = DccpState::from_raw(11);
    entry.proto_info = Some(ProtoInfo::Dccp(dccp));
    let saved = entry.display(Format::Save).to_string();
    assert!(saved.ends_with("-p dccp --state STATE_11"), "{saved}");
    entry.proto_info = Some(ProtoInfo::Sctp(SctpInfo::new(SctpState::Established, 7, 9)));
    let saved = entry.display(Format::Save).to_string();
    let (orig, reply) = (7_u32.to_be(), 9_u32.to_be());
    assert!(
        saved.ends_with(&format!(
            "--state ESTABLISHED --orig-vtag {orig} --reply-vtag {reply}"
        )),
        "{saved}"
    );
    entry.proto_info = Some(ProtoInfo::Tcp(TcpInfo::new(TcpState::from_raw(200))));
    assert!(
        entry
            .display(Format::Plain)
            .to_string()
            .contains(" STATE_200 ")
    );
}

#[test]
fn time_does_not_run_backwards() {
    let mut entry = all();
    let stamps = |start, stop| Timestamps {
        start: Some(start),
        stop,
        event: None,
    };
    let mut ages = |stamps| {
        entry.rare.as_mut().unwrap().timestamps = Some(stamps);
        let shown = |format| {
            let now = SystemTime::UNIX_EPOCH + Duration::from_millis(9_900);
            entry.display(format).now(now).to_string()
        };
        let (line, xml) = (shown(Format::Plain), shown(Format::Xml));
        let line = line.split("delta-time=").nth(1).unwrap().to_owned();
        let xml = xml.split("<deltatime>").nth(1).unwrap().to_owned();
        let number = |text: &str| -> u64 {
            let digits = text.split(|c: char| !c.is_ascii_digit()).next();
            digits.unwrap().parse().unwrap()
        };
        (number(&line), number(&xml))
    };
    assert_eq!(ages(stamps(4_999_999_999, None)), (5, 5));
    assert_eq!(ages(stamps(60_000_000_000, None)), (0, 0));
    assert_eq!(ages(stamps(5_000_000_000, Some(4_000_000_000))), (0, 0));
    assert_eq!(ages(stamps(4_999_999_999, Some(6_000_000_000))), (2, 1));
    assert_eq!(
        ages(stamps(0, Some(u64::MAX))),
        (18_446_744_073, 18_446_744_073)
    );
}

#[test]
fn labels_without_a_name_are_left_out() {
    let mut entry = udp();
    let rare = Rare {
        labels: Some(Labels::bit(50).unwrap()),
        ..Rare::default()
    };
    entry.rare = Some(Box::new(rare));
    entry.use_count = Some(3);
    let names = names();
    let line = entry.display(Format::Plain).labels(&names).to_string();
    assert!(line.ends_with(" use=3"), "{line}");
    let xml = entry.display(Format::Xml).labels(&names).to_string();
    assert!(xml.contains("<labels></labels><use>3</use>"), "{xml}");
}

#[test]
fn every_format_survives_its_text() {
    for format in [Format::Plain, Format::Extended, Format::Save, Format::Xml] {
        assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
    }
    assert!("json".parse::<Format>().is_err());
}

/// The elements of a document that is well-formed, in the order of their ends, with their text.
/// Anything else panics. It knows what this room writes: no comments, no sections, no empty attributes.
fn elements(document: &str) -> Vec<(String, String)> {
    let (mut open, mut done) = (Vec::<(String, String)>::new(), Vec::new());
    let mut rest = document;
    while !rest.is_empty() {
        let (text, after) = rest.split_once('<').unwrap_or((rest, ""));
        assert!(!text.contains('>'), "{text:?}");
        let mut plain = String::new();
        let mut pieces = text.split('&');
        plain.push_str(pieces.next().unwrap());
        for piece in pieces {
            let (name, after) = piece.split_once(';').expect("a reference that ends");
            let c = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                number => {
                    char::from_u32(number.strip_prefix('#').unwrap().parse().unwrap()).unwrap()
                }
            };
            plain.push(c);
            plain.push_str(after);
        }
        assert!(
            plain.chars().all(|c| !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')),
            "{plain:?}"
        );
        if let Some((_, text)) = open.last_mut() {
            text.push_str(&plain);
        } else {
            assert_eq!(plain, "");
        }
        if after.is_empty() {
            break;
        }
        let (tag, next) = after.split_once('>').expect("a tag that ends");
        if let Some(name) = tag.strip_prefix('/') {
            let (opened, text) = open.pop().expect("a tag to close");
            assert_eq!(opened, name);
            done.push((opened, text));
        } else if let Some(name) = tag.strip_suffix('/') {
            done.push((name.to_owned(), String::new()));
        } else {
            let name = tag.split(' ').next().unwrap();
            open.push((name.to_owned(), String::new()));
        }
        rest = next;
    }
    assert_eq!(open, []);
    done
}

fn text_of(elements: &[(String, String)], name: &str) -> Option<String> {
    let found = elements.iter().find(|(element, _)| element == name);
    found.map(|(_, text)| text.clone())
}

/// What XML cannot hold is replaced.
fn as_xml_holds_it(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '\t' | '\n' | '\r' => c,
            '\0'..' ' | '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

/// Names of all characters, and many of those that mean something here.
fn name() -> impl Strategy<Value = String> {
    let odd = "[<>&\"'\\\\u{}0-9a-f =\\[\\]\u{0}-\u{1f}\u{7f}\u{85}\u{a0}\u{2028}\u{2029}\u{fffe}]";
    proptest::collection::vec(
        prop_oneof![
            any::<char>(),
            proptest::string::string_regex(odd)
                .unwrap()
                .prop_map(|s| s.chars().next().unwrap())
        ],
        1..40,
    )
    .prop_map(|chars| chars.into_iter().collect())
}

/// conntrack(8) escapes nothing: what is no escape is left alone.
#[test]
fn words_are_unescaped_or_taken_as_they_are() {
    for (word, name) in [
        ("plain", "plain"),
        ("\\", "\\"),
        ("\\u", "\\u"),
        ("\\u{20}", " "),
        ("a\\u{5c}u{20}b", "a\\u{20}b"),
        ("\\u{a}\\u{10ffff}\\u{00000}x", "\n\u{10ffff}\0x"),
        ("\\u{00000a}", "\n"),
        ("\\u{000000a}", "\\u{000000a}"),
        ("\\u{}", "\\u{}"),
        ("\\u{zz}", "\\u{zz}"),
        ("\\u{+a}", "\\u{+a}"),
        ("\\u{110000}", "\\u{110000}"),
        ("\\u{d800}", "\\u{d800}"),
        ("\\u{20", "\\u{20"),
        ("\\u{", "\\u{"),
        ("\\u{\\u{20}", "\\u{ "),
        // The end of what is looked at is amid a character.
        ("\\u{20202é}", "\\u{20202é}"),
        ("\\u{é}\\u{e9}", "\\u{é}é"),
    ] {
        assert_eq!(unescape(word), name, "{word}");
    }
}

proptest! {
    #[test]
    fn no_name_breaks_a_line_or_an_element(helper in name(), context in name(), label in name()) {
        let mut entry = all();
        let plain = entry.to_string();
        let rare = entry.rare.as_mut().unwrap();
        // Names of helpers are short.
        let mut helper = helper;
        helper.retain(|c| c != '\0');
        while helper.len() > 15 {
            helper.pop();
        }
        if helper.is_empty() {
            helper.push('x');
        }
        rare.helper = Some(helper.parse().unwrap());
        rare.secctx = Some(context.clone());
        let names = LabelNames::from_text(&format!("1 {label}")).unwrap_or_default();
        for format in [Format::Plain, Format::Extended, Format::Save, Format::Xml] {
            let text = entry.display(format).id(true).timestamps(true).labels(&names).to_string();
            prop_assert_eq!(text.lines().count(), 1);
            prop_assert!(!text.chars().any(char::is_control), "{:?}", text);
            prop_assert!(text.chars().all(|c| c == ' ' || !c.is_whitespace()), "{:?}", text);
        }
        // As many words as with names that mean nothing, and the same names back.
        let line = entry.to_string();
        prop_assert_eq!(line.split(' ').count(), plain.split(' ').count());
        let read: Entry = line.parse().unwrap();
        prop_assert_eq!(read.helper().map(|helper| helper.to_string()), Some(helper.clone()));
        prop_assert_eq!(read.security_context(), Some(context.as_str()));
        let found = elements(&entry.display(Format::Xml).labels(&names).to_string());
        prop_assert_eq!(text_of(&found, "helper"), Some(as_xml_holds_it(&helper)));
        prop_assert_eq!(text_of(&found, "secctx"), Some(as_xml_holds_it(&context)));
        prop_assert_eq!(text_of(&found, "label"), names.name(1).map(as_xml_holds_it));
    }

    #[test]
    fn any_entry_is_one_line_and_well_formed(
        timeout in any::<Option<u32>>(),
        status in any::<Option<u32>>(),
        mark in any::<Option<u32>>(),
        counters in any::<Option<(u64, u64)>>(),
        zone in any::<(u8, u16)>(),
        stamps in any::<(Option<u64>, Option<u64>)>(),
        state in any::<Option<u8>>(),
        now in any::<u64>(),
        offset in prop_oneof![Just((|_| i32::MIN) as fn(SystemTime) -> i32), Just((|_| i32::MAX) as _)],
    ) {
        let mut entry = udp();
        entry.timeout = timeout;
        entry.status = status.map(Status::from_bits_retain);
        entry.mark = mark;
        entry.orig_counters = counters.map(|(packets, bytes)| Counters { packets, bytes });
        let number = Zone::new(zone.1);
        entry.zone = [EntryZone::Both, EntryZone::Orig, EntryZone::Reply][usize::from(zone.0 % 3)](number).canonical();
        let timestamps = Timestamps { start: stamps.0, stop: stamps.1, event: None };
        entry.rare = Some(Box::new(Rare { timestamps: Some(timestamps), ..Rare::default() }));
        entry.proto_info = state.map(|raw| ProtoInfo::Tcp(TcpInfo::new(TcpState::from_raw(raw))));
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(now);
        for format in [Format::Plain, Format::Extended, Format::Save, Format::Xml] {
            let shown = entry.display(format).timestamps(true).now(now).heard(now).utc_offset(offset);
            prop_assert_eq!(shown.to_string().lines().count(), 1);
        }
        let found = elements(&entry.display(Format::Xml).timestamps(true).now(now).to_string());
        prop_assert_eq!(text_of(&found, "mark"), mark.map(|mark| mark.to_string()));
        let shown = Event::New(entry);
        let shown = shown.display(Format::Xml).unwrap().heard(now).utc_offset(offset).to_string();
        prop_assert!(text_of(&elements(&shown), "when").is_some());
    }
}
