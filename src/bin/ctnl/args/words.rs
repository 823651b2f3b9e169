//! Lines of a file into words, as conntrack(8)'s `-R` has them.

/// The words between white space, of which those in quotes may hold some. In quotes a backslash takes
/// what follows as it is. A line that begins with `#`, or has no words, has none.
pub(crate) fn split(line: &str, words: &mut Vec<String>) {
    words.clear();
    let line = line.trim_start_matches([' ', '\t']);
    if line.starts_with('#') {
        return;
    }
    let mut word = String::new();
    let (mut quoted, mut begun) = (false, false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                quoted = !quoted;
                begun = true;
            }
            '\\' if quoted => word.extend(letters.next()),
            ' ' | '\t' | '\n' | '\r' if !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                    begun = false;
                }
            }
            _ => {
                word.push(letter);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_at_white_space_outside_of_quotes() {
        let mut words = Vec::new();
        for (line, want) in [
            ("-A -t 5\n", &["-A", "-t", "5"][..]),
            ("\t -A\t-t  5", &["-A", "-t", "5"]),
            ("  # -A", &[]),
            ("", &[]),
            ("\n", &[]),
            (r#"-l "a b" "c\"d" """#, &["-l", "a b", "c\"d", ""]),
            (r"a\b", &[r"a\b"]),
            ("a\"b c", &["ab c"]),
        ] {
            split(line, &mut words);
            assert_eq!(words, want, "{line:?}");
        }
    }
}
