//! The commit of a transaction: render what is damaged, tell the listeners, publish, retire.
//!
//! Order, as in QEMU: all views are rendered before anybody hears of anything; `begin` on all listeners; for each address space all
//! deletes (listeners in descending priority) before all adds (ascending), then its new view is published; `commit` on all
//! listeners. While listeners run, the published view is still the old one; both are handed to them.

use crate::flat::{FlatRange, SpaceChange, Values};
use crate::leaf::Leaf;
use crate::listener::{Call, Commit, ListenerEntry};
use crate::space::SpaceInner;
use crate::state::{Entered, MemoryState, Topo};
use crate::topology::ByRegion;
use crate::view::View;
use qom::layer::Holder;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A rough size of what a commit replaces in a shared structure, and of each range: what readers may hold up.
const BYTES_PER_COMMIT: u64 = 2048;
const BYTES_PER_RANGE: u64 = 256;
/// Of a commit that changes more ranges than these no cache has all.
const MANY: u64 = 256;

/// One of the spaces that were published.
pub(crate) fn commit(state: &MemoryState, cell: &RefCell<Topo>) -> Option<Arc<SpaceInner>> {
    let (changed, notified, hearers) = {
        let mut topo = cell.borrow_mut();
        // Also where nobody sees a change: what waits is forgotten by nobody else.
        topo.topology.settle();
        let pending = topo.topology.pending();
        let notified = pending.notified();
        // Not even taken.
        if pending.is_empty() && !notified {
            return None;
        }
        let pending = topo.topology.take_pending();
        let Topo {
            topology,
            views,
            regions,
            view_holder,
            spaces,
            ..
        } = &mut *topo;
        let leaves = Leaves {
            regions,
            view_holder,
        };
        let mut changed: SmallVec<[(Arc<SpaceInner>, SpaceChange<Leaf>); 1]> =
            SmallVec::with_capacity(spaces.len().min(16));
        views.commit_each(topology, pending, leaves, |change| {
            if let Some(space) = spaces.get(&change.space) {
                changed.push((space.clone(), change));
            }
        });
        changed.sort_unstable_by_key(|(space, _)| space.key);
        let hearers = notified.then(|| topo.hearers());
        (changed, notified, hearers)
    };
    let told = hearers.as_deref().map_or(&[][..], |h| &h.all);
    state.counters.commits.fetch_add(1, Ordering::Relaxed);
    let span = tracing::debug_span!("commit", spaces = changed.len(), notified);
    let _entered = span.enter();
    for entry in told {
        entry.call(Call::Begin);
    }
    // Ascending by key, as the changes are.
    let mut unchanged = hearers.iter().flat_map(|h| &h.of_unchanged).peekable();
    let mut of_unchanged: SmallVec<[_; 4]> = SmallVec::new();
    let mut published = None;
    for (space, change) in changed {
        while let Some(before) = unchanged.next_if(|other| other.key <= space.key) {
            of_unchanged.extend((before.key < space.key).then_some(before));
        }
        // A space that is closed in a commit that QEMU would not tell of still gives its own listeners their deletes.
        let alone = space.is_closed() && !notified;
        let own = alone.then(|| space.listeners.load_full());
        let own = own.as_deref().map(Vec::as_slice).unwrap_or_default();
        for entry in own {
            entry.call(Call::Begin);
        }
        apply(&space, change);
        for entry in own {
            entry.call(Call::Commit);
        }
        published = Some(space);
    }
    for space in of_unchanged.into_iter().chain(unchanged) {
        tell_unchanged(space);
    }
    for entry in told {
        entry.call(Call::Commit);
    }
    let closed: Vec<_> = {
        let topo = &mut *cell.borrow_mut();
        let closing = std::mem::take(&mut topo.closing);
        if !closing.is_empty() {
            topo.hearers = None;
        }
        closing
            .iter()
            .filter_map(|key| topo.spaces.remove(key))
            .collect()
    };
    for space in closed {
        space.listeners.store(Arc::default());
    }
    published
}

/// Makes what a view keeps of its ranges.
struct Leaves<'a> {
    regions: &'a ByRegion<Entered>,
    view_holder: &'a Holder,
}

impl Values<Leaf> for Leaves<'_> {
    fn make(&mut self, range: &FlatRange) -> Leaf {
        // INVARIANT: a region is in the map for as long as it is in the topology (`enter_region`, `forget`).
        let entered = self.regions.get(range.region);
        let entered = entered.expect("a region in the topology is in the map");
        Leaf::new(entered, range, self.view_holder)
    }

    fn ahead(&self, ranges: &[FlatRange]) {
        let entered = ranges.iter().filter_map(|r| self.regions.get(r.region));
        black_box(entered.map(Entered::look).sum::<usize>());
    }
}

