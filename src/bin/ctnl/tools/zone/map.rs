//! The picture of the zones, as a value of what was found: it asks nobody.

use std::fmt::Write;

use ctnetlink::{Zone, ZoneMap, ZoneUse};

use super::super::common::{Colour, Paint, ZoneRange};

/// What a zone is. One that is several of it is the first of these, as in the library's counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Reserved,
    Ruled,
    Quarantined,
    Leased,
    Occupied,
    Free,
}

impl Kind {
    pub(super) const ALL: [Self; 6] = [
        Self::Reserved,
        Self::Ruled,
        Self::Quarantined,
        Self::Leased,
        Self::Occupied,
        Self::Free,
    ];

    /// Zone 0 is never handed out, so it counts as reserved where it is not used otherwise.
    pub(super) fn of(used: &ZoneUse) -> Self {
        if used.reserved {
            Self::Reserved
        } else if used.is_ruled() {
            Self::Ruled
        } else if used.quarantined {
            Self::Quarantined
        } else if !used.claims.is_empty() {
            Self::Leased
        } else if used.is_occupied() {
            Self::Occupied
        } else if used.zone.is_default() {
            Self::Reserved
        } else {
            Self::Free
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Ruled => "ruled",
            Self::Quarantined => "quarantined",
            Self::Leased => "leased",
            Self::Occupied => "occupied",
            Self::Free => "free",
        }
    }

    /// No two have one letter, so no colour is needed to tell them apart.
    const fn letter(self) -> char {
        match self {
            Self::Reserved => 'x',
            Self::Ruled => 'r',
            Self::Quarantined => 'q',
            Self::Leased => 'l',
            Self::Occupied => 'o',
            Self::Free => '.',
        }
    }

    const fn colour(self) -> Colour {
        match self {
            Self::Reserved => Colour::Blue,
            Self::Ruled => Colour::Magenta,
            Self::Quarantined => Colour::Red,
            Self::Leased => Colour::Green,
            Self::Occupied => Colour::Yellow,
            Self::Free => Colour::Grey,
        }
    }

    /// What it is, for people.
    const fn meaning(self) -> &'static str {
        match self {
            Self::Reserved => "reserved by the caller, and zone 0",
            Self::Ruled => "named by a rule",
            Self::Quarantined => "set aside",
            Self::Leased => "claimed by an owner",
            Self::Occupied => "with entries or expectations",
            Self::Free => "free",
        }
    }
}

/// What the zones of a range are.
pub(super) fn kinds(map: &ZoneMap, range: ZoneRange) -> Vec<Kind> {
    let zones = (range.first.get()..=range.last.get()).map(Zone::new);
    zones
        .map(|zone| {
            if map.is_free(zone) {
                Kind::Free
            } else {
                Kind::of(&map.zone(zone))
            }
        })
        .collect()
}

/// How many zones are what, of each kind.
pub(super) fn counts(kinds: &[Kind]) -> impl Iterator<Item = (Kind, usize)> + '_ {
    Kind::ALL.into_iter().map(|kind| {
        let count = kinds.iter().filter(|one| **one == kind).count();
        (kind, count)
    })
}

/// Neighbours of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) kind: Kind,
}

pub(super) fn runs(kinds: &[Kind], first: u16) -> impl Iterator<Item = Run> + '_ {
    let mut at = usize::from(first);
    kinds.chunk_by(|a, b| a == b).map(move |chunk| {
        let run = Run {
            first: at,
            last: at + chunk.len() - 1,
            kind: chunk[0],
        };
        at += chunk.len();
        run
    })
}

/// Characters in a row.
const COLUMNS: usize = 64;
/// Rows that are drawn at most.
const ROWS: usize = 64;

/// Some zones as one character: what most of those that are not free are, and whether all are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    kind: Kind,
    all: bool,
}

impl Cell {
    fn of(zones: &[Kind]) -> Self {
        let used = counts(zones).filter(|(kind, count)| *kind != Kind::Free && *count > 0);
        // Of equally many the last one: zone 0, which is always reserved, hides no neighbour.
        let most = used.max_by_key(|(_, count)| *count);
        match most {
            Some((kind, count)) => Self {
                kind,
                all: count == zones.len(),
            },
            None => Self {
                kind: Kind::Free,
                all: true,
            },
        }
    }

