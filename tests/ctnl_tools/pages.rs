//! Help, the manual and completions.

use crate::support::{ctnl, done, shell};

#[test]
fn help_begins_with_examples() {
    for line in [
        "--help",
        "help",
        "zone --help",
        "doctor -h",
        "stats --help",
        "help zone",
    ] {
        let help = done(line);
        assert!(
            help.out.starts_with("Examples:\n  ctnl "),
            "{line}: {}",
            help.out
        );
        assert_eq!(help.err, "", "{line}");
    }
    let overview = done("--help").out;
    for word in [
        "--dump",
        "--orig-port-dst",
        "zone",
        "Exit status:",
        "--dry-run",
    ] {
        assert!(overview.contains(word), "{word}");
    }
    let acquire = done("zone acquire --help").out;
    assert!(acquire.contains("--exec") && acquire.contains("CTNL_ZONE"));
}

#[test]
fn what_is_wrong_is_said_on_standard_error() {
    for line in [
        "zone",
        "zone fly",
        "stats --sideways",
        "completions tcsh",
        "man nothing",
    ] {
        let outcome = ctnl(line);
        assert_eq!(outcome.status, 2, "{line}: {outcome:?}");
        assert!(outcome.out.is_empty() && !outcome.err.is_empty(), "{line}");
    }
}

#[test]
fn pages_of_the_manual() {
    let root = done("man").out;
    assert!(root.contains(".TH CTNL 8"), "{root}");
    let page = done("man zone acquire").out;
    assert!(page.contains(".TH CTNL-ZONE-ACQUIRE 8"), "{page}");
    let scratch = crate::support::Scratch::new("man");
    done(&format!("man --dir {}", scratch.0.display()));
    let written = std::fs::read_to_string(scratch.0.join("ctnl.8")).unwrap();
    assert_eq!(written, root);
}

#[test]
fn bash_completes_both_grammars() {
    let outcome = shell(
        r#"
        source <($CTNL completions bash)
        complete_line() { # FUNCTION WORD...
            local function=$1; shift
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" || true
            echo "${COMPREPLY[@]}"
        }
        complete_line _ctnl ctnl --dum
        complete_line _ctnl ctnl -L unc
        complete_line _ctnl ctnl --reply-port-s
        complete_line _ctnl ctnl zone acq
        complete_line _ctnl ctnl zone acquire --insta
        source <($CTNL completions bash --name conntrack)
        complete_line _conntrack conntrack --dum
        complete_line _conntrack conntrack --dry
        "#,
    );
    assert_eq!(
        outcome.out.lines().collect::<Vec<_>>(),
        [
            "--dump",
            "unconfirmed",
            "--reply-port-src",
            "acquire",
            "--instance",
            "--dump",
            ""
        ],
        "{outcome:?}"
    );
}
