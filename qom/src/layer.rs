//! For the layers above: how they take part in withdrawals, hold objects and make objects with parameters.
//!
//! Device authors need none of this.

pub use crate::context::{
    Callbacks, Inside, InsideCode, Place, callbacks_are_known_by, depth, enter, enter_code,
    innermost,
};
pub use crate::hold::Hold;
pub use crate::instance::part;
pub use crate::ledger::{Holder, Reason};
pub use crate::name::Name;
pub use crate::opened::{End, Entry, HandleOn};
pub use crate::panics::message_of;

use crate::class::Class;
use crate::error::{CreateError, Gone};
use crate::handle::{Child, Ref, WeakRef};
use crate::init::Init;
use crate::machine::MachineHandle;
use crate::object::{Object, ObjectImpl};
use crate::opened::{Handle, HandleId};
use crate::tree::NewName;
use smallvec::SmallVec;
use std::sync::Arc;

/// A pointer that keeps an object's block of memory, and not the object.
pub type Pointer = Arc<Object>;

/// A layer's part in withdrawals of objects of some class: one hook for each phase.
///
/// `qom` runs the protocol without knowing what a region or a device is.
#[derive(Debug)]
pub struct LayerHooks {
    /// The layer's name, for traces.
    pub name: &'static str,
    /// Step 0, for each object being marked, under the tree lock: only counts may be taken. Nothing may be called or dropped.
    pub mark: Option<fn(&Pointer)>,
    /// Step 1, for the whole batch, on the thread that asked for the withdrawal: cut everything that leads a new access to
    /// the objects. The batch holds objects of all classes, children before parents. A second thread that asks for the same withdrawal before
    /// this is done does it too, at the same time, as it may not wait for the first: what is cut already stays so.
    pub retract: Option<fn(&MachineHandle, &[Pointer])>,
    /// Step 2, for each object, outside every lock.
    pub close: Option<fn(&Pointer)>,
}

/// Whatever names an object: handles of all kinds, objects, and instances themselves.
pub trait Target {
    /// The object's block of memory.
    ///
    /// # Errors
    /// The block is gone.
    fn pointer(&self) -> Result<Pointer, Gone>;

    /// Calls `f` with the object, without a pointer of its own where the handle has one.
    ///
    /// # Errors
    /// The block is gone.
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&Object) -> R) -> Result<R, Gone> {
        Ok(f(&*self.pointer()?))
    }

    /// The object, where a borrow of this is one of it. None says nothing.
    #[inline]
    fn at_hand(&self) -> Option<&Object> {
        None
    }
}

impl Target for Object {
    #[inline]
    fn at_hand(&self) -> Option<&Object> {
        Some(self)
    }
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&Object) -> R) -> Result<R, Gone> {
        Ok(f(self))
    }
    fn pointer(&self) -> Result<Pointer, Gone> {
        Ok(Object::pointer(self))
    }
}
impl Target for Pointer {
    #[inline]
    fn at_hand(&self) -> Option<&Object> {
        Some(self)
    }
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&Object) -> R) -> Result<R, Gone> {
        Ok(f(self))
    }
    fn pointer(&self) -> Result<Pointer, Gone> {
        Ok(self.clone())
    }
}
impl<T: ObjectImpl> Target for Ref<T> {
    #[inline]
    fn at_hand(&self) -> Option<&Object> {
        Some(self.object())
    }
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&Object) -> R) -> Result<R, Gone> {
        Ok(f(self.object()))
    }
    fn pointer(&self) -> Result<Pointer, Gone> {
        Ok(Object::pointer(self.object()))
    }
}
impl<T: ObjectImpl> Target for Child<T> {
    fn pointer(&self) -> Result<Pointer, Gone> {
        self.pointer_opt().ok_or_else(|| Gone {
            object: T::NAME.into(),
            state: "gone",
        })
    }
}
impl<T: ObjectImpl> Target for WeakRef<T> {
    fn pointer(&self) -> Result<Pointer, Gone> {
        self.pointer_opt().ok_or_else(|| Gone {
            object: T::NAME.into(),
            state: "gone",
        })
    }
}
impl<T: ObjectImpl> Target for T {
    fn pointer(&self) -> Result<Pointer, Gone> {
        self.this().pointer()
    }
}

/// The machine that an object belongs to.
pub fn machine_of(object: &Object) -> MachineHandle {
    MachineHandle(object.machine_inner().clone())
}

/// Whether an object belongs to a machine.
#[inline]
pub fn belongs_to(object: &Object, machine: &MachineHandle) -> bool {
    Arc::ptr_eq(object.machine_inner(), &machine.0)
}

/// A pointer to an object that keeps nothing.
pub fn weak(object: &Object) -> std::sync::Weak<Object> {
    object.weak()
}

/// Drops what this machine has retired and no reader sees any more, as far as that runs nobody's code: for a layer that has just retired some
/// of it ([`Published::swap_inert`](crate::grace::Published::swap_inert)), outside its locks. What it leaves the executor drops.
pub fn drop_inert(machine: &MachineHandle) {
    machine.0.executor.drop_inert();
}

/// Whether two objects belong to one machine.
pub fn same_machine(a: &Object, b: &Object) -> bool {
    Arc::ptr_eq(a.machine_inner(), b.machine_inner())
}