    fn character(self) -> char {
        let letter = self.kind.letter();
        if self.all {
            letter.to_ascii_uppercase()
        } else {
            letter
        }
    }
}

/// A picture of letters.
pub(super) struct Picture<'a> {
    kinds: &'a [Kind],
    first: u16,
    full: bool,
}

impl<'a> Picture<'a> {
    pub(super) fn new(kinds: &'a [Kind], first: u16) -> Self {
        Self {
            kinds,
            first,
            full: false,
        }
    }

    /// Whether equal rows are all drawn.
    pub(super) fn full(self, full: bool) -> Self {
        Self { full, ..self }
    }

    pub(super) fn draw(&self, paint: Paint) -> String {
        let zones = self.kinds.len();
        let each = zones.div_ceil(COLUMNS * ROWS).next_power_of_two();
        let cells: Vec<Cell> = self.kinds.chunks(each).map(Cell::of).collect();
        let rows: Vec<&[Cell]> = cells.chunks(COLUMNS).collect();
        let mut text = String::new();
        let mut number = usize::from(self.first);
        let mut at = 0;
        while at < rows.len() {
            let row = rows[at];
            let same = rows[at..].iter().take_while(|other| **other == row).count();
            line(&mut text, number, row, paint);
            let mut taken = 1;
            // Two rows say as much as a row and a line that there is another.
            if !self.full && same > 2 {
                let _ = writeln!(text, "      {} more rows like this", same - 1);
                taken = same;
            }
            number += taken * COLUMNS * each;
            at += taken;
        }
        self.legend(&mut text, each, paint);
        text
    }

    fn legend(&self, text: &mut String, each: usize, paint: Paint) {
        text.push('\n');
        for (kind, count) in counts(self.kinds) {
            let letter = kind.letter();
            let mut letters = letter.to_string();
            if each > 1 && letter.is_alphabetic() {
                letters.push(letter.to_ascii_uppercase());
            } else {
                letters = letter.to_ascii_uppercase().to_string();
            }
            let blanks = " ".repeat(2 - letters.chars().count());
            let letters = paint.paint(kind.colour(), &letters);
            let word = kind.word();
            let meaning = match kind {
                Kind::Free => String::new(),
                kind => format!("  {}", kind.meaning()),
            };
            let _ = writeln!(text, "{letters}{blanks} {count:>5} {word:<11}{meaning}");
        }
        // The last column of the free ones is padded.
        let end = text.trim_end().len();
        text.truncate(end);
        text.push('\n');
        if each > 1 {
            let _ = writeln!(
                text,
                "Each character is {each} zones. A capital letter: all of them are this;\n\
                 a small one: some are, and most of those that are in use."
            );
        }
    }
}

