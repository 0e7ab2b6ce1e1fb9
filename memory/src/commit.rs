//! The commit of a transaction: render what is damaged, tell the listeners, publish, retire.
//!
//! Order, as in QEMU: all views are rendered before anybody hears of anything; `begin` on all listeners; for each address space all
//! deletes (listeners in descending priority) before all adds (ascending), then its new view is published; `commit` on all
//! listeners. While listeners run, the published view is still the old one; both are handed to them.

use crate::flat::{FlatRange, SpaceChange};
use crate::leaf::Leaf;
use crate::listener::{Call, Commit, ListenerEntry};
use crate::space::SpaceInner;
use crate::state::{MemoryState, Topo};
use crate::view::View;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A rough size of what a commit replaces in a shared structure, and of each range: what readers may hold up.
const BYTES_PER_COMMIT: u64 = 2048;
const BYTES_PER_RANGE: u64 = 256;

pub(crate) fn commit(state: &MemoryState, cell: &RefCell<Topo>) {
    let (changed, notified, hearers) = {
        let mut topo = cell.borrow_mut();
        let pending = topo.topology.take_pending();
        let notified = pending.notified();
        if pending.is_empty() && !notified {
            return;
        }
        let Topo {
            topology,
            views,
            regions,
            view_holder,
            spaces,
            ..
        } = &mut *topo;
        let changes = views.commit(topology, pending, |range| {
            // INVARIANT: a region is in the map for as long as it is in the topology (`enter_region`, `forget`).
            let object = regions
                .get(&range.region)
                .expect("a region in the topology has an object");
            Leaf::new(object, range, view_holder).expect("an object in the map is a region")
        });
        let changed: Vec<(Arc<SpaceInner>, SpaceChange<Leaf>)> = changes
            .into_iter()
            .filter_map(|change| Some((spaces.get(&change.space)?.clone(), change)))
            .collect();
        let hearers = notified.then(|| Hearers::of(spaces.values(), &changed));
        (changed, notified, hearers.unwrap_or_default())
    };
    state.counters.commits.fetch_add(1, Ordering::Relaxed);
    let span = tracing::debug_span!("commit", spaces = changed.len(), notified);
    let _entered = span.enter();
    for (space, entry) in &hearers.all {
        entry.call(space, Call::Begin);
    }
    for (space, change) in changed {
        // A space that is closed in a commit that QEMU would not tell of still gives its own listeners their deletes.
        let alone = space.is_closed() && !notified;
        let own = alone.then(|| space.listeners.load_full());
        let own = own.as_deref().map(Vec::as_slice).unwrap_or_default();
        for entry in own {
            entry.call(&space, Call::Begin);
        }
        apply(&space, change);
        for entry in own {
            entry.call(&space, Call::Commit);
        }
    }
    for space in &hearers.of_unchanged {
        tell_unchanged(space);
    }
    for (space, entry) in &hearers.all {
        entry.call(space, Call::Commit);
    }
    let closed: Vec<_> = {
        let topo = &mut *cell.borrow_mut();
        let closing = std::mem::take(&mut topo.closing);
        closing
            .iter()
            .filter_map(|key| topo.spaces.remove(key))
            .collect()
    };
    for space in closed {
        space.listeners.store(Arc::default());
    }
}

/// Who is told of a commit that counts.
#[derive(Default)]
struct Hearers {
    /// Every listener and its space, by ascending priority.
    all: Vec<(Arc<SpaceInner>, Arc<ListenerEntry>)>,
    /// The spaces that stay as they are and have a listener that wants to hear of what stays.
    of_unchanged: Vec<Arc<SpaceInner>>,
}

impl Hearers {
    fn of<'a>(
        spaces: impl Iterator<Item = &'a Arc<SpaceInner>>,
        changed: &[(Arc<SpaceInner>, SpaceChange<Leaf>)],
    ) -> Self {
        let mut this = Self::default();
        // Both ascend by key.
        let mut changed = changed.iter().map(|(space, _)| space.key).peekable();
        for space in spaces {
            let is_changed = changed.next_if_eq(&space.key).is_some();
            let listeners = space.listeners.load();
            if !is_changed && listeners.iter().any(|l| l.wants_unchanged) {
                this.of_unchanged.push(space.clone());
            }
            let pairs = listeners.iter().map(|l| (space.clone(), l.clone()));
            this.all.extend(pairs);
        }
        this.all.sort_by_key(|(_, l)| (l.priority, l.id));
        this
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
        for (range, leaf) in &difference.removed {
            for entry in listeners.iter().rev() {
                entry.call(space, Call::Del(&cx, range, leaf));
            }
        }
        let mut added = difference.added.iter().map(|(range, _)| *range).peekable();
        if listeners.iter().any(|l| l.wants_unchanged) {
            for (range, leaf) in new.ranges() {
                let is_new = added.next_if_eq(&range).is_some();
                tell(space, &listeners, &cx, &range, leaf, is_new);
            }
        } else {
            for (range, leaf) in &difference.added {
                tell(space, &listeners, &cx, range, leaf, true);
            }
        }
    }
    let ranges = (difference.removed.len() + difference.added.len()) as u64;
    tracing::trace!(space = %space.name, removed = difference.removed.len(), added = difference.added.len(), "published");
    space.publish(new, BYTES_PER_COMMIT + BYTES_PER_RANGE * ranges);
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
        tell(space, &listeners, &cx, &range, leaf, false);
    }
}

fn tell(
    space: &Arc<SpaceInner>,
    listeners: &[Arc<ListenerEntry>],
    cx: &Commit<'_>,
    range: &FlatRange,
    leaf: &Leaf,
    is_new: bool,
) {
    for entry in listeners {
        if is_new {
            entry.call(space, Call::Add(cx, range, leaf));
        } else if entry.wants_unchanged {
            entry.call(space, Call::Nop(cx, range, leaf));
        }
    }
}
