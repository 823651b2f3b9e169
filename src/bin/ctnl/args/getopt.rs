//! Words into options, as `getopt_long(3)` of the GNU C library finds them.
//!
//! Options stand anywhere among other words, which are passed over; short ones come in bundles, with
//! their argument attached or next; long ones may be cut short where that is clear, and have their
//! argument after `=` or next. An argument that may be left out is only ever attached here: whether
//! the next word is one is for the caller to say ([`Scanner::optional`]).

use super::Refusal;
use super::options::{LONG, Long, Opt, SHORT, Takes};

/// Long options that are known by now: a protocol brings its own.
#[derive(Default)]
pub(super) struct Known {
    protocol: &'static [Long],
    /// What conntrack(8) does not have. Their names are given in full, so that its abbreviations stay
    /// what they are.
    added: &'static [Long],
}

impl Known {
    pub(super) fn new(added: &'static [Long]) -> Self {
        Self {
            protocol: &[],
            added,
        }
    }

    pub(super) fn with_protocol(&mut self, protocol: &'static [Long]) {
        self.protocol = protocol;
    }

    fn find(&self, name: &str) -> Result<&'static Long, Refusal> {
        let of_conntrack = || LONG.iter().chain(self.protocol);
        // Where most are looked for comes first: no two have one name.
        let mut every = self.protocol.iter().chain(LONG).chain(self.added);
        if let Some(exact) = every.find(|long| long.name == name) {
            return Ok(exact);
        }
        let mut begun = of_conntrack().filter(|long| long.name.starts_with(name));
        let Some(first) = begun.next() else {
            return Err(Refusal::usage(format!("there is no option --{name}")));
        };
        match begun.find(|other| other.opt != first.opt) {
            None => Ok(first),
            Some(other) => Err(Refusal::usage(format!(
                "--{name} may be --{} or --{}",
                first.name, other.name
            ))),
        }
    }
}

/// Goes through the words.
pub(super) struct Scanner<'a> {
    words: &'a [&'a str],
    at: usize,
    /// What is left of a bundle of short options.
    bundle: &'a str,
    /// The first word that is no option ends them (`POSIXLY_CORRECT`).
    strict: bool,
}