/// How many counts on an object have no name in the ledger ([`Hold::beside`]), or were recorded for `reason`. Exact while nobody holds or lets go.
pub fn unnamed(object: &Object, reason: Reason) -> u64 {
    let named = object.named_edges();
    let named = named
        .iter()
        .filter(|e| e.reason != reason && e.reason != Reason::USER_HANDLE);
    let now = object.counts();
    now.storage()
        .saturating_sub(now.users() + u64::from(now.is_parented()))
        .saturating_sub(named.count() as u64)
}

/// Makes an object with parameters: like [`MachineHandle::create`], with `init` in the place of the type's own.
///
/// With `parent`, the object becomes its child called by the name given (`name[*]` takes the lowest free index).
///
/// # Errors
/// As [`MachineHandle::create`]; and the parent refuses the child.
#[track_caller]
pub fn create_with<T: ObjectImpl>(
    machine: &MachineHandle,
    parent: Option<(&Pointer, &str)>,
    init: impl FnOnce(&mut Init<'_>) -> T,
) -> Result<Ref<T>, CreateError> {
    let object = crate::init::create(&machine.0, Class::of::<T>(), parent, |cx| {
        Box::new(init(cx))
    })?;
    Ok(Ref::adopt(object))
}

/// As [`add_child`](crate::ObjectOps::add_child) with the name `base[*]`, for whoever need not know which index that is.
///
/// # Errors
/// As there.
pub fn add_indexed_child(
    parent: &Pointer,
    base: &str,
    child: &Pointer,
) -> Result<(), crate::TreeError> {
    crate::tree::add_child(parent, NewName::Indexed(base), child).map(drop)
}

/// Takes a handle out of its holder's list, because it has been closed.
pub fn forget_opened(holder: &Pointer, id: HandleId) {
    let forgotten = holder
        .machine_inner()
        .tree
        .lock()
        .forget_opened(holder.key, id);
    // Outside the lock.
    drop(forgotten);
}

/// Marks the present end of the list of what is opened in `holder`'s name.
pub fn opened_mark(holder: &Pointer) -> HandleId {
    HandleId(holder.machine_inner().tree.lock().next_handle())
}

/// Closes what was opened in `holder`'s name since `mark`, newest first; a close that panics is reported and the rest goes on. What is opened
/// meanwhile stays.
pub fn close_opened_since(holder: &Pointer, mark: HandleId) {
    let now = opened_mark(holder);
    crate::withdraw::close_opened(holder, mark.0, now.0);
}

/// Opens a handle in the holder's name (see [`ObjectOps::open`](crate::ObjectOps::open)).
///
/// # Errors
/// The holder is withdrawn, gone, or still in init.
pub fn open(holder: &Pointer, handle: Arc<dyn Handle>) -> Result<HandleId, crate::TreeError> {
    crate::tree::open(holder, handle)
}

/// Opens a handle in the holder's name on another object of its machine, or on none: both as its entry says. `listed` is the lists' pointer to it.
///
/// # Errors
/// As [`open`]; [`ChildWithdrawn`](crate::TreeError::ChildWithdrawn) where what it is on is withdrawn.
#[inline]
pub fn open_on<H: HandleOn>(
    holder: &Object,
    on: Option<&Object>,
    handle: &H,
    listed: Arc<dyn HandleOn>,
) -> Result<(), crate::TreeError> {
    crate::tree::open_on(holder, on, handle.entry(), listed)
}

/// Takes handles off the lists that are open on withdrawn objects of one machine, for their layer to end them: youngest first on each, so many at once as
/// do not keep others from the tree for long. None are left where it gives none.
pub fn take_opened_on<'a>(
    objects: impl IntoIterator<Item = &'a Pointer>,
) -> SmallVec<[Arc<dyn HandleOn>; 1]> {
    let mut objects = objects.into_iter().peekable();
    let mut taken = SmallVec::new();
    let Some(first) = objects.peek() else {
        return taken;
    };
    let mut tree = first.machine_inner().tree.lock();
    for object in objects {
        while let Some(handle) = tree.pop_opened_on(object.key) {
            taken.push(handle);
            if taken.len() == AT_ONCE {
                return taken;
            }
        }
    }
    taken
}

/// How many handles are taken off lists under the tree lock at once.
const AT_ONCE: usize = 64;

/// How many handles are open in a machine that were opened by [`open_on`].
pub fn handles_on(machine: &MachineHandle) -> usize {
    machine.0.tree.lock().handles_on()
}

/// Takes an object's parent away without withdrawing it, as a roll-back of an implicit parent.
///
/// False: the object has no parent, is withdrawn, or nobody would keep it.
pub fn detach(object: &Pointer) -> bool {
    let mut tree = object.machine_inner().tree.lock();
    object.counts.detach() && tree.cut_parent(object.key)
}

/// The children of an object, oldest first.
pub fn children_of(object: &Object) -> Vec<Pointer> {
    object
        .machine_inner()
        .tree
        .lock()
        .children(object.key)
        .cloned()
        .collect()
}

/// The parent of an object.
pub fn parent_of(object: &Object) -> Option<Pointer> {
    object
        .machine_inner()
        .tree
        .lock()
        .parent_of(object.key)
        .cloned()
}

/// Runs user code: a panic is reported with what it was and does not go on.
pub fn run_hook(place: Place, what: &str, object: &Object, f: impl FnOnce()) -> bool {
    crate::withdraw::run_hook(place, what, object, f)
}