/// Who is told of a commit that counts. It stays from commit to commit until a listener or a space comes or goes.
pub(crate) struct Hearers {
    /// Every listener, by ascending priority.
    all: Vec<Arc<ListenerEntry>>,
    /// The spaces that have a listener that wants to hear of what stays, too; ascending by key.
    of_unchanged: Vec<Arc<SpaceInner>>,
}

impl Topo {
    fn hearers(&mut self) -> Arc<Hearers> {
        let spaces = &self.spaces;
        let found = self.hearers.get_or_insert_with(|| {
            let mut all = Vec::new();
            for space in spaces.values() {
                let listeners = space.listeners.load();
                all.extend(listeners.iter().cloned());
            }
            all.sort_by_key(|l| (l.priority, l.id));
            let wants = |space: &&Arc<SpaceInner>| {
                let listeners = space.listeners.load();
                listeners.iter().any(|l| l.wants_unchanged)
            };
            let of_unchanged = spaces.values().filter(wants).cloned().collect();
            Arc::new(Hearers { all, of_unchanged })
        });
        Arc::clone(found)
    }
}

/// Tells one space's listeners and publishes its new view.
fn apply(space: &Arc<SpaceInner>, change: SpaceChange<Leaf>) {
    let old = View { flat: change.old };
    let new = View { flat: change.new };
    let listeners = space.listeners.load();
    let difference = &change.difference;
    if !listeners.is_empty() {
        let cx = Commit {
            old: &old,
            new: &new,
        };
        for leaf in &difference.removed {
            for entry in listeners.iter().rev() {
                entry.call(Call::Del(&cx, leaf.range(), leaf));
            }
        }
        let mut added = difference.added.iter().map(Leaf::range).peekable();
        if listeners.iter().any(|l| l.wants_unchanged) {
            for (range, leaf) in new.ranges() {
                let is_new = added.next_if_eq(&&range).is_some();
                tell(&listeners, &cx, &range, leaf, is_new);
            }
        } else {
            for leaf in &difference.added {
                tell(&listeners, &cx, leaf.range(), leaf, true);
            }
        }
    }
    let ranges = (difference.removed.len() + difference.added.len()) as u64;
    tracing::trace!(space = %space.name, removed = difference.removed.len(), added = difference.added.len(), "published");
    space.publish(new, BYTES_PER_COMMIT + BYTES_PER_RANGE * ranges);
    if ranges > MANY
        && let Some(difference) = Arc::into_inner(change.difference)
    {
        difference.drop_together();
    }
}

/// A commit that left a space as it was: those who asked for it hear of every range.
fn tell_unchanged(space: &Arc<SpaceInner>) {
    let listeners = space.listeners.load();
    if !listeners.iter().any(|l| l.wants_unchanged) {
        return;
    }
    let view = space.current();
    let cx = Commit {
        old: &view,
        new: &view,
    };
    for (range, leaf) in view.ranges() {
        tell(&listeners, &cx, &range, leaf, false);
    }
}

fn tell(
    listeners: &[Arc<ListenerEntry>],
    cx: &Commit<'_>,
    range: &FlatRange,
    leaf: &Leaf,
    is_new: bool,
) {
    for entry in listeners {
        if is_new {
            entry.call(Call::Add(cx, range, leaf));
        } else if entry.wants_unchanged {
            entry.call(Call::Nop(cx, range, leaf));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::state::MemoryState;
    use crate::{AddressSpace, Offset, Priority, Region, RegionApi, Size, transaction};
    use qom::Machine;

    #[test]
    fn what_waits_where_nobody_sees_it_goes_in_at_the_commit() {
        let machine = Machine::new("unseen");
        let system = Region::container("system", Size::new(0x1000))
            .create(machine.root())
            .unwrap();
        let _space = AddressSpace::open(machine.root(), "memory", &system).unwrap();
        // Disabled and in no view, so that the commit counts for nobody and has nothing to render.
        let unseen = Region::container("unseen", Size::new(0x1000))
            .create(machine.root())
            .unwrap();
        unseen.set_enabled(false).unwrap();
        let state = MemoryState::of(&machine);
        let is_settled = || state.lock.lock().borrow().topology.is_settled();
        let commits = crate::counters(&machine).commits;
        transaction(&machine, |_| {
            for at in 0..20 {
                let region = Region::container(&format!("r{at}"), Size::new(1))
                    .create(machine.root())
                    .unwrap();
                unseen
                    .add_subregion(Offset(at), &region, Priority(0))
                    .unwrap();
            }
            assert!(!is_settled(), "many that came together wait");
        })
        .unwrap();
        assert_eq!(crate::counters(&machine).commits, commits, "nobody saw it");
        assert!(is_settled());
    }
}
