//! conntrack(8).

use std::process::{Command, Stdio};

use super::Result;

/// Whether it is there.
pub(crate) fn is_installed() -> bool {
    Command::new("conntrack")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// `conntrack -L > /dev/null`, with more arguments. It says on its standard error how many entries
/// it has shown.
pub(crate) fn list(arguments: &[&str]) -> Result<usize> {
    let output = Command::new("conntrack")
        .arg("-L")
        .args(arguments)
        .stdout(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    said.split_whitespace()
        .find_map(|word| word.parse().ok())
        .ok_or_else(|| format!("conntrack -L: {said}").into())
}
