//! What a subscriber sees: a span for each conversation, and warnings of what is odd.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event as Told, Level, Metadata, Subscriber};

use super::*;
use crate::filter::Filter;
use crate::model::Update;
use crate::ops::{
    count, create, create_many, delete, delete_many, flush_all, get, list, list_and_zero_counters,
    open_check, update, update_many, upsert, visit,
};

type Fields = BTreeMap<&'static str, String>;

/// A span, as it was when everything was said.
#[derive(Debug, Clone, Default)]
struct Span {
    name: &'static str,
    level: Option<Level>,
    fields: Fields,
    /// What was declared, with or without a value.
    declared: Vec<&'static str>,
    closed: bool,
}

/// An event, and the span that it was told in.
#[derive(Debug, Clone)]
struct Line {
    level: Level,
    fields: Fields,
    span: Option<usize>,
}

#[derive(Default)]
struct Heard {
    spans: Vec<Span>,
    lines: Vec<Line>,
    /// The spans that are entered, and how often each is held.
    entered: Vec<usize>,
    held: Vec<u32>,
}

impl Heard {
    fn warnings(&self) -> Vec<&Line> {
        let warns = |line: &&Line| line.level == Level::WARN;
        self.lines.iter().filter(warns).collect()
    }
}

#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Heard>>);

struct Reader<'a>(&'a mut Fields);

impl Visit for Reader<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

fn index(id: &Id) -> usize {
    usize::try_from(id.into_u64()).unwrap() - 1
}

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut heard = self.0.lock().unwrap();
        let metadata = attributes.metadata();
        let mut span = Span {
            name: metadata.name(),
            level: Some(*metadata.level()),
            declared: metadata.fields().iter().map(|field| field.name()).collect(),
            ..Span::default()
        };
        attributes.record(&mut Reader(&mut span.fields));
        heard.spans.push(span);
        heard.held.push(1);
        Id::from_u64(heard.spans.len() as u64)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        let mut heard = self.0.lock().unwrap();
        values.record(&mut Reader(&mut heard.spans[index(id)].fields));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Told<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Reader(&mut fields));
        let mut heard = self.0.lock().unwrap();
        let span = heard.entered.last().copied();
        heard.lines.push(Line {
            level: *event.metadata().level(),
            fields,
            span,
        });
    }

    fn enter(&self, id: &Id) {
        self.0.lock().unwrap().entered.push(index(id));
    }

    fn exit(&self, id: &Id) {
        let mut heard = self.0.lock().unwrap();
        let at = heard.entered.iter().rposition(|open| *open == index(id));
        heard.entered.remove(at.unwrap());
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.0.lock().unwrap().held[index(id)] += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut heard = self.0.lock().unwrap();
        let at = index(&id);
        heard.held[at] -= 1;
        heard.spans[at].closed = heard.held[at] == 0;
        heard.spans[at].closed
    }
}

/// What is told while `work` runs.
fn listen(work: impl FnOnce()) -> Heard {
    // While there is one subscriber only, another thread's first look at a call site decides for
    // it that nobody listens. A second one that stays makes tracing ask all of them.
    static ANOTHER: OnceLock<Dispatch> = OnceLock::new();
    ANOTHER.get_or_init(|| Dispatch::new(Listener::default()));
    let listener = Listener::default();
    tracing::subscriber::with_default(listener.clone(), work);
    std::mem::take(&mut *listener.0.lock().unwrap())
}

/// The one span of a conversation.
#[track_caller]
fn only_span(heard: &Heard) -> &Span {
    let [span] = &heard.spans[..] else {
        panic!("{:?}", heard.spans);
    };
    span
}

fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.get(name).map(String::as_str)
}

const FIELDS: [&str; 6] = [
    "operation",
    "netns",
    "zone",
    "entries",
    "bytes",
    "duration_us",
];

