//! The picture of the zones for a browser: 256 by 256 squares, and what they are by words as well.

use std::fmt::Write;

use super::map::{Kind, counts, runs};

/// Zones in a row.
const ACROSS: usize = 256;
/// The side of a zone's square.
const SIDE: usize = 3;

/// Colours that stay apart for those who see fewer of them (Okabe and Ito).
const fn fill(kind: Kind) -> &'static str {
    match kind {
        Kind::Reserved => "#0072b2",
        Kind::Ruled => "#cc79a7",
        Kind::Quarantined => "#d55e00",
        Kind::Leased => "#009e73",
        Kind::Occupied => "#e69f00",
        Kind::Free => "#f0f0f0",
    }
}

/// Zones are where their number says, whatever range is drawn: `first` is that of the first one.
pub(super) fn draw(kinds: &[Kind], first: u16) -> String {
    let (top, side) = (usize::from(first) / ACROSS, SIDE * ACROSS);
    let rows = (usize::from(first) + kinds.len()).div_ceil(ACROSS) - top;
    let height = rows * SIDE;
    let all = height + 30;
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {all}\" \
         width=\"{side}\" height=\"{all}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>conntrack zones</title>\n\
         <rect width=\"{side}\" height=\"{all}\" fill=\"#ffffff\"/>"
    );
    for run in runs(kinds, first) {
        let _ = writeln!(svg, "<g fill=\"{}\">", fill(run.kind));
        let (from, to) = (run.first, run.last);
        let zones = if from == to {
            format!("zone {from}")
        } else {
            format!("zones {from} to {to}")
        };
        let _ = writeln!(svg, "<title>{zones}: {}</title>", run.kind.word());
        rectangles(&mut svg, from, to, top);
        svg.push_str("</g>\n");
    }
    let mut across = 0;
    for (kind, count) in counts(kinds) {
        let (square, words) = (height + 10, height + 20);
        let _ = writeln!(
            svg,
            "<rect x=\"{across}\" y=\"{square}\" width=\"10\" height=\"10\" fill=\"{}\" \
             stroke=\"#808080\"/><text x=\"{}\" y=\"{words}\">{} {count}</text>",
            fill(kind),
            across + 14,
            kind.word()
        );
        across += side / Kind::ALL.len();
    }
    svg.push_str("</svg>\n");
    svg
}

/// The rest of its first row, whole rows, and the beginning of the last one.
fn rectangles(svg: &mut String, from: usize, to: usize, top: usize) {
    let mut at = from;
    while at <= to {
        let (row, column) = (at / ACROSS, at % ACROSS);
        let whole = (to + 1 - at) / ACROSS;
        let (width, height) = if column == 0 && whole > 0 {
            (ACROSS, whole)
        } else {
            ((ACROSS - column).min(to + 1 - at), 1)
        };
        let _ = writeln!(
            svg,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
            column * SIDE,
            (row - top) * SIDE,
            width * SIDE,
            height * SIDE
        );
        at += width * height;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The squares that are drawn, as zones.
    fn drawn(from: usize, to: usize) -> Vec<usize> {
        let mut svg = String::new();
        rectangles(&mut svg, from, to, 0);
        let mut zones = Vec::new();
        for line in svg.lines() {
            let numbers: Vec<usize> = line
                .split('"')
                .skip(1)
                .step_by(2)
                .map(|number| number.parse::<usize>().unwrap() / SIDE)
                .collect();
            let [x, y, width, height] = numbers[..] else {
                panic!("{line}");
            };
            for row in y..y + height {
                zones.extend((x..x + width).map(|column| row * ACROSS + column));
            }
        }
        zones
    }

    #[test]
    fn each_zone_has_one_square() {
        for (from, to) in [
            (0, 0),
            (0, 255),
            (0, 65_535),
            (1, 255),
            (255, 256),
            (100, 1000),
            (256, 511),
            (256, 600),
            (65_535, 65_535),
        ] {
            let zones: Vec<usize> = (from..=to).collect();
            assert_eq!(drawn(from, to), zones, "{from} to {to}");
        }
    }

    #[test]
    fn a_picture_says_what_zones_are_in_words_too() {
        let mut kinds = vec![Kind::Free; 600];
        kinds[5] = Kind::Leased;
        kinds[300..=599].fill(Kind::Ruled);
        let svg = draw(&kinds, 0);
        super::super::snapshot::snapshot("range.svg", &svg);
    }
}
