//! Contexts: who draws, and with which resources.

use std::collections::{BTreeSet, HashMap};

/// A context.
#[derive(Debug, Default)]
pub(crate) struct Context {
    /// Resources attached to it.
    pub(crate) resources: BTreeSet<u32>,
}

/// Contexts by id.
pub(crate) type ContextTable = HashMap<u32, Context>;
