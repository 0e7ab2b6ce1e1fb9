//! What is checked: something that keeps regions, shows an address space, and tells a listener.

use super::line::{Event, Op, Range, Region};

/// What came of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Whether the listener's begin and commit were called.
    pub notified: bool,
    /// What it was told in between, in order; with `nop`s.
    pub events: Vec<Event>,
}

/// Something that keeps regions, shows one address space, and tells one listener.
///
/// Errors are text: they go into the report of the line that met them.
pub trait Engine: Sized {
    /// These regions, after these changes; no address space yet.
    ///
    /// # Errors
    ///
    /// What refused.
    fn new(regions: &[Region], setup: &[Op]) -> Result<Self, String>;

    /// Makes the address space and registers the listener; answers what it is told at that.
    ///
    /// # Errors
    ///
    /// What refused.
    fn open(&mut self, root: usize) -> Result<Vec<Event>, String>;

    /// Does all of it in one transaction.
    ///
    /// # Errors
    ///
    /// What refused.
    fn transaction(&mut self, ops: &[Op]) -> Result<Commit, String>;

    /// The current view.
    fn view(&self) -> Vec<Range>;

    /// The same, rendered from nothing by the slow renderer.
    fn rendered_anew(&self) -> Vec<Range>;
}
