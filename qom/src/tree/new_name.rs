//! The name that is asked for when a child is added: this one, or one with the lowest free index.

use std::fmt;

/// The name that a new child is to have.
#[derive(Clone, Copy)]
pub(crate) enum NewName<'a> {
    /// This one.
    Exact(&'a str),
    /// `base[*]`, which is this with the lowest free index.
    Indexed(&'a str),
}

impl<'a> From<&'a str> for NewName<'a> {
    fn from(name: &'a str) -> Self {
        match name.strip_suffix("[*]") {
            Some(base) => Self::Indexed(base),
            None => Self::Exact(name),
        }
    }
}

impl NewName<'_> {
    pub(super) fn is_legal(self) -> bool {
        match self {
            Self::Exact(name) => !name.is_empty() && !name.contains('/'),
            Self::Indexed(base) => !base.contains('/'),
        }
    }
}

impl fmt::Display for NewName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Indexed(base) => write!(f, "{base}[*]"),
        }
    }
}
