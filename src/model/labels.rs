//! Labels: 128 bits that rules and users may set on an entry.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The label bits of an entry, 0 to 127.
///
/// ```
/// use ctnetlink::Labels;
///
/// let labels = Labels::EMPTY.with(3)?.with(127)?;
/// assert!(labels.contains(3) && !labels.contains(4));
/// assert_eq!(labels.to_string(), "3,127");
/// assert_eq!("3,127".parse::<Labels>()?, labels);
/// assert!(Labels::EMPTY.with(128).is_err());
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[doc(alias = "CTA_LABELS")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Labels(u128);

impl Labels {
    /// No label.
    pub const EMPTY: Self = Self(0);
    /// All 128 labels.
    pub const ALL: Self = Self(u128::MAX);

    /// From the bits: label 0 is the lowest.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits: label 0 is the lowest.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// One label.
    ///
    /// # Errors
    /// For a number over 127.
    pub fn bit(number: u8) -> Result<Self> {
        Self::EMPTY.with(number)
    }

    /// These and one more.
    ///
    /// # Errors
    /// For a number over 127.
    pub fn with(self, number: u8) -> Result<Self> {
        match 1_u128.checked_shl(number.into()) {
            Some(bit) => Ok(Self(self.0 | bit)),
            None => Err(Error::invalid(
                "label",
                number.to_string(),
                "too large",
                "a number from 0 to 127",
            )),
        }
    }

    /// Whether a label is set.
    #[must_use]
    pub const fn contains(self, number: u8) -> bool {
        number < 128 && self.0 >> number & 1 == 1
    }

    /// Whether none is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The numbers of the labels that are set, in order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..128).filter(move |number| self.contains(*number))
    }
}

/// Numbers joined by commas, `NONE` when empty.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("NONE");
        }
        let mut comma = "";
        for number in self.iter() {
            write!(f, "{comma}{number}")?;
            comma = ",";
        }
        Ok(())
    }
}

impl FromStr for Labels {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        LabelNames::default().parse(text)
    }
}

/// Labels to set, and which of them are meant: `new = (old & ~mask) | (labels & mask)`.
#[doc(alias = "CTA_LABELS_MASK")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LabelChange {
    /// What they become.
    pub labels: Labels,
    /// Those that change.
    pub mask: Labels,
}

impl LabelChange {
    /// Sets these and leaves the others.
    #[must_use]
    pub const fn add(labels: Labels) -> Self {
        Self {
            labels,
            mask: labels,
        }
    }

    /// Clears these and leaves the others.
    #[must_use]
    pub const fn remove(mask: Labels) -> Self {
        Self {
            labels: Labels::EMPTY,
            mask,
        }
    }

    /// Exactly these from now on.
    #[must_use]
    pub const fn replace(labels: Labels) -> Self {
        Self {
            labels,
            mask: Labels::ALL,
        }
    }
}

/// The names of labels, as a `connlabel.conf` gives them: a line each of number and name, which may
/// have spaces.
///
/// ```
/// use ctnetlink::LabelNames;
///
/// let names = LabelNames::from_text("# ways\n0 eth0-in\n0x1 eth0-out\n")?;
/// let labels = names.parse("eth0-out,7")?;
/// assert_eq!(labels.to_string(), "1,7");
/// assert_eq!(names.show(labels), "eth0-out,7");
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelNames(BTreeMap<u8, String>);

impl LabelNames {
    /// Where iptables and conntrack(8) look.
    pub const PATH: &'static str = "/etc/xtables/connlabel.conf";

    /// From the text of a file, each line of which must give a name, be empty, or begin with `#`.
    /// [`LabelNames::load`] has the grammar, and skips other lines.
    ///
    /// # Errors
    /// For a line that is not number and name, a name or a number given twice, and a number over 127.
    pub fn from_text(text: &str) -> Result<Self> {
        let mut first = None;
        let names = Self::given_by(text, |error| {
            first.get_or_insert(error);
        });
        first.map_or(Ok(names), Err)
    }

