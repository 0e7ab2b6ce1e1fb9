//! Takes note of all regions and finalizers of a machine, and checks their order: each region before its owner.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memory::{AddressSpace, Commit, Listener, Region, RegionError, Section};
use qom::{Child, Container, Gone, Machine, MachineEvent, ObjectId, Subscription};

/// One finalizer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    id: ObjectId,
    /// The last one it had. Paths are used again: `blob[0]` is free once it is unmapped.
    path: String,
    type_name: &'static str,
}

#[derive(Debug, Default)]
struct Notes {
    /// Who owns a region, by identity.
    owners: HashMap<ObjectId, ObjectId>,
    /// In order.
    finalized: Vec<Entry>,
    panics: Vec<String>,
}

/// What was finalized.
pub(super) struct Witness {
    notes: Arc<Mutex<Notes>>,
    _subscription: Subscription,
}

const REGION: &str = "memory-region";
const ROOT: &str = "/machine";

impl Witness {
    /// Takes note of a machine's finalizers from now on.
    pub(super) fn of(machine: &Machine) -> Self {
        let notes: Arc<Mutex<Notes>> = Arc::default();
        let taken = notes.clone();
        let subscription = machine.subscribe(move |event| locked(&taken).take(event));
        Self {
            notes,
            _subscription: subscription,
        }
    }

    /// Takes note of each region that shows in the address space from now on, and of its owner.
    pub(super) fn watch(&self, machine: &Machine, space: &AddressSpace) -> Result<(), RegionError> {
        let notes = self.notes.clone();
        space.listen(machine.root(), Shown { notes }).map(|_| ())
    }

    /// Takes note of a region that shows nothing of its own, as containers do.
    pub(super) fn made(&self, region: &Child<Region>) -> Result<(), Gone> {
        let region = region.get()?;
        locked(&self.notes).made(region.object().id(), region.owner().id());
        Ok(())
    }

    /// To be asked when everything is finalized: what was, or what came in the wrong order.
    pub(super) fn report(&self) -> Result<Finalized, String> {
        locked(&self.notes).report()
    }
}

fn locked(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Is told of regions that show.
struct Shown {
    notes: Arc<Mutex<Notes>>,
}

impl Listener for Shown {
    type Owner = Container;
    fn region_add(&self, _: &Container, _: &Commit<'_>, section: Section<'_>) {
        if let Some(object) = section.leaf.region()
            && let Some(region) = object.instance::<Region>()
        {
            locked(&self.notes).made(object.id(), region.owner().id());
        }
    }
}

/// What was finalized.
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
    /// In which order a region and those above it went, how often, in the order of the first of each.
    orders: Vec<(String, u64)>,
    /// All of them, in order.
    entries: Vec<Entry>,
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
        for (order, count) in &other.orders {
            add_order(&mut self.orders, order, *count);
        }
        self.entries.extend_from_slice(&other.entries);
    }

    /// The orders in which a region and those above it were finalized, and how often each.
    pub(super) fn order(&self) -> String {
        let orders: Vec<String> = self
            .orders
            .iter()
            .map(|(order, count)| format!("{count} × {order}"))
            .collect();
        orders.join(", ")
    }

    /// All of them, a line each: number, identity, type, path.
    pub(super) fn list(&self) -> String {
        let mut text = String::new();
        for (number, entry) in (1..).zip(&self.entries) {
            let Entry {
                id,
                path,
                type_name,
            } = entry;
            let _ = writeln!(text, "{number:5}  #{:<6} {type_name:22} {path}", id.0);
        }
        text
    }
}

fn add_order(orders: &mut Vec<(String, u64)>, order: &str, count: u64) {
    match orders.iter_mut().find(|(known, _)| known == order) {
        Some((_, known)) => *known += count,
        None => orders.push((order.to_owned(), count)),
    }
}

impl Notes {
    fn made(&mut self, region: ObjectId, owner: ObjectId) {
        self.owners.insert(region, owner);
    }

    fn take(&mut self, event: &MachineEvent) {
        match event {
            MachineEvent::Finalized {
                id,
                path,
                type_name,
            } => self.finalized.push(Entry {
                id: *id,
                path: path.clone(),
                type_name,
            }),
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

    fn report(&self) -> Result<Finalized, String> {
        if let Some(panic) = self.panics.first() {
            return Err(format!("a panic: {panic}"));
        }
        let mut at: HashMap<ObjectId, usize> = HashMap::new();
        let mut done = Finalized::default();
        for (place, entry) in self.finalized.iter().enumerate() {
            if at.insert(entry.id, place).is_some() {
                return Err(format!("{} was finalized twice", entry.path));
            }
            done.objects += 1;
            *done.by_type.entry(entry.type_name).or_default() += 1;
        }
        let mut owned: BTreeMap<ObjectId, u64> = BTreeMap::new();
        let regions = self.finalized.iter().enumerate();
        for (place, region) in regions.filter(|(_, entry)| entry.type_name == REGION) {
            let path = &region.path;
            let Some(owner) = self.owners.get(&region.id) else {
                return Err(format!("nobody took note of who owns {path}"));
            };
            let Some(&later) = at.get(owner) else {
                return Err(format!("{path} was finalized, and its owner was not"));
            };
            if later < place {
                let owner = &self.finalized[later].path;
                return Err(format!("{owner} was finalized before its region {path}"));
            }
            done.regions += 1;
            *owned.entry(*owner).or_default() += 1;
            add_order(&mut done.orders, &self.chain(place, later), 1);
        }
        done.owners = owned.len() as u64;
        done.entries.clone_from(&self.finalized);
        Ok(done)
    }

    /// A region, its owner and all above that but for the root: as they went, without their numbers.
    fn chain(&self, region: usize, owner: usize) -> String {
        let mut places = vec![region];
        let mut path = self.finalized[owner].path.as_str();
        if path != ROOT {
            places.push(owner);
        }
        while let Some((above, _)) = path.rsplit_once('/')
            && above != ROOT
        {
            // Whoever had that path when this one went, or else had it last.
            let had = |entry: &Entry| entry.path == above;
            let later = self.finalized[region..].iter().position(had);
            let place = later
                .map(|n| region + n)
                .or_else(|| self.finalized.iter().rposition(had));
            places.extend(place);
            path = above;
        }
        places.sort_unstable();
        let name = |place: usize| {
            let path = &self.finalized[place].path;
            without_numbers(
                path.strip_prefix(ROOT)
                    .unwrap_or(path)
                    .trim_start_matches('/'),
            )
        };
        let names: Vec<String> = places.into_iter().map(name).collect();
        names.join(" → ")
    }
}

/// `gpu/blob[17]/ram[0]` as `gpu/blob[n]/ram[n]`.
fn without_numbers(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    let mut in_number = false;
    for c in path.chars() {
        in_number &= c != ']';
        if !in_number {
            text.push(c);
        }
        if c == '[' {
            in_number = true;
            text.push('n');
        }
    }
    text
}

#[cfg(test)]
mod tests;
