//! Labels: 128 bits that rules and users may set on an entry.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
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

/// The names of labels, as a `connlabel.conf` gives them: a line each of number and name.
///
/// ```
/// use ctnetlink::LabelNames;
///
/// let names = LabelNames::from_text("0 eth0-in\n1 eth0-out # the way out\n")?;
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

    /// Reads a file. One that does not exist names nothing.
    ///
    /// # Errors
    /// For a file that cannot be read, and for a line that is not number and name.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        match std::fs::read_to_string(path.as_ref()) {
            Ok(text) => Self::from_text(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::invalid(
                "label names",
                path.as_ref().display().to_string(),
                error.to_string(),
                "a readable connlabel.conf",
            )),
        }
    }

    /// From the text of a file.
    ///
    /// # Errors
    /// For a line that is not number and name, a name given twice, and a number over 127.
    pub fn from_text(text: &str) -> Result<Self> {
        let mut names = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let content = line.split('#').next().unwrap_or_default();
            let words: Vec<_> = content.split_whitespace().collect();
            let refuse = |problem: &str| {
                Error::invalid(
                    "label names",
                    line,
                    format!("line {number}: {problem}"),
                    "a number from 0 to 127 and a name",
                )
            };
            match words[..] {
                [] => {}
                [bit, name] => {
                    let bit: u8 = bit
                        .parse()
                        .ok()
                        .filter(|bit| *bit < 128)
                        .ok_or_else(|| refuse("not a label's number"))?;
                    // A name of digits, or with a comma, could not be told from a list of labels.
                    if name == "NONE"
                        || name.contains(',')
                        || name.bytes().all(|b| b.is_ascii_digit())
                    {
                        return Err(refuse("not a name"));
                    }
                    if names.values().any(|known| known == name)
                        || names.insert(bit, name.to_owned()).is_some()
                    {
                        return Err(refuse("given twice"));
                    }
                }
                _ => return Err(refuse("not two words")),
            }
        }
        Ok(Self(names))
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
            ("0", "line 1: not two words"),
            ("0 a b", "not two words"),
            ("0 a\n0 b", "line 2: given twice"),
            ("0 a\n1 a", "line 2: given twice"),
            ("0 7", "not a name"),
            ("0 a,b", "not a name"),
            ("0 NONE", "not a name"),
        ] {
            let error = LabelNames::from_text(text).unwrap_err();
            assert!(error.to_string().contains(want), "{error}");
        }
        assert_eq!(
            LabelNames::from_text("\n# nothing\n").unwrap(),
            LabelNames::default()
        );
    }
}
