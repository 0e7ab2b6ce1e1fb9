//! A listener that refers to each section it was told of, as vhost, vfio and KVM do: it finds none of them finalized, and each deleted.

use super::stage::{Happened, Stage, Wrong};
use memory::{Commit, Listener, Section};
use qom::{Container, ObjectId};
use std::sync::{Arc, Mutex, PoisonError};

/// The sections that were added and not deleted, by their region.
pub(crate) struct Sections {
    stage: Arc<Stage>,
    known: Mutex<Vec<ObjectId>>,
}

impl Sections {
    pub(crate) fn new(stage: &Arc<Stage>) -> Self {
        Self {
            stage: stage.clone(),
            known: Mutex::default(),
        }
    }

    fn wrong(&self, what: &str) {
        self.stage
            .note(Happened::Wrong(Wrong::UseAfterFinalize, what.into()));
    }
}

impl Listener for Sections {
    type Owner = Container;

    fn region_add(&self, _: &Container, _: &Commit<'_>, section: Section<'_>) {
        let Some(region) = section.leaf.region() else {
            return;
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.push(region.id());
    }

    fn region_del(&self, _: &Container, _: &Commit<'_>, section: Section<'_>) {
        let Some(region) = section.leaf.region() else {
            return self.wrong("a listener is told of a section without a region");
        };
        if region.is_finalized() {
            self.wrong("a listener is told of the end of a section whose region is finalized");
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.iter().position(|known| *known == region.id()) {
            Some(at) => drop(known.swap_remove(at)),
            None => self.wrong("a listener is told of the end of a section that it does not know"),
        }
    }
}

impl Drop for Sections {
    fn drop(&mut self) {
        let known = self.known.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !known.is_empty() {
            let left = known.len();
            self.wrong(&format!(
                "a listener leaves with {left} sections that were never deleted"
            ));
        }
    }
}
