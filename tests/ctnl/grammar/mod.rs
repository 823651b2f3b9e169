//! Command lines of the whole grammar, right and wrong ones.

mod words;

use self::words::{COMMANDS, Kind, OPTIONS, Takes, Word, legal, of_protocol, value};
use crate::random::Random;

/// A command line, and what it reads where it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) args: Vec<String>,
    pub(crate) input: String,
}

impl Case {
    pub(crate) fn new(args: &[&str]) -> Self {
        Self {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            input: String::new(),
        }
    }

    /// As it would be typed.
    pub(crate) fn shell(&self) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=".contains(c);
        let quoted = self.args.iter().map(|arg| {
            if !arg.is_empty() && arg.chars().all(plain) {
                arg.clone()
            } else {
                format!("'{}'", arg.replace('\'', "'\\''"))
            }
        });
        let mut line = vec!["conntrack".to_owned()];
        line.extend(quoted);
        line.join(" ")
    }

    /// All words, those of the lines that it reads too.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        let args = self.args.iter().map(String::as_str);
        args.chain(self.input.split_whitespace())
    }

    /// Whether an option is given, by its letter or the beginning of its name.
    pub(crate) fn has_word(&self, letter: &str, name: &str) -> bool {
        self.words().any(|word| match word.strip_prefix("--") {
            Some(long) => {
                let long = long.split('=').next().unwrap_or(long);
                !long.is_empty() && name.starts_with(long)
            }
            None => word
                .strip_prefix('-')
                .is_some_and(|rest| rest.contains(letter)),
        })
    }

    /// Whether it may change entries in place.
    pub(crate) fn may_update(&self) -> bool {
        let of_word = |arg: &str| {
            arg.starts_with("--u")
                || arg.starts_with('-') && !arg.starts_with("--") && arg.contains('U')
        };
        self.args.iter().any(|arg| of_word(arg)) || self.input.split_whitespace().any(of_word)
    }

    /// Whether it may listen to events, which ends only when it is told to.
    pub(crate) fn may_listen(&self) -> bool {
        let bundled = |arg: &String| arg.starts_with('-') && arg.contains('E');
        let long = |arg: &String| arg.starts_with("--e") || arg.starts_with("-e");
        self.args.iter().any(|arg| bundled(arg) || long(arg))
    }
}

/// The arguments of one option, which stay together.
type Group = Vec<String>;

