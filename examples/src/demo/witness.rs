//! Takes note of all finalizers of a machine and checks their order: each region before its owner.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use qom::{Machine, MachineEvent, Subscription};

#[derive(Debug, Default)]
struct Notes {
    finalized: u64,
    by_type: BTreeMap<&'static str, u64>,
    regions: u64,
    /// Regions that are finalized while their owner is not, by the owner's path.
    waiting: HashMap<String, u64>,
    /// Finalized owners that had regions.
    owners: u64,
    panics: Vec<String>,
}

/// What was finalized.
pub(super) struct Witness {
    notes: Arc<Mutex<Notes>>,
    _subscription: Subscription,
}

const REGION: &str = "memory-region";

impl Witness {
    /// Watches a machine from now on.
    pub(super) fn of(machine: &Machine) -> Self {
        let notes: Arc<Mutex<Notes>> = Arc::default();
        let taken = notes.clone();
        let subscription = machine.subscribe(move |event| {
            taken
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(event);
        });
        Self {
            notes,
            _subscription: subscription,
        }
    }

    /// To be asked when everything is finalized: what was, or what came in the wrong order.
    pub(super) fn report(&self) -> Result<Finalized, String> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(panic) = notes.panics.first() {
            return Err(format!("a panic: {panic}"));
        }
        // A region whose owner does not come after it was finalized after its owner, or its owner never was.
        if let Some((owner, count)) = notes.waiting.iter().find(|(_, count)| **count > 0) {
            return Err(format!(
                "{count} regions of {owner} were not finalized before it"
            ));
        }
        Ok(Finalized {
            objects: notes.finalized,
            regions: notes.regions,
            owners: notes.owners,
            by_type: notes.by_type.clone(),
        })
    }
}

/// What was finalized, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Finalized {
    /// Objects.
    pub(super) objects: u64,
    /// Regions among them, each before its owner.
    pub(super) regions: u64,
    /// Owners of regions.
    pub(super) owners: u64,
    /// Objects by type.
    pub(super) by_type: BTreeMap<&'static str, u64>,
}

impl Finalized {
    /// Adds another machine's.
    pub(super) fn add(&mut self, other: &Self) {
        self.objects += other.objects;
        self.regions += other.regions;
        self.owners += other.owners;
        for (name, count) in &other.by_type {
            *self.by_type.entry(name).or_default() += count;
        }
    }
}

impl Notes {
    fn take(&mut self, event: &MachineEvent) {
        match event {
            MachineEvent::Finalized {
                path, type_name, ..
            } => {
                self.finalized += 1;
                *self.by_type.entry(type_name).or_default() += 1;
                if *type_name == REGION {
                    self.regions += 1;
                    if let Some((owner, _)) = path.rsplit_once('/') {
                        *self.waiting.entry(owner.to_owned()).or_default() += 1;
                    }
                } else if self.waiting.remove(path).is_some() {
                    self.owners += 1;
                }
            }
            MachineEvent::Panicked {
                object,
                what,
                message,
            } => {
                self.panics.push(format!("{what} of {object}: {message}"));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qom::ObjectId;

    fn finalized(path: &str, type_name: &'static str) -> MachineEvent {
        MachineEvent::Finalized {
            id: ObjectId(0),
            path: path.to_owned(),
            type_name,
        }
    }

    fn report(events: &[MachineEvent]) -> Result<Finalized, String> {
        let machine = Machine::new("witness");
        let witness = Witness::of(&machine);
        for event in events {
            witness.notes.lock().unwrap().take(event);
        }
        witness.report()
    }

    #[test]
    fn an_owner_before_its_region_is_found() {
        let (region, owner) = (
            finalized("/machine/a/bar", REGION),
            finalized("/machine/a", "card"),
        );
        let good = report(&[region.clone(), owner.clone()]).unwrap();
        assert_eq!((good.objects, good.regions, good.owners), (2, 1, 1));
        let error = report(&[owner, region]).unwrap_err();
        assert!(error.contains("/machine/a"), "{error}");
    }

    #[test]
    fn a_panic_is_found() {
        let panic = MachineEvent::Panicked {
            object: "/machine/a".to_owned(),
            what: "unrealize".to_owned(),
            message: "oops".to_owned(),
        };
        assert!(report(&[panic]).unwrap_err().contains("oops"));
    }
}
