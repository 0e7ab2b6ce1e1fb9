//! What a withdrawal leaves with each of its objects: its ticket, and the path that the object had.

use crate::name::Name;
use crate::object::ObjectId;
use crate::ticket::Ticket;
use std::sync::Arc;

/// What an object knows of its withdrawal.
pub(crate) struct Withdrawn {
    pub(crate) ticket: Ticket,
    pub(crate) path: LastPath,
}

/// The path that an object had when it was withdrawn. Nobody asks most of them, so that the text is made for whoever does.
#[derive(Clone, Debug)]
pub(crate) enum LastPath {
    /// This one.
    At(Arc<str>),
    /// That of its parent, and its name there.
    Below(Arc<str>, Name),
    /// It was not below the machine's root.
    None,
}

impl LastPath {
    /// The text, for several to share.
    pub(crate) fn text(&self) -> Option<Arc<str>> {
        match self {
            Self::At(path) => Some(path.clone()),
            Self::Below(above, name) => Some(Arc::from(format!("{above}/{name}"))),
            Self::None => None,
        }
    }
}

/// What an object that is gone, or going, was called: its last path, or type and id.
#[derive(Clone, Debug)]
pub(crate) struct LastName {
    pub(crate) path: LastPath,
    pub(crate) type_name: &'static str,
    pub(crate) id: ObjectId,
}

impl std::fmt::Display for LastName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.path {
            LastPath::At(path) => f.write_str(path),
            LastPath::Below(above, name) => write!(f, "{above}/{name}"),
            LastPath::None => write!(f, "{}#{}", self.type_name, self.id.0),
        }
    }
}