pub(crate) struct Generator {
    random: Random,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
        }
    }

    pub(crate) fn case(&mut self) -> Case {
        let args = self.line(true);
        let reads = args.iter().any(|arg| arg == "-");
        let input = if reads { self.file() } else { String::new() };
        Case { args, input }
    }

    /// A command line that listens to events, or would if it was right.
    pub(crate) fn listener(&mut self) -> Case {
        let command = *COMMANDS.iter().find(|word| word.name == 'E').unwrap();
        let groups = self.groups(command);
        let args = self.arrange(groups);
        let input = String::new();
        Case { args, input }
    }

    /// What -R reads: lines, few of them wrong.
    pub(crate) fn file(&mut self) -> String {
        let mut text = String::new();
        for _ in 0..self.random.below(4) {
            if self.random.chance(10) {
                text += self
                    .random
                    .pick(&["\n", "# a comment\n", "conntrack ", "  ", "-L\n"]);
            }
            let name = self.random.pick(
                &['A', 'I', 'A', 'D', 'U', 'F']
                    .map(|name| COMMANDS.iter().find(|word| word.name == name).unwrap()),
            );
            let groups = self.groups(*name);
            text += &self.arrange(groups).join(" ");
            text.push('\n');
        }
        text
    }

    fn line(&mut self, noise: bool) -> Vec<String> {
        let command = self.command();
        let mut groups = self.groups(command);
        if noise && self.random.chance(12) {
            self.disturb(&mut groups);
        }
        self.arrange(groups)
    }

    /// Those with the most to say come most often.
    fn command(&mut self) -> Word {
        const OFTEN: &[&str] = &[
            "L", "L", "L", "L", "D", "D", "D", "D", "U", "U", "U", "I", "I", "I", "A", "A", "G",
            "G", "F", "C", "S", "R", "V", "h",
        ];
        let name = self.random.pick(OFTEN);
        *COMMANDS
            .iter()
            .find(|word| name.starts_with(word.name))
            .unwrap()
    }

    /// A command and options that mostly go with it.
    fn groups(&mut self, command: Word) -> Vec<Group> {
        let mut groups = Vec::new();
        let table = self.random.chance(25);
        let mut expect = false;
        if command.kind == Kind::Table && table {
            let mut table = value(Kind::Table, &mut self.random);
            // Few commands know the others.
            if command.name != 'L' && self.random.chance(70) {
                table = "expect".into();
            }
            expect = table.starts_with('e');
            let spelled = self.name(&command);
            groups.push(vec![spelled, table]);
        } else if command.kind == Kind::File {
            let file = value(Kind::File, &mut self.random);
            groups.push(self.spell(&command, &file));
        } else {
            groups.push(vec![self.name(&command)]);
        }
        let (must, may) = legal(command.name, expect);
        let few = 1 + self.random.below(4);
        let mut chosen: Vec<Word> = Vec::new();
        for word in OPTIONS {
            let wanted = must.contains(word.name) && !self.random.chance(3)
                || may.contains(word.name) && self.random.below(may.len()) < few;
            if wanted {
                chosen.push(*word);
            }
        }
        if self.random.chance(5) {
            chosen.push(OPTIONS[self.random.below(OPTIONS.len())]);
        }
        let v6 = self.random.chance(15);
        for word in chosen {
            let value = self.fitting(&word, v6);
            let protocol = (word.name == 'p').then(|| value.clone());
            groups.push(self.spell(&word, &value));
            if let Some(protocol) = protocol {
                self.protocol(&protocol, must.contains('p'), expect, &mut groups);
            }
        }
        groups
    }

    /// Mostly of one family.
    fn fitting(&mut self, word: &Word, v6: bool) -> String {
        let of_addresses = matches!(
            word.kind,
            Kind::Address | Kind::Prefix | Kind::Mask | Kind::Nat | Kind::Family
        );
        let mut said = value(word.kind, &mut self.random);
        for _ in 0..8 {
            let is_v6 = said.contains("::") || said == "ipv6";
            if !of_addresses || is_v6 == v6 || self.random.chance(5) {
                break;
            }
            said = value(word.kind, &mut self.random);
        }
        said
    }

    /// The protocol's own options: those that a new entry needs, or a few.
    fn protocol(&mut self, name: &str, needed: bool, expect: bool, groups: &mut Vec<Group>) {
        for word in of_protocol(name) {
            let of_entry = "129".contains(word.name) || word.name == '0';
            let of_icmp = word.long[0].starts_with("icmp");
            let share = match (needed, expect) {
                (true, true) => 85,
                (true, false) if of_entry || of_icmp => 92,
                (true, false) => 4,
                (false, _) if of_entry || of_icmp => 25,
                (false, _) => 6,
            };
            if self.random.chance(share) {
                let said = value(word.kind, &mut self.random);
                groups.push(self.spell(&word, &said));
            }
        }
    }

    /// One of the ways to write an option with its value.
    fn spell(&mut self, word: &Word, said: &str) -> Group {
        if word.takes == Takes::Nothing || word.takes == Takes::Optional && self.random.chance(35) {
            return vec![self.name(word)];
        }
        let short = word.short();
        match (self.random.below(100), short) {
            (0..=12, Some(short)) => vec![format!("-{short}{said}")],
            (13..=25, _) => vec![format!("{}={said}", self.long(word))],
            _ => vec![self.name(word), said.to_owned()],
        }
    }

    fn name(&mut self, word: &Word) -> String {
        match word.short() {
            Some(short) if !self.random.chance(35) => format!("-{short}"),
            // getopt's string knows them too.
            _ if "[]{}<>()".contains(word.name) && self.random.chance(2) => {
                format!("-{}", word.name)
            }
            _ => self.long(word),
        }
    }

    /// The long form, or the beginning of it.
    fn long(&mut self, word: &Word) -> String {
        let name = self.random.pick(word.long);
        let length = if self.random.chance(15) {
            2 + self.random.below(name.len() - 1)
        } else {
            name.len()
        };
        format!("--{}", &name[..length.min(name.len())])
    }

    /// Something that is not as it should be.
    fn disturb(&mut self, groups: &mut Vec<Group>) {
        let at = self.random.below(groups.len());
        match self.random.below(9) {
            0 => drop(groups.remove(at)),
            1 => groups.push(groups[at].clone()),
            2 => {
                let other = self.command();
                let spelled = self.name(&other);
                groups.push(vec![spelled]);
            }
            3 => {
                let words = [
                    "--none", "-x", "--", "-", "word", "", "--src-", "-k5", "---L",
                ];
                groups.push(vec![self.random.pick(&words).to_owned()]);
            }
            4 => drop(groups[at].pop()),
            5 => {
                let word = OPTIONS[self.random.below(OPTIONS.len())];
                let said = value(word.kind, &mut self.random);
                groups.push(self.spell(&word, &said));
            }
            6 => groups[at].push(value(Kind::Address, &mut self.random)),
            7 => {
                let protocol = self.random.pick(&["tcp", "sctp", "icmp", "gre"]);
                let words = of_protocol(protocol);
                let word = words[self.random.below(words.len())];
                let said = value(word.kind, &mut self.random);
                groups.push(self.spell(&word, &said));
            }
            _ => {
                let flag = self
                    .random
                    .pick(&["-Lz", "-zL", "-Ln", "-Dn", "-nD", "-Lo", "-Sz"]);
                groups[0] = vec![flag.to_owned()];
            }
        }
    }

    /// The order is free, but that a protocol's options stand behind it.
    fn arrange(&mut self, mut groups: Vec<Group>) -> Vec<String> {
        if self.random.chance(25) && !groups.is_empty() {
            let command = groups.remove(0);
            let at = self.random.below(groups.len() + 1);
            groups.insert(at, command);
        }
        if self.random.chance(10) {
            self.random.shuffle(&mut groups);
        }
        groups.concat()
    }
}
