//! XML, read by a real parser and compared element by element.

use std::fmt::Write;

use roxmltree::{Document, Node};

use crate::base::Base;
use crate::compare::Pair;
use crate::grammar::Case;

/// An element with all that is in it, but for moments and ids.
fn told(node: Node<'_, '_>, depth: usize) -> String {
    let name = node.tag_name().name();
    let mut text = format!("{:depth$}{name}", "");
    for attribute in node.attributes() {
        write!(text, " {}={}", attribute.name(), attribute.value()).unwrap();
    }
    let moves = ["timeout", "deltatime", "id", "use", "start", "stop"].contains(&name);
    if let Some(content) = node.text().filter(|_| !moves) {
        write!(text, " {:?}", content.trim()).unwrap();
    }
    text.push('\n');
    let children = node.children().filter(Node::is_element);
    if ["when", "timestamp"].contains(&name) {
        // Numbers of the clock, whatever they are.
        return text
            + &children
                .map(|child| child.tag_name().name())
                .collect::<String>()
            + "\n";
    }
    text + &children
        .map(|child| told(child, depth + 1))
        .collect::<String>()
}

/// The document's entries, sorted, and how often each kind of element occurs.
fn flows(text: &str) -> Vec<String> {
    let document = Document::parse(text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    let root = document.root_element();
    let mut flows: Vec<_> = root
        .children()
        .filter(Node::is_element)
        .map(|node| told(node, 0))
        .collect();
    flows.sort();
    flows.insert(0, root.tag_name().name().to_owned());
    flows
}

#[track_caller]
fn assert_same(ours: &[String], theirs: &[String], line: &str) {
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours, theirs, "{line}");
    }
    assert_eq!(ours.len(), theirs.len(), "{line}");
}

#[test]
fn documents_have_the_same_elements() {
    let mut pair = Pair::new(Base::All);
    let entries = pair.entries();
    for (line, least) in [
        ("-L -o xml", entries),
        ("-L -o xml,id", entries),
        ("-L -o xml,extended,ktimestamp", entries),
        ("-L -o xml,labels", entries),
        ("-L -f ipv6 -o xml,timestamp", 4),
        ("-L -p udp -o xml", 10),
        ("-L -w 5 -o xml,labels,id,ktimestamp", 4),
        ("-L expect -o xml", 1),
    ] {
        let args: Vec<_> = line.split(' ').collect();
        let meeting = pair.meet(&Case::new(&args), false);
        let [theirs, ours] = [&meeting.theirs, &meeting.ours].map(|seen| &seen.outcome.stdout);
        let theirs = crate::differences::as_ours(&Case::new(&args), theirs);
        let ours = flows(ours);
        assert_same(&ours, &flows(&theirs), line);
        assert!(ours.len() > least, "{line}: {}", ours.len());
    }
}

/// Nothing to list is no document at all.
#[test]
fn no_entries_are_no_document() {
    let mut pair = Pair::new(Base::All);
    let meeting = pair.meet(&Case::new(&["-L", "-w", "4097", "-o", "xml"]), false);
    assert_eq!(meeting.ours.outcome.stdout, meeting.theirs.outcome.stdout);
}

#[test]
fn events_have_the_same_elements() {
    let mut pair = Pair::new(Base::All);
    for line in ["-E -o xml", "-E -o xml,timestamp,id", "-E expect -o xml"] {
        let args: Vec<_> = line.split(' ').collect();
        let meeting = pair.meet(&Case::new(&args), false);
        let [theirs, ours] = [&meeting.theirs, &meeting.ours].map(|seen| &seen.outcome.stdout);
        let ours = flows(ours);
        assert_same(&ours, &flows(theirs), line);
        assert!(ours.len() > 2, "{line}: {}", ours.len());
    }
}
