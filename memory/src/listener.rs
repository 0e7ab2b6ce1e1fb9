//! Listeners: who is told what an address space shows, change by change.

use crate::flat::FlatRange;
use crate::leaf::Leaf;
use crate::reentrancy;
use crate::region::RegionError;
use crate::space::SpaceInner;
use crate::state::MemoryState;
use crate::transaction::Session;
use crate::view::View;
use qom::layer::{self, Place, Pointer, Target};
use qom::{Handle, HandleId, Object, ObjectImpl, ObjectType};
use std::sync::{Arc, OnceLock, Weak};

/// The views before and after a commit. The published one is still the old.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// What the space showed.
    pub old: &'a View,
    /// What it is about to show.
    pub new: &'a View,
}

/// A range of a view, as a listener is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// Place, region, offset, flags.
    pub range: &'a FlatRange,
    /// The region and its bytes.
    pub leaf: &'a Leaf,
}

/// Is told what an address space shows, in QEMU's order: per commit `begin`, all deletes ascending, all adds ascending, `commit`.
/// Priorities: ascending for everything but deletes, which go descending.
///
/// Registered in the name of an object, which is handed in with each call. Called under the topology lock: it neither changes topology
/// nor calls devices, and does not wait; it may read memory. A panic is reported and stops neither the others nor the commit.
///
/// ```
/// # use memory::{AddressSpace, Attrs, Backing, Gpa, Offset, Priority, Region, RegionApi, Size};
/// # let machine = qom::Machine::new("doc");
/// # let system = Region::container("system", Size::MAX).create(machine.root())?;
/// # let ram = Region::ram("ram", Backing::anonymous(0x1000)?).create(machine.root())?;
/// # system.add_subregion(Offset(0x4000), &ram, Priority(0))?;
/// # let space = AddressSpace::open(machine.root(), "memory", &system)?;
/// use memory::{Commit, Listener, Section};
/// use qom::Container;
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering::Relaxed}};
///
/// /// How many bytes of RAM are on show.
/// struct Shown(Arc<AtomicU64>);
/// impl Shown {
///     fn len(section: Section<'_>) -> u64 { section.leaf.bytes().map_or(0, |bytes| bytes.len()) }
/// }
/// impl Listener for Shown {
///     type Owner = Container;                               // the root is one
///     fn region_add(&self, _: &Container, _: &Commit<'_>, section: Section<'_>) {
///         self.0.fetch_add(Self::len(section), Relaxed);
///     }
///     fn region_del(&self, _: &Container, _: &Commit<'_>, section: Section<'_>) {
///         self.0.fetch_sub(Self::len(section), Relaxed);
///     }
/// }
///
/// let shown = Arc::new(AtomicU64::new(0));
/// let handle = space.listen(machine.root(), Shown(shown.clone()))?;
/// assert_eq!(shown.load(Relaxed), 0x1000);                  // what is there
/// ram.set_enabled(false)?;
/// assert_eq!(shown.load(Relaxed), 0);                       // and each change
/// handle.close();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Source: QEMU's `MemoryListener`.
pub trait Listener: Send + Sync + 'static {
    /// The type of the object in whose name it listens.
    type Owner: ObjectImpl;

    /// Its place among the listeners: 0 for memory, 10 for accelerators and device back ends.
    fn priority(&self) -> i32 {
        0
    }
    /// Whether it is told of unchanged ranges too.
    fn wants_unchanged(&self) -> bool {
        false
    }
    /// A commit begins.
    fn begin(&self, _owner: &Self::Owner) {}
    /// The commit is over; the new view is published.
    fn commit(&self, _owner: &Self::Owner) {}
    /// A range has come.
    fn region_add(&self, _owner: &Self::Owner, _cx: &Commit<'_>, _section: Section<'_>) {}
    /// A range is gone; the section has its old fields.
    fn region_del(&self, _owner: &Self::Owner, _cx: &Commit<'_>, _section: Section<'_>) {}
    /// A range has stayed as it was.
    fn region_nop(&self, _owner: &Self::Owner, _cx: &Commit<'_>, _section: Section<'_>) {}
}

/// One call of a listener.
#[derive(Clone, Copy)]
pub(crate) enum Call<'a> {
    Begin,
    Commit,
    Add(&'a Commit<'a>, &'a FlatRange, &'a Leaf),
    Del(&'a Commit<'a>, &'a FlatRange, &'a Leaf),
    Nop(&'a Commit<'a>, &'a FlatRange, &'a Leaf),
}

