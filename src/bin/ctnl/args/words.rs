//! Lines of a file into words, as conntrack(8)'s `-R` has them.

use std::borrow::Cow;

/// The words between white space, of which those in quotes may hold some. In quotes a backslash takes
/// what follows as it is. A line that begins with `#`, or has no words, has none.
pub(crate) fn split(line: &str) -> Vec<Cow<'_, str>> {
    if line.trim_start_matches([' ', '\t']).starts_with('#') {
        return Vec::new();
    }
    if !line.contains('"') {
        // Nearly every line, and nothing is copied.
        let words = line.split([' ', '\t', '\n', '\r']);
        return words
            .filter(|word| !word.is_empty())
            .map(Cow::Borrowed)
            .collect();
    }
    let mut words = Vec::new();
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
                    words.push(std::mem::take(&mut word).into());
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
        words.push(word.into());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_at_white_space_outside_of_quotes() {
        for (line, want) in [
            ("-A -t 5\n", &["-A", "-t", "5"][..]),
            ("\t -A\t-t  5\r\n", &["-A", "-t", "5"]),
            ("  # -A", &[]),
            ("  # \"-A", &[]),
            ("", &[]),
            ("\n", &[]),
            (r#"-l "a b" "c\"d" """#, &["-l", "a b", "c\"d", ""]),
            (r"a\b", &[r"a\b"]),
            ("a\"b c", &["ab c"]),
        ] {
            assert_eq!(split(line), want, "{line:?}");
        }
    }
}
