//! What can be wrong with a demonstration.

use std::{error::Error, fmt, io, path::PathBuf};

/// Why a demonstration ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Something was not as it should be.
    #[error("{place}: {what}")]
    Differs {
        /// Where: file and line of a trace, or the step of a scenario.
        place: String,
        /// What was expected and what came.
        what: String,
    },
    /// A step that should succeed failed.
    #[error("{step}")]
    Failed {
        /// What was to be done.
        step: String,
        /// Why it was not.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Some of several traces did not come out as recorded.
    #[error("{} of {all} traces did not come out as recorded:{}", failed.len(), told(failed))]
    Traces {
        /// How many there were.
        all: usize,
        /// Those, and why each.
        failed: Vec<(PathBuf, DemoError)>,
    },
    /// A file cannot be written.
    #[error("{}: cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A line for each; with the file, where the error itself does not name it.
fn told(failed: &[(PathBuf, DemoError)]) -> String {
    let mut text = String::new();
    for (file, error) in failed {
        let (file, error) = (file.display().to_string(), error.chain());
        text.push_str("\n  ");
        if !error.contains(&file) {
            text.push_str(&file);
            text.push_str(": ");
        }
        text.push_str(&error);
    }
    text
}

impl DemoError {
    /// Something was not as it should be.
    pub fn differs(place: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self::Differs {
            place: place.to_string(),
            what: what.to_string(),
        }
    }

    /// The error with everything behind it, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }
}

/// Says what was being done when something failed.
pub trait During<T> {
    /// The error with the step before it.
    ///
    /// # Errors
    /// The error that was there.
    fn during(self, step: impl fmt::Display) -> Result<T, DemoError>;
}

impl<T, E: Error + Send + Sync + 'static> During<T> for Result<T, E> {
    fn during(self, step: impl fmt::Display) -> Result<T, DemoError> {
        self.map_err(|source| DemoError::Failed {
            step: step.to_string(),
            source: Box::new(source),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_every_error_once() {
        let inner = io::Error::other("disk full");
        let error: Result<(), _> = Err(inner).during("saving");
        assert_eq!(error.unwrap_err().chain(), "saving: disk full");
        assert_eq!(DemoError::differs("a:3", "no").chain(), "a:3: no");
    }

    #[test]
    fn each_file_is_named_once() {
        let failed = vec![
            ("a".into(), DemoError::differs("a:3", "no")),
            ("b".into(), DemoError::differs("the end", "never")),
        ];
        let text = DemoError::Traces { all: 3, failed }.chain();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines, ["  a:3: no", "  b: the end: never"]);
        assert!(text.starts_with("2 of 3 traces"), "{text}");
    }
}
