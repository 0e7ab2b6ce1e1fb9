//! What can go wrong while waiting for readers, and who is in the way.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::EngineKind;

/// The thread behind a read section, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderName {
    /// The thread's name, if it had one when it first entered the domain.
    pub name: Option<Arc<str>>,
    /// The kernel's number for the thread (zero where there is none).
    pub thread: u64,
    /// How long the reclaimer has been waiting for this section. The section itself may be older: readers do not
    /// record when they enter. `None` when the reclaimer is not waiting for it.
    pub waited_for: Option<Duration>,
    /// The thread has ended and left a guard that was never dropped.
    pub thread_ended: bool,
}

impl fmt::Display for ReaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "thread `{name}` ({})", self.thread)?,
            None => write!(f, "thread {}", self.thread)?,
        }
        if let Some(waited) = self.waited_for {
            write!(f, ", in a read section for at least {waited:?}")?;
        }
        if self.thread_ended {
            f.write_str(", which ended without dropping its guard")?;
        }
        Ok(())
    }
}

/// Writes "nobody known" or the reader.
struct Holder<'a>(&'a Option<ReaderName>);

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(reader) => reader.fmt(f),
            None => f.write_str("no reader that is known"),
        }
    }
}

/// Why a wait for readers did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraceError {
    /// The calling thread is itself in a read section of the domain and would wait for itself.
    #[error("domain `{domain}`: waiting for readers inside a read section would never end")]
    InsideGuard {
        /// The domain's name.
        domain: Arc<str>,
    },
    /// The caller is the domain's reclaimer thread (its sink), which is who it would wait for.
    #[error("domain `{domain}`: the reclaimer cannot wait for itself")]
    OnReclaimer {
        /// The domain's name.
        domain: Arc<str>,
    },
    /// Time ran out first.
    #[error("domain `{domain}`: readers did not pass within {waited:?}; held up by {}", Holder(.reader))]
    TimedOut {
        /// The domain's name.
        domain: Arc<str>,
        /// The reader that holds it up; `None` if none does (then the sink, or the machine, is slow).
        reader: Option<ReaderName>,
        /// How long the caller waited.
        waited: Duration,
    },
    /// More bytes are retired than the domain allows, and waiting did not help.
    #[error("domain `{domain}`: {retired_bytes} bytes are retired, {limit} are allowed; held up by {}", Holder(.reader))]
    Overloaded {
        /// The domain's name.
        domain: Arc<str>,
        /// The reader that holds it up, if one does.
        reader: Option<ReaderName>,
        /// How much is retired and not disposed of.
        retired_bytes: u64,
        /// [`DomainConfig::retired_bytes_limit`](crate::DomainConfig::retired_bytes_limit).
        limit: u64,
    },
    /// The system gave no thread for the reclaimer.
    #[error("domain `{domain}`: no thread for the reclaimer")]
    NoThread {
        /// The domain's name.
        domain: Arc<str>,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Why an engine could not be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The choice is made once, at the latest by the first domain.
    #[error("the {wanted} engine was asked for, but this process already runs the {chosen} engine")]
    AlreadyChosen {
        /// What was asked for.
        wanted: EngineKind,
        /// What runs.
        chosen: EngineKind,
    },
    /// The kernel does not offer what the engine needs, or a filter forbids it.
    #[error("the {wanted} engine is not available on this system")]
    Unavailable {
        /// What was asked for.
        wanted: EngineKind,
    },
}