trait ErasedListener: Send + Sync {
    fn call(&self, owner: &Object, call: Call<'_>);
}

impl<L: Listener> ErasedListener for L {
    fn call(&self, owner: &Object, call: Call<'_>) {
        let Some(owner) = owner.instance::<L::Owner>() else {
            return;
        };
        match call {
            Call::Begin => self.begin(owner),
            Call::Commit => self.commit(owner),
            Call::Add(cx, range, leaf) => self.region_add(owner, cx, Section { range, leaf }),
            Call::Del(cx, range, leaf) => self.region_del(owner, cx, Section { range, leaf }),
            Call::Nop(cx, range, leaf) => self.region_nop(owner, cx, Section { range, leaf }),
        }
    }
}

/// Runs code of a listener: it reaches memory, and no device.
fn in_listener(what: &str, owner: &Object, f: impl FnOnce()) {
    let _listening = reentrancy::listen();
    layer::run_hook(Place::Listener, what, owner, f);
}

/// A registered listener.
pub(crate) struct ListenerEntry {
    pub(crate) id: u64,
    pub(crate) priority: i32,
    pub(crate) wants_unchanged: bool,
    owner: Pointer,
    /// `None` only once it is dropped.
    listener: Option<Box<dyn ErasedListener>>,
}

impl ListenerEntry {
    pub(crate) fn call(&self, call: Call<'_>) {
        // Its handle is closed before its owner can be finalized; this is the last line of defence.
        if self.owner.is_finalized() {
            return;
        }
        in_listener("listener", &self.owner, || {
            if let Some(listener) = &self.listener {
                listener.call(&self.owner, call);
            }
        });
    }
}

impl Drop for ListenerEntry {
    /// The last pointer may go in a commit, in a withdrawal, or in whoever closes it by hand: what a listener's own fields do then is as little their business as what it does when it is called.
    fn drop(&mut self) {
        let listener = self.listener.take();
        in_listener("dropping a listener", &self.owner, || {
            drop(listener);
        });
    }
}

/// A listener that is registered; closes with the object in whose name it is, or by hand.
#[derive(Clone)]
pub struct ListenerHandle {
    shared: Arc<ListenerShared>,
}

/// Whoever has a handle, the owner's own fields among them, keeps neither the listener nor its owner's block of memory: the list of the space
/// does, until the listener is closed.
struct ListenerShared {
    space: Arc<SpaceInner>,
    state: Arc<MemoryState>,
    entry: Weak<ListenerEntry>,
    owner: Weak<Object>,
    id: OnceLock<HandleId>,
}

impl ListenerHandle {
    /// Unregisters it: it is told that everything it knows of is gone. Again is a no-op.
    pub fn close(&self) {
        Handle::close(&*self.shared);
        if let (Some(owner), Some(id)) = (self.shared.owner.upgrade(), self.shared.id.get()) {
            layer::forget_opened(&owner, *id);
        }
    }
}

impl std::fmt::Debug for ListenerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ListenerHandle({})", self.shared.describe())
    }
}

impl Handle for ListenerShared {
    fn close(&self) {
        // Declared before the session and so dropped after it: what the listener's own drop does is not done under the topology lock.
        let Some(entry) = self.entry.upgrade() else {
            return;
        };
        let session = Session::open(&self.state);
        session.with(|topo| topo.hearers = None);
        let mut found = false;
        self.space.listeners.rcu(|all| {
            let mut all = Vec::clone(all);
            let before = all.len();
            all.retain(|l| l.id != entry.id);
            found = all.len() < before;
            all
        });
        if found {
            entry.replay(&self.space, false);
        }
    }

    fn describe(&self) -> String {
        format!("listener on address space `{}`", self.space.name)
    }
}

impl ListenerEntry {
    /// Tells one listener of a whole view: all of it comes, or all of it goes.
    fn replay(&self, space: &SpaceInner, comes: bool) {
        let shown = space.current();
        let empty = View::default();
        let cx = if comes {
            Commit {
                old: &empty,
                new: &shown,
            }
        } else {
            Commit {
                old: &shown,
                new: &empty,
            }
        };
        self.call(Call::Begin);
        for (range, leaf) in shown.ranges() {
            self.call(if comes {
                Call::Add(&cx, &range, leaf)
            } else {
                Call::Del(&cx, &range, leaf)
            });
        }
        self.call(Call::Commit);
    }
}

/// Registers a listener: it is told of everything that is there.
pub(crate) fn register<L: Listener>(
    space: &Arc<SpaceInner>,
    state: &Arc<MemoryState>,
    owner: &(impl Target + ?Sized),
    listener: L,
) -> Result<ListenerHandle, RegionError> {
    let owner = owner.pointer()?;
    if !layer::machine_of(&owner).is_same(&space.machine) {
        return Err(RegionError::OtherMachine {
            region: owner.describe().into(),
            machine: owner.machine_name().into(),
            other: format!("address space `{}`", space.name).into(),
            other_machine: space.machine.name().into(),
        });
    }
    if !owner.class().is_a::<L::Owner>() {
        return Err(RegionError::OwnerType {
            owner: owner.describe(),
            owner_type: owner.class().name(),
            region: format!("listener on {}", space.name),
            wanted: L::Owner::NAME,
        });
    }
    if layer::depth(Place::Listener) > 0 {
        return Err(RegionError::Forbidden {
            region: space.name.clone(),
            place: Place::Listener,
        });
    }
    // It is told of what is published; what an open transaction has changed so far comes with its commit, to everybody.
    let session = Session::open(state);
    if space.is_closed() {
        return Err(RegionError::Closed {
            space: space.name.clone(),
            what: "listeners",
        });
    }
    let (mut priority, mut wants_unchanged) = (0, false);
    in_listener("a listener's priority", &owner, || {
        (priority, wants_unchanged) = (listener.priority(), listener.wants_unchanged());
    });
    let id = session.with(|topo| {
        topo.hearers = None;
        topo.next_listener += 1;
        topo.next_listener
    });
    let entry = Arc::new(ListenerEntry {
        id,
        priority,
        wants_unchanged,
        owner: owner.clone(),
        listener: Some(Box::new(listener)),
    });
    let shared = Arc::new(ListenerShared {
        space: space.clone(),
        state: state.clone(),
        entry: Arc::downgrade(&entry),
        owner: Arc::downgrade(&owner),
        id: OnceLock::new(),
    });
    let handle_id = layer::open(&owner, shared.clone())?;
    let _ = shared.id.set(handle_id);
    space.listeners.rcu(|all| {
        let mut all = Vec::clone(all);
        let at = all.partition_point(|l: &Arc<ListenerEntry>| l.priority <= entry.priority);
        all.insert(at, entry.clone());
        all
    });
    entry.replay(space, true);
    Ok(ListenerHandle { shared })
}