/// An option, and its argument if it has one.
pub(super) struct Found<'a> {
    pub(super) opt: Opt,
    pub(super) argument: Option<&'a str>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(words: &'a [&'a str], strict: bool) -> Self {
        Self {
            words,
            at: 0,
            bundle: "",
            strict,
        }
    }

    pub(super) fn next(&mut self, known: &Known) -> Result<Option<Found<'a>>, Refusal> {
        if self.bundle.is_empty() {
            loop {
                let Some(&word) = self.words.get(self.at) else {
                    return Ok(None);
                };
                self.at += 1;
                if word == "--" {
                    self.at = self.words.len();
                    return Ok(None);
                }
                if let Some(long) = word.strip_prefix("--") {
                    return self.long(long, known).map(Some);
                }
                match word.strip_prefix('-') {
                    Some(bundle) if !bundle.is_empty() => {
                        self.bundle = bundle;
                        break;
                    }
                    _ if self.strict => {
                        self.at = self.words.len();
                        return Ok(None);
                    }
                    _ => {}
                }
            }
        }
        self.short().map(Some)
    }

    fn short(&mut self) -> Result<Found<'a>, Refusal> {
        let mut letters = self.bundle.chars();
        let letter = letters.next().unwrap_or_default();
        let rest = letters.as_str();
        let Some((_, takes, opt)) = SHORT.iter().find(|(known, ..)| *known == letter) else {
            return Err(Refusal::usage(format!("there is no option -{letter}")));
        };
        self.bundle = "";
        let argument = match takes {
            Takes::Nothing => {
                self.bundle = rest;
                None
            }
            Takes::MayBe => Some(rest).filter(|rest| !rest.is_empty()),
            Takes::Argument if rest.is_empty() => Some(self.argument(|| format!("-{letter}"))?),
            Takes::Argument => Some(rest),
        };
        Ok(Found {
            opt: *opt,
            argument,
        })
    }

    fn long(&mut self, word: &'a str, known: &Known) -> Result<Found<'a>, Refusal> {
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let long = known.find(name)?;
        let argument = match (long.takes, attached) {
            (Takes::Nothing, Some(_)) => {
                return Err(Refusal::usage(format!("--{} takes no value", long.name)));
            }
            (Takes::Argument, None) => Some(self.argument(|| format!("--{}", long.name))?),
            (_, attached) => attached,
        };
        Ok(Found {
            opt: long.opt,
            argument,
        })
    }

    /// The next word, whatever it is.
    fn argument(&mut self, option: impl Fn() -> String) -> Result<&'a str, Refusal> {
        let word = self.words.get(self.at);
        self.at += 1;
        match word {
            Some(word) => Ok(*word),
            None => Err(Refusal::usage(format!("{} needs a value", option()))),
        }
    }

    /// The next word, if it does not look like an option.
    pub(super) fn optional(&mut self) -> Option<&'a str> {
        let word = *self.words.get(self.at)?;
        if !self.bundle.is_empty() || word.starts_with(['-', '!']) {
            return None;
        }
        self.at += 1;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::{ADDED, fields_of};
    use super::*;
    use ctnetlink::Protocol;

    fn scan(line: &str, known: &Known) -> Result<Vec<(Opt, Option<String>)>, Refusal> {
        let words: Vec<&str> = line.split(' ').collect();
        let mut scanner = Scanner::new(&words, false);
        let mut found = Vec::new();
        while let Some(one) = scanner.next(known)? {
            found.push((one.opt, one.argument.map(str::to_owned)));
        }
        Ok(found)
    }

    fn found(line: &str) -> Vec<(Opt, Option<String>)> {
        scan(line, &Known::default()).unwrap()
    }

    fn with(opt: Opt, argument: &str) -> (Opt, Option<String>) {
        (opt, Some(argument.to_owned()))
    }

    #[test]
    fn arguments_are_attached_or_next() {
        for line in [
            "-s 1.1.1.1",
            "-s1.1.1.1",
            "--src 1.1.1.1",
            "--src=1.1.1.1",
            "--orig-src=1.1.1.1",
        ] {
            assert_eq!(found(line), [with(Opt::OrigSrc, "1.1.1.1")], "{line}");
        }
        // Whatever it looks like.
        assert_eq!(found("-s -d"), [with(Opt::OrigSrc, "-d")]);
        assert!(scan("-s", &Known::default()).is_err());
        assert!(scan("--src", &Known::default()).is_err());
        // What may be left out is attached.
        assert_eq!(found("-n 1.1.1.1"), [(Opt::SrcNat, None)]);
        assert_eq!(found("-n1.1.1.1"), [with(Opt::SrcNat, "1.1.1.1")]);
        assert_eq!(found("--src-nat=1.1.1.1"), [with(Opt::SrcNat, "1.1.1.1")]);
        assert!(scan("--zero=1", &Known::default()).is_err());
    }

    #[test]
    fn short_ones_come_in_bundles() {
        assert_eq!(found("-zw5"), [(Opt::Zero, None), with(Opt::Zone, "5")]);
        assert_eq!(found("-zzz").len(), 3);
        assert!(scan("-zQ", &Known::default()).is_err());
    }

    #[test]
    fn other_words_are_passed_over_and_two_dashes_end_it() {
        assert_eq!(found("a -z b - -z -- -z").len(), 2);
        let words = ["-z", "a", "-z"];
        let mut scanner = Scanner::new(&words, true);
        assert!(scanner.next(&Known::default()).unwrap().is_some());
        assert!(scanner.next(&Known::default()).unwrap().is_none());
    }

    #[test]
    fn long_ones_may_be_cut_short_where_that_is_clear() {
        assert_eq!(found("--reply-s 1"), [with(Opt::ReplySrc, "1")]);
        assert_eq!(found("--proto tcp"), [with(Opt::Protocol, "tcp")]);
        assert_eq!(found("--out id")[0].0, Opt::Output);
        for unclear in ["--re 1", "--s 1", "--d", "--label-"] {
            assert!(scan(unclear, &Known::default()).is_err(), "{unclear}");
        }
        // A protocol's options make unclear what was not.
        let mut known = Known::default();
        assert_eq!(scan("--reply-s=1", &known).unwrap().len(), 1);
        assert!(scan("--sport 1", &known).is_err());
        known.with_protocol(fields_of(Protocol::TCP));
        assert_eq!(scan("--sport 1 --reply-port-s 1", &known).unwrap().len(), 2);
        assert!(scan("--reply-port 1", &known).is_err());
        // What is added is not abbreviated, and makes nothing unclear.
        let known = Known::new(ADDED);
        assert_eq!(scan("--netns x", &known).unwrap().len(), 1);
        assert!(scan("--netn x", &known).is_err());
        assert_eq!(scan("--ver", &known).unwrap()[0].0, found("-V")[0].0);
        assert!(scan("--netns x", &Known::default()).is_err());
    }

    #[test]
    fn a_word_after_may_be_an_argument() {
        let words = ["-L", "expect", "-z"];
        let mut scanner = Scanner::new(&words, false);
        let known = Known::default();
        assert!(scanner.next(&known).unwrap().is_some());
        assert_eq!(scanner.optional(), Some("expect"));
        assert_eq!(scanner.optional(), None);
        let words = ["-Sz", "expect"];
        let mut scanner = Scanner::new(&words, false);
        assert!(scanner.next(&known).unwrap().is_some());
        assert_eq!(scanner.optional(), None);
    }
}
