//! What was printed, without what differs between twins (ids, moments) or runs on (time-outs).

/// Seconds by which what runs on may differ.
const DRIFT: u64 = 3;

/// A line, and the numbers in it that run on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) moving: Vec<u64>,
}

/// All lines, sorted: the order of entries is that of a hash table with a seed of the namespace.
pub(crate) fn lines(text: &str) -> Vec<Line> {
    let mut lines: Vec<_> = text.lines().map(line).collect();
    lines.sort();
    if !text.is_empty() && !text.ends_with('\n') {
        let (text, moving) = ("(no end of line)".to_owned(), Vec::new());
        lines.push(Line { text, moving });
    }
    lines
}

/// Whether these are the same, but for what runs on.
pub(crate) fn same(ours: &[Line], theirs: &[Line]) -> bool {
    ours.len() == theirs.len()
        && ours.iter().zip(theirs).all(|(ours, theirs)| {
            ours.text == theirs.text
                && ours.moving.len() == theirs.moving.len()
                && ours
                    .moving
                    .iter()
                    .zip(&theirs.moving)
                    .all(|(ours, theirs)| ours.abs_diff(*theirs) <= DRIFT)
        })
}

/// Without the counts of references: an entry that is looked up while a walk stands at it has one more,
/// and where a walk stands is a matter of the hash table.
pub(crate) fn without_uses(text: &str) -> String {
    let mut told = String::new();
    let mut rest = text;
    while let Some(at) = [" use=", "<use>"]
        .iter()
        .filter_map(|word| rest.find(word))
        .min()
    {
        let (before, behind) = rest.split_at(at + 5);
        told += before;
        rest = behind.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    told + rest
}

/// What the counting lines say, whoever says it.
pub(crate) fn counts(stderr: &str) -> Vec<String> {
    let told = stderr
        .lines()
        .filter(|line| line.contains(" have been ") || line.contains(" has been emptied"));
    told.map(|line| line.rsplit(": ").next().unwrap_or(line).to_owned())
        .collect()
}

fn line(text: &str) -> Line {
    let mut moving = Vec::new();
    let text = if text.contains("<flow") || text.contains("<expect") {
        element(text, &mut moving)
    } else if text.starts_with("cpu=") {
        // Counters of what each namespace has been through.
        let mut parts = text.split('=');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |told, part| {
            told + "=*" + part.trim_start_matches(|c: char| c.is_ascii_digit())
        })
    } else {
        flow(text, &mut moving)
    };
    Line { text, moving }
}

/// A word without the digits behind its sign of equality.
fn hidden(word: &str) -> String {
    let (name, _) = word.split_once('=').unwrap_or((word, ""));
    format!("{name}=*")
}

fn flow(text: &str, moving: &mut Vec<u64>) -> String {
    let (stamps, words) = split_stamps(text);
    let mut told: Vec<String> = vec![stamps];
    let mut previous = "";
    // A time-out stands behind the name and the number of the protocol, which stand behind those of
    // the family where that is shown; an expectation begins with it.
    let first = words.first().copied().unwrap_or_default();
    let place = match first {
        "ipv4" | "ipv6" => 4,
        _ => 2,
    };
    let of_expectation = words.get(1).is_some_and(|word| word.starts_with("proto="))
        || words.get(3).is_some_and(|word| word.starts_with("proto="));
    for (at, word) in words.iter().enumerate() {
        let number = word.parse::<u64>().ok();
        let runs_on = if of_expectation {
            number.is_some() && (at == 0 || at == 2)
        } else {
            at == place && words.len() > 4 || previous == "-t"
        };
        match number {
            Some(number) if runs_on => {
                moving.push(number);
                told.push("*".into());
            }
            _ if word.starts_with("id=") || word.starts_with("portid=") => told.push(hidden(word)),
            _ if word.starts_with("delta-time=") => {
                moving.extend(word["delta-time=".len()..].parse::<u64>());
                told.push(hidden(word));
            }
            _ => told.push((*word).to_owned()),
        }
        previous = word;
    }
    // How a line is aligned is compared where no number moves.
    if moving.is_empty() && !told.iter().any(|word| word.ends_with("=*")) && told[0].is_empty() {
        return text.to_owned();
    }
    let blanks = text.len() - text.trim_start().len();
    format!("{blanks} {}", told.join(" "))
}

/// What stands in brackets before an entry (the moment, the kind of event) and the words behind it,
/// and without the moments of the kernel.
fn split_stamps(text: &str) -> (String, Vec<&str>) {
    let mut stamps = String::new();
    let mut rest = text.trim_start();
    while let Some(inside) = rest.strip_prefix('[') {
        let Some((word, behind)) = inside.split_once(']') else {
            break;
        };
        let word = word.trim();
        let moment = word.starts_with(|c: char| c.is_ascii_digit());
        stamps += if moment { "[moment]" } else { word };
        rest = behind.trim_start();
    }
    let mut words = Vec::new();
    let mut inside = false;
    for word in rest.split_whitespace() {
        let start = word.starts_with("[start=") || word.starts_with("[stop=");
        if start {
            words.push(if word.starts_with("[start=") {
                "[start="
            } else {
                "[stop="
            });
        } else if !inside {
            words.push(word);
        }
        inside = (inside || start) && !word.ends_with(']');
    }
    (stamps, words)
}

/// The content of these elements moves or differs.
const MOVING: [&str; 2] = ["timeout", "deltatime"];
const DIFFERENT: [&str; 9] = [
    "id", "start", "stop", "when", "hour", "min", "sec", "wday", "portid",
];

fn element(text: &str, moving: &mut Vec<u64>) -> String {
    let mut told = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('>') {
        told += before;
        told.push('>');
        let name = before.rsplit('<').next().unwrap_or_default();
        rest = behind;
        let of_icmp = name == "id" && before.contains("<code>");
        if MOVING.contains(&name) || DIFFERENT.contains(&name) && !of_icmp {
            if let Some(end) = rest
                .find('<')
                .filter(|end| *end > 0 && rest[..*end].bytes().all(|byte| byte.is_ascii_digit()))
            {
                if MOVING.contains(&name) {
                    moving.extend(rest[..end].parse::<u64>());
                }
                told.push('*');
                rest = &rest[end..];
            }
        }
    }
    told + rest
}