    /// The names that a text gives. Lines that give none are told, and left out.
    pub(crate) fn given_by(text: &str, mut skipped: impl FnMut(Error)) -> Self {
        let mut names = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            if let Err(problem) = names.read_line(line.trim()) {
                skipped(Error::invalid(
                    "label names",
                    line,
                    format!("line {number}: {problem}"),
                    Self::EXPECTED,
                ));
            }
        }
        names
    }

    /// The number as by strtoul(3) with base 0: octal after a 0.
    fn read_line(&mut self, line: &str) -> std::result::Result<(), &'static str> {
        let hex = line.strip_prefix("0x").or_else(|| line.strip_prefix("0X"));
        let (radix, rest) = match hex {
            Some(rest) => (16, rest),
            None if line.starts_with('0') => (8, line),
            None => (10, line),
        };
        let end = rest.find(|c: char| !c.is_digit(radix));
        let (number, name) = rest.split_at(end.unwrap_or(rest.len()));
        let number = super::digits(number, radix).ok_or("not a label's number")?;
        self.insert(number, name.trim_start())
    }

    pub(super) const EXPECTED: &str = "a number from 0 to 127 and a name";

    /// One more, or what is wrong with it.
    pub(super) fn insert(
        &mut self,
        number: u8,
        name: &str,
    ) -> std::result::Result<(), &'static str> {
        if number > 127 {
            return Err("not a label's number");
        }
        // A name of digits, or with a comma, could not be told from a list of labels.
        let ambiguous = name == "NONE" || name.bytes().all(|b| b.is_ascii_digit());
        let odd = |c: char| matches!(c, ',' | '#') || c.is_control();
        if ambiguous || name.contains(odd) || name.trim() != name {
            return Err("not a name");
        }
        if self.0.contains_key(&number) || self.number(name).is_some() {
            return Err("given twice");
        }
        self.0.insert(number, name.to_owned());
        Ok(())
    }

    /// The name of a label.
    #[must_use]
    pub fn name(&self, number: u8) -> Option<&str> {
        self.0.get(&number).map(String::as_str)
    }

    /// The number of a name.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u8> {
        let found = self.0.iter().find(|(_, known)| *known == name);
        found.map(|(number, _)| *number)
    }

    /// Names and numbers joined by commas, or `NONE`.
    ///
    /// # Errors
    /// For a word that is neither a known name nor a number from 0 to 127.
    pub fn parse(&self, text: &str) -> Result<Labels> {
        if text == "NONE" {
            return Ok(Labels::EMPTY);
        }
        text.split(',').try_fold(Labels::EMPTY, |labels, word| {
            self.number(word)
                .or_else(|| super::digits(word, 10))
                .and_then(|number| labels.with(number).ok())
                .ok_or_else(|| {
                    Error::invalid(
                        "labels",
                        text,
                        format!("{word:?} is neither a known name nor a label's number"),
                        "names or numbers from 0 to 127, joined by commas",
                    )
                })
        })
    }

    /// The labels by name, those without one by number.
    #[must_use]
    pub fn show(&self, labels: Labels) -> String {
        let words: Vec<_> = labels
            .iter()
            .map(|number| match self.name(number) {
                Some(name) => name.to_owned(),
                None => number.to_string(),
            })
            .collect();
        if words.is_empty() {
            "NONE".to_owned()
        } else {
            words.join(",")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_survives_its_text() {
        for number in 0..128 {
            let labels = Labels::bit(number).unwrap();
            assert_eq!(labels.bits(), 1 << number);
            assert_eq!(labels.to_string().parse::<Labels>().unwrap(), labels);
        }
        assert_eq!(
            Labels::ALL.to_string().parse::<Labels>().unwrap(),
            Labels::ALL
        );
        for bad in ["", "128", "-1", "+1", "1,", "red", "256"] {
            assert!(bad.parse::<Labels>().is_err(), "{bad}");
        }
        assert!(!Labels::ALL.contains(128));
    }

    #[test]
    fn bad_files_say_the_line() {
        for (text, want) in [
            ("0 a\n128 b", "line 2: not a label's number"),
            ("0", "line 1: not a name"),
            ("red", "line 1: not a label's number"),
            ("-1 a", "not a label's number"),
            ("0 a\n0 b", "line 2: given twice"),
            ("0 a\n1 a", "line 2: given twice"),
            ("0 7", "not a name"),
            ("0 a,b", "not a name"),
            ("0 NONE", "not a name"),
            ("0 a # b", "not a name"),
        ] {
            let error = LabelNames::from_text(text).unwrap_err();
            assert!(error.to_string().contains(want), "{error}");
        }
        assert_eq!(
            LabelNames::from_text("\n# nothing\n").unwrap(),
            LabelNames::default()
        );
    }

    /// What conntrack 1.4.7 shows with this file, all labels being set (2026-11-23), but for the name
    /// of digits.
    #[test]
    fn a_file_gives_what_conntrack_reads_of_it() {
        let file = "# c\n0 zero\n0x1 hex one\n010 oct\n3 a # b\n  4 lead\n0 again\n5 zero\n7foo\n\
                    9\t tab  \n08 eight\n200 big\n12 12\n13 a,b\n #14 x\n15 \n16 sixteen";
        let mut skipped = Vec::new();
        let names = LabelNames::given_by(file, |error| skipped.push(error.to_string()));
        assert_eq!(
            names
                .show(Labels::ALL)
                .split(',')
                .filter(|name| name.parse::<u8>().is_err())
                .collect::<Vec<_>>(),
            ["zero", "hex one", "lead", "foo", "oct", "tab", "sixteen"]
        );
        // As ever in octal, of `08` the 0 is the number.
        let lines = [5, 7, 8, 11, 12, 13, 14, 15, 16];
        assert_eq!(skipped.len(), lines.len(), "{skipped:?}");
        for (error, line) in skipped.iter().zip(lines) {
            assert!(error.contains(&format!("line {line}: ")), "{error}");
        }
        assert_eq!(names.parse("hex one,foo").unwrap().to_string(), "1,7");
    }
}