/// Runs one conversation and checks its span.
#[track_caller]
fn check_span(
    operation: &str,
    zone: Option<&str>,
    entries: &str,
    turns: impl IntoIterator<Item = Vec<Event>>,
    work: impl FnOnce(&Session),
) {
    let kernel = Kernel::new(turns);
    let heard = listen(|| work(&kernel.session));
    let span = only_span(&heard);
    assert_eq!((span.name, span.level), ("conntrack", Some(Level::DEBUG)));
    assert_eq!(span.declared, FIELDS);
    assert_eq!(field(&span.fields, "operation"), Some(operation));
    assert_eq!(field(&span.fields, "netns"), Some("script"));
    assert_eq!(field(&span.fields, "zone"), zone, "{operation}");
    assert_eq!(field(&span.fields, "entries"), Some(entries), "{operation}");
    for number in ["bytes", "duration_us"] {
        let value = field(&span.fields, number).unwrap();
        assert!(value.parse::<u64>().is_ok(), "{number} is {value}");
    }
    assert!(span.closed && heard.entered.is_empty());
    assert!(heard.warnings().is_empty(), "{:?}", heard.warnings());
    // Nothing is told outside of the conversation.
    assert!(heard.lines.iter().all(|line| line.span == Some(0)));
}

#[test]
fn every_conversation_is_a_span() {
    let in_zone = udp_in(1, 5);
    let key_5 = Key::from(&in_zone);
    let zone_5 = || reported(&udp_in(1, 5), &[id(1)]);
    let change = Update::builder().mark(1).build().unwrap();
    let acks = |sequence| vec![says([ack(sequence)])];
    let finds = |sequence, payload: &[u8]| vec![says([found(sequence, payload)])];
    check_span("create", Some("5"), "1", [acks(1)], |session| {
        create(session, &in_zone).unwrap();
    });
    check_span("upsert", Some("0"), "1", [acks(1)], |session| {
        upsert(session, &udp(1)).unwrap();
    });
    check_span("get", Some("5"), "1", [finds(1, &zone_5())], |session| {
        get(session, &key_5).unwrap();
    });
    let turns = [finds(1, &zone_5()), acks(2)];
    check_span("update", Some("5"), "1", turns.clone(), |session| {
        update(session, &key_5, &change).unwrap();
    });
    check_span("delete", Some("5"), "1", turns, |session| {
        delete(session, &key_5).unwrap();
    });
    check_span("flush", None, "0", [acks(1)], |session| {
        flush_all(session).unwrap();
    });
    let figures = vec![says([stats(1, 0, 1)])];
    check_span("count", None, "0", [figures], |session| {
        count(session).unwrap();
    });
}

#[test]
fn batches_and_lists_are_spans() {
    let dumped = || {
        vec![
            says([found(1, &entry(1)), found(1, &reported(&udp_in(2, 5), &[]))]),
            says([found(1, &entry(3)), done(1)]),
        ]
    };
    let two = vec![says([refusal(1, Nix::EEXIST), ack(2)])];
    check_span("create", None, "2", [two.clone()], |session| {
        assert_eq!(create_many(session, [udp(1), udp(2)].iter()).succeeded(), 1);
    });
    check_span("delete", None, "2", [two], |session| {
        let keys = [key(1).with_id(1), key(2).with_id(2)];
        assert_eq!(delete_many(session, keys.into_iter()).succeeded(), 1);
    });
    let change = Update::builder().mark(1).build().unwrap();
    let turns = [vec![says([found(1, &entry(1))])], vec![says([ack(2)])]];
    check_span("update", None, "1", turns, |session| {
        assert!(update_many(session, [(key(1), change)].into_iter()).is_ok());
    });
    let zone = Filter::new().zone(Zone::new(5));
    check_span("list", None, "3", [dumped()], |session| {
        assert_eq!(list(session, &Filter::new()).unwrap().count(), 3);
    });
    check_span("list", Some("5"), "1", [dumped()], |session| {
        assert_eq!(list(session, &zone).unwrap().count(), 1);
    });
    check_span("list", Some("5"), "1", [dumped()], |session| {
        let _ = visit(session, &zone, |_| ControlFlow::<()>::Continue(())).unwrap();
    });
    check_span("list and zero counters", None, "3", [dumped()], |session| {
        assert_eq!(list_and_zero_counters(session, None).unwrap().count(), 3);
    });
}

