//! Names of labels, out of the system's file.

use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Error, Operation, Result};
use crate::model::LabelNames;

impl LabelNames {
    /// Reads a file, such as [`LabelNames::PATH`], as `libnetfilter_conntrack` does. A line is a number,
    /// decimal, octal after `0` or hexadecimal after `0x`, and a name, which is the rest of it and may
    /// have spaces. One that begins with `#` is a comment. Of what is given twice the first counts.
    ///
    /// Lines that give no name are skipped, with a warning in the trace: among them are numbers over
    /// 127, which no kernel keeps, names of digits alone, which could not be told from numbers, and
    /// names with a comma or `#`.
    ///
    /// A file that does not exist names nothing.
    ///
    /// # Errors
    /// For a file that cannot be read.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match std::fs::read(path) {
            Ok(bytes) => Ok(Self::given_by(&String::from_utf8_lossy(&bytes), |error| {
                tracing::warn!(path = %path.display(), %error, "a line names no label");
            })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => {
                let action = format!("read {}", path.display());
                Err(Error::system(Operation::Settings, action, &error, None))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn files_that_are_not_there_or_cannot_be_read() {
        let nowhere = LabelNames::load("/nonexistent/connlabel.conf").unwrap();
        assert_eq!(nowhere, LabelNames::default());
        let error = LabelNames::load("/").unwrap_err();
        assert_eq!(
            error.errno().map(crate::Errno::raw),
            Some(Errno::EISDIR as i32)
        );
        assert!(error.to_string().contains("read /"), "{error}");
        assert!(!error.is_invalid_input());
        // What root may not read either.
        let denied = std::io::Error::from(Errno::EACCES);
        let error = Error::system(Operation::Settings, "read", &denied, None);
        assert!(error.is_permission_denied());
    }
}