fn line(text: &mut String, number: usize, row: &[Cell], paint: Paint) {
    let _ = write!(text, "{number:>5} ");
    for same in row.chunk_by(|a, b| a.kind == b.kind) {
        let letters: String = same.iter().map(|cell| cell.character()).collect();
        text.push_str(&paint.paint(same[0].kind.colour(), &letters));
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::snapshot;
    use super::*;

    fn zones(fill: &[(usize, usize, Kind)]) -> Vec<Kind> {
        let mut kinds = vec![Kind::Free; 1 << 16];
        kinds[0] = Kind::Reserved;
        for (first, last, kind) in fill {
            kinds[*first..=*last].fill(*kind);
        }
        kinds
    }

    fn busy() -> Vec<Kind> {
        zones(&[
            (1, 2, Kind::Occupied),
            (16, 31, Kind::Ruled),
            (4097, 4200, Kind::Leased),
            (4105, 4105, Kind::Quarantined),
            (5000, 5000, Kind::Occupied),
            (64_000, 65_535, Kind::Reserved),
        ])
    }

    #[test]
    fn all_zones_are_a_picture() {
        let drawn = Picture::new(&busy(), 0).draw(Paint::OFF);
        snapshot("busy.txt", &drawn);
    }

    #[test]
    fn an_empty_table_is_three_lines_and_a_legend() {
        let drawn = Picture::new(&zones(&[]), 0).draw(Paint::OFF);
        snapshot("empty.txt", &drawn);
    }

    #[test]
    fn a_range_is_drawn_zone_by_zone() {
        let drawn = Picture::new(&busy()[4090..4300], 4090).draw(Paint::OFF);
        snapshot("range.txt", &drawn);
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let kinds = busy();
        let picture = Picture::new(&kinds, 0).full(true);
        let (plain, coloured) = (picture.draw(Paint::OFF), picture.draw(Paint::ON));
        assert!(coloured.contains("\x1b[32mlLLLLLl\x1b[0m"), "{coloured}");
        let mut bare = String::new();
        for (at, piece) in coloured.split("\x1b[").enumerate() {
            let behind = piece.split_once('m').map_or(piece, |(_, behind)| behind);
            bare.push_str(if at == 0 { piece } else { behind });
        }
        assert_eq!(bare, plain);
        // All rows, each as wide as the others.
        let rows: Vec<&str> = plain.lines().take_while(|line| !line.is_empty()).collect();
        assert_eq!(rows.len(), ROWS);
        assert!(rows.iter().all(|row| row.len() == 6 + COLUMNS), "{plain}");
    }

    #[test]
    fn no_two_kinds_look_alike() {
        let letters: std::collections::BTreeSet<char> = Kind::ALL.map(Kind::letter).into();
        assert_eq!(letters.len(), Kind::ALL.len());
    }

    #[test]
    fn a_cell_shows_what_most_of_its_zones_are() {
        use Kind::{Free, Leased, Occupied, Ruled};
        let cell = |zones: &[Kind]| Cell::of(zones).character();
        assert_eq!(cell(&[Free; 16]), '.');
        assert_eq!(cell(&[Leased; 16]), 'L');
        assert_eq!(cell(&[Free, Free, Occupied, Free]), 'o');
        assert_eq!(cell(&[Leased, Occupied, Occupied, Free]), 'o');
        assert_eq!(cell(&[Kind::Reserved, Occupied]), 'o');
        assert_eq!(cell(&[Occupied, Ruled, Ruled]), 'r');
    }

    #[test]
    fn runs_are_where_they_are() {
        let all: Vec<Run> = runs(&busy(), 0).collect();
        assert_eq!(all[1].first..=all[1].last, 1..=2);
        assert_eq!(all.last().map(|run| run.last), Some(65_535));
        let zones: usize = all.iter().map(|run| run.last - run.first + 1).sum();
        assert_eq!(zones, 65_536);
        let of_range: Vec<Run> = runs(&busy()[4097..=4098], 4097).collect();
        let run = Run {
            first: 4097,
            last: 4098,
            kind: Kind::Leased,
        };
        assert_eq!(of_range, [run]);
    }

    #[test]
    fn a_zone_that_is_several_things_is_one_of_them() {
        let used = |zone: u16, fields: &str| {
            let none = r#"{"both":0,"orig":0,"reply":0}"#;
            let text = format!(
                r#"{{"zone":{zone},"ipv4":{none},"ipv6":{none},"dying":0,"expectations":0,
                "reserved":false,"quarantined":false{fields}}}"#
            );
            // The last of a field that is there twice would be an error, so each is replaced.
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            Kind::of(&serde_json::from_value::<ZoneUse>(value).unwrap())
        };
        assert_eq!(used(5, ""), Kind::Free);
        assert_eq!(used(0, ""), Kind::Reserved);
        assert_eq!(used(0, r#","dying":1"#), Kind::Occupied);
        assert_eq!(used(5, r#","expectations":1"#), Kind::Occupied);
        assert_eq!(used(5, r#","sources":["map"],"dying":1"#), Kind::Ruled);
        assert_eq!(
            used(5, r#","sources":["map"],"reserved":true"#),
            Kind::Reserved
        );
        assert_eq!(
            used(5, r#","quarantined":true,"dying":1"#),
            Kind::Quarantined
        );
    }
}