#[test]
fn the_spans_bytes_are_those_of_the_conversation() {
    let turns = || {
        [vec![
            says([found(1, &entry(1))]),
            says([found(1, &entry(2)), done(1)]),
        ]]
    };
    let entry = 16 + entry(1).len();
    let dump = (2 * entry + 20).to_string();
    let of = |kernel: &Kernel, work: &dyn Fn(&Session)| {
        let heard = listen(|| work(&kernel.session));
        field(&only_span(&heard).fields, "bytes").map(str::to_owned)
    };
    let everything = Filter::new();
    let bytes = of(&Kernel::new(turns()), &|session| {
        assert_eq!(list(session, &everything).unwrap().count(), 2);
    });
    assert_eq!(bytes.as_ref(), Some(&dump));
    let bytes = of(&Kernel::new(turns()), &|session| {
        let _ = visit(session, &everything, |_| ControlFlow::<()>::Continue(())).unwrap();
    });
    assert_eq!(bytes.as_ref(), Some(&dump));
    // 132 bytes each: see `a_datagram_holds_64_kilobytes`.
    let kernel = Kernel::new([vec![says([ack(2)])]]);
    let bytes = of(&kernel, &|session| {
        assert!(create_many(session, [udp(1), udp(2)].iter()).is_ok());
    });
    assert_eq!(bytes.as_deref(), Some("264"));
}

#[test]
fn the_bytes_of_a_single_request_are_not_said_to_be_zero() {
    let kernel = Kernel::new([vec![says([ack(1)])]]);
    let heard = listen(|| create(&kernel.session, &udp(1)).unwrap());
    assert_ne!(field(&only_span(&heard).fields, "bytes"), Some("0"));
}

#[test]
fn the_figures_of_a_walk_that_breaks_are_told() {
    let kernel = Kernel::of([
        answering([vec![says([found(1, &entry(1)), found(1, &entry(2))])]]),
        answering([vec![says([found(1, &entry(1)), found(1, &entry(2))])]]),
    ]);
    let everything = Filter::new();
    let heard = listen(|| {
        let mut items = list(&kernel.session, &everything).unwrap();
        assert!(items.by_ref().take(2).all(|item| item.is_ok()));
        assert!(items.next().unwrap().is_err());
    });
    let listed = only_span(&heard).fields.clone();
    let heard = listen(|| {
        visit(&kernel.session, &everything, |_| {
            ControlFlow::<()>::Continue(())
        })
        .unwrap_err();
    });
    let visited = only_span(&heard).fields.clone();
    let bytes = (2 * (16 + entry(1).len())).to_string();
    for fields in [listed, visited] {
        assert_eq!(field(&fields, "entries"), Some("2"));
        assert_eq!(field(&fields, "bytes"), Some(&bytes[..]));
    }
}

#[test]
fn opening_is_a_conversation_too() {
    let kernel = Kernel::new([vec![says([stats(1, 0, 1)])]]);
    let heard = listen(|| open_check(&kernel.session).unwrap());
    assert_eq!(field(&only_span(&heard).fields, "operation"), Some("open"));
}

/// The warnings of a conversation with what was odd in it.
fn warned(heard: &Heard) -> Vec<(String, Fields)> {
    let told = |line: &&Line| {
        let mut fields = line.fields.clone();
        (fields.remove("message").unwrap(), fields)
    };
    heard.warnings().iter().map(told).collect()
}

const FORGED: &str = "dropped a datagram that is not the kernel's";
const STALE: &str = "passed over messages that answer nothing that was asked";

#[test]
fn forged_and_stale_answers_are_warned_of() {
    let turn = || {
        [vec![
            forges([ack(1)]),
            says([ack(0), ack(u32::MAX), refusal(2, Nix::EPERM), ack(1)]),
        ]]
    };
    let kernel = Kernel::new(turn());
    let heard = listen(|| create(&kernel.session, &udp(1)).unwrap());
    let forged: Fields = [("sender", "4242".into()), ("bytes", "36".into())].into();
    let stale: Fields = [("stale", "3".into()), ("malformed", "0".into())].into();
    let expected = [(FORGED.to_owned(), forged), (STALE.to_owned(), stale)];
    assert_eq!(warned(&heard), expected);
    assert!(heard.lines.iter().all(|line| line.span == Some(0)));

    let kernel = Kernel::new(turn());
    let heard = listen(|| assert!(create_many(&kernel.session, [udp(1)].iter()).is_ok()));
    assert_eq!(warned(&heard), expected);

    let dumped = [vec![
        forges([ack(1)]),
        says([ack(0), ack(u32::MAX), refusal(2, Nix::EPERM), done(1)]),
    ]];
    let kernel = Kernel::new(dumped);
    let heard = listen(|| {
        let mut entries = list(&kernel.session, &Filter::new()).unwrap();
        assert!(entries.next().is_none());
    });
    assert_eq!(warned(&heard), expected);
}

#[test]
fn what_cannot_be_told_apart_is_warned_of() {
    // A header that is cut off, and an end that is.
    let kernel = Kernel::new([vec![
        Event::Datagram(vec![1; 8]),
        Event::Datagram(vec![1; 8]),
        says([damaged_ack(1)]),
    ]]);
    let heard = listen(|| {
        let items = list(&kernel.session, &Filter::new()).unwrap();
        assert_eq!(items.filter(Result::is_err).count(), 3);
    });
    let told = warned(&heard);
    let expected: Fields = [("stale", "0".into()), ("malformed", "3".into())].into();
    assert_eq!(told.last().unwrap(), &(STALE.to_owned(), expected));
    assert_eq!(told.len(), 4);
}

#[test]
fn what_was_stale_is_told_of_when_the_deadline_passes_too() {
    let kernel = Kernel::new([vec![says([ack(0)])], vec![says([ack(0)])]]);
    let heard = listen(|| drop(create(&kernel.session, &udp(1)).unwrap_err()));
    let told = warned(&heard);
    assert!(told.iter().any(|(text, _)| text == STALE), "{told:?}");
    let heard = listen(|| {
        let item = list(&kernel.session, &Filter::new()).unwrap().next();
        assert!(item.unwrap().unwrap_err().is_deadline());
    });
    let told = warned(&heard);
    assert!(told.iter().any(|(text, _)| text == STALE), "{told:?}");
}

#[test]
fn a_lists_warnings_belong_to_its_span() {
    let mut cut = entry(1);
    cut.truncate(cut.len() - 2);
    let turns = [vec![
        forges([ack(1)]),
        Event::Fail(Nix::ENOBUFS),
        says([ack(0), found(1, &cut), vec![1; 8]]),
        says([done(1)]),
    ]];
    let kernel = Kernel::new(turns);
    let heard = listen(|| {
        let items = list(&kernel.session, &Filter::new()).unwrap();
        assert_eq!(items.filter(Result::is_err).count(), 2);
    });
    only_span(&heard);
    let strays: Vec<_> = heard
        .warnings()
        .into_iter()
        .filter(|line| line.span != Some(0))
        .map(|line| &line.fields["message"])
        .collect();
    assert!(strays.is_empty(), "told outside of the span: {strays:?}");
}

#[test]
fn losses_are_warned_of() {
    let kernel = Kernel::new([vec![Event::Fail(Nix::ENOBUFS), says([ack(1)])]]);
    let heard = listen(|| create(&kernel.session, &udp(1)).unwrap());
    let told: Vec<_> = warned(&heard).into_iter().map(|(text, _)| text).collect();
    assert_eq!(told, ["the receive buffer overran: answers were lost"]);

    let big = |sequence| vec![says([found(sequence, &bulky(1, 40_000))])];
    let kernel = Kernel::new([big(1), big(2)]);
    let heard = listen(|| {
        get(&kernel.session, &key(1)).unwrap();
    });
    let told: Vec<_> = warned(&heard).into_iter().map(|(text, _)| text).collect();
    assert_eq!(
        told,
        [
            "an answer was cut off; the buffer grows",
            "the look-up is repeated with a larger buffer"
        ]
    );

    let kernel = Kernel::new([vec![]]);
    let heard = listen(|| {
        assert!(!create_many(&kernel.session, [udp(1)].iter()).is_ok());
    });
    let told = warned(&heard);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].0, "a batch stopped before its end");
    assert_eq!(field(&told[0].1, "done"), Some("1"));
}

#[test]
fn a_conversation_without_a_listener_is_the_same() {
    let kernel = Kernel::new([vec![forges([ack(1)]), says([ack(1)])]]);
    let silent = tracing::subscriber::NoSubscriber::default();
    tracing::subscriber::with_default(silent, || create(&kernel.session, &udp(1)).unwrap());
}
