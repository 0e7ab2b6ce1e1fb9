//! The object: identity, class, counts and instance; and the traits by which a type is declared.

use crate::class::{Class, ClassCell, ClassData, ClassInit};
use crate::counts::{Counts, CountsNow};
use crate::error::PropertyError;
use crate::handle::Child;
use crate::init::Init;
use crate::instance::{Instance, level_of};
use crate::ledger::Edges;
use crate::machine::MachineInner;
use crate::property::Value;
use crate::ticket::Ticket;
use crate::tree::TreeKey;
use crate::withdrawn::{LastName, LastPath, Withdrawn};
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// How a type is declared: name, parent, class data. Written by [`object_type!`](crate::object_type).
pub trait ObjectType: Sized + Send + Sync + 'static {
    /// The parent type, whose instance is a field of this one.
    type Parent: ObjectImpl;
    /// What this level keeps per class: virtual methods that subclasses may override.
    type Class: ClassData + Default;
    /// The type's name: letters, digits, `-`, `_`, `.`.
    const NAME: &'static str;
    /// Whether only subclasses have instances.
    const ABSTRACT: bool = false;
    /// The parent's part of this instance: gives the field, and does nothing else, as it is called under locks.
    fn parent(&self) -> &Self::Parent;
    /// Class set-up that the declaring macro adds on the type's behalf.
    fn install(_class: &mut ClassInit<'_>) {}
    /// Where the class is kept, so that it need not be looked for with each object that is made. The declaring macro gives one.
    #[doc(hidden)]
    fn class_cell() -> Option<&'static ClassCell> {
        None
    }

    /// A child handle to the object that this is the instance of: for an object's own code.
    fn this(&self) -> Child<Self>
    where
        Self: ObjectImpl,
    {
        Child::from_weak(root_of(self).me.clone())
    }
}

/// What a type does at each station of an instance's life.
///
/// Order (QEMU's): `init` from the root type to the leaf, `post_init` leaf to root; at the end `unparent` and then
/// `finalize`, both leaf to root.
///
/// ```
/// use qom::{ClassInit, Init, Machine, ObjectImpl, ObjectOps, Property, RootObject};
/// use std::sync::{Arc, Mutex};
///
/// #[derive(Default)]
/// struct Log(Mutex<Vec<&'static str>>);
/// struct Lamp { object: RootObject, log: Arc<Log> }
/// qom::object_type! { Lamp("doc-stations-lamp") { object: RootObject } }
/// impl ObjectImpl for Lamp {
///     fn init(cx: &mut Init<'_>) -> Self {
///         let log = qom::layer::machine_of(cx.object()).extension(Log::default);
///         Self { object: cx.parent(), log }
///     }
///     fn post_init(&self) { self.log.0.lock().unwrap().push("complete") }
///     fn unparent(&self) { self.log.0.lock().unwrap().push("unparented") }
///     fn finalize(&self) { self.log.0.lock().unwrap().push("finalized") }
/// }
///
/// let machine = Machine::new("doc");
/// let log = machine.extension(Log::default);
/// let lamp = machine.create::<Lamp>()?;
/// machine.root().add_child("lamp", &lamp)?;
/// lamp.unparent()?;
/// drop(lamp);
/// machine.quiesce(std::time::Duration::from_secs(10))?;
/// assert_eq!(*log.0.lock().unwrap(), ["complete", "unparented", "finalized"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ObjectImpl: ObjectType {
    /// Makes the instance. The parent part is made with [`Init::parent`]; children and regions may be made here, but nothing
    /// is opened, mapped or put into a container of somebody else: introspection makes objects and throws them away.
    fn init(cx: &mut Init<'_>) -> Self;
    /// Overrides virtual methods, declares interfaces and properties. Must not have side effects.
    fn class_init(_class: &mut ClassInit<'_>) {}
    /// The object is complete.
    fn post_init(&self) {}
    /// The object is being withdrawn: no new access reaches it, everything opened in its name has been closed, it
    /// still has its parent. Runs outside every lock.
    fn unparent(&self) {}
    /// The object is about to go. No handle to it can be made any more; its regions are finalized. Runs on the executor.
    fn finalize(&self) {}
}

fn root_of<T: ObjectImpl>(instance: &T) -> &RootObject {
    // INVARIANT: every hierarchy ends at the root, see `Instance::level`.
    level_of::<RootObject>(instance).expect("every type inherits from the root")
}

/// The root of all types, `object`: it knows which object it is part of.
#[derive(Debug)]
pub struct RootObject {
    me: Weak<Object>,
}

impl ObjectType for RootObject {
    type Parent = RootObject;
    type Class = ();
    const NAME: &'static str = "object";
    const ABSTRACT: bool = true;
    fn parent(&self) -> &RootObject {
        self
    }
}

impl ObjectImpl for RootObject {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            me: cx.object().me.clone(),
        }
    }
}

/// Identifies an object for the whole process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub u64);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// An object: identity, class, the two counts, the instance.
///
/// A `&Object` says nothing about whether the object still lives; [`Object::is_withdrawn`] and
/// [`Object::is_finalized`] do. What keeps it alive are [`Ref`](crate::Ref)s, its parent, and the edges in the ledger.
///
/// ```
/// use qom::{Container, Machine, ObjectOps, RootObject};
/// let machine = Machine::new("doc");
/// let slot = machine.create::<Container>()?;
/// let object = slot.object();
/// assert!(object.is_complete() && object.path().is_none());
/// machine.root().add_child("slot", &slot)?;
/// assert_eq!(object.describe(), "/machine/slot");
/// assert!(object.class().is_a::<RootObject>() && object.instance::<Container>().is_some());
/// assert_eq!((object.counts().users(), object.counts().is_parented()), (1, true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Object {
    id: ObjectId,
    me: Weak<Object>,
    class: &'static Class,
    pub(crate) counts: Counts,
    machine: Arc<MachineInner>,
    pub(crate) key: TreeKey,
    instance: OnceLock<Box<dyn Instance>>,
    complete: AtomicBool,
    pub(crate) edges: Edges,
    // Set in one thread and read in others with nothing else between them; a race detector sees through this crate's cell.
    withdrawn: OnceCell<Withdrawn>,
    ended: Mutex<Ended>,
}

impl Object {
    pub(crate) fn new(
        machine: &Arc<MachineInner>,
        class: &'static Class,
        key: TreeKey,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            // ORDERING: Relaxed: only uniqueness matters.
            id: ObjectId(NEXT_ID.fetch_add(1, Ordering::Relaxed)),
            me: me.clone(),
            class,
            counts: Counts::new(),
            machine: machine.clone(),
            key,
            instance: OnceLock::new(),
            complete: AtomicBool::new(false),
            edges: Edges::default(),
            withdrawn: OnceCell::new(),
            ended: Mutex::default(),
        })
    }

    /// Its identity.
    #[inline]
    pub fn id(&self) -> ObjectId {
        self.id
    }

    /// Its type.
    pub fn class(&self) -> &'static Class {
        self.class
    }

    /// The instance, seen as type `T` or as an ancestor; none while it is being made, or where it is no `T`.
    #[inline]
    pub fn instance<T: ObjectImpl>(&self) -> Option<&T> {
        level_of::<T>(&**self.instance.get()?)
    }

    /// The instance of whatever type.
    #[inline]
    pub fn any_instance(&self) -> Option<&dyn Instance> {
        self.instance.get().map(|i| &**i)
    }

    /// The instance, seen through interface `I`.
    pub fn interface<I: ?Sized + 'static>(&self) -> Option<&I> {
        self.class.interface::<I>(&**self.instance.get()?)
    }

    /// The two counts and the flags, at this moment.
    #[inline]
    pub fn counts(&self) -> CountsNow {
        self.counts.now()
    }

    /// Whether its withdrawal has begun.
    #[inline]
    pub fn is_withdrawn(&self) -> bool {
        self.counts.now().is_withdrawn()
    }

    /// Whether its finalizer has run or is running.
    pub fn is_finalized(&self) -> bool {
        self.counts.now().is_finalized()
    }

    /// Whether init and post-init are done.
    #[inline]
    pub fn is_complete(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `set_complete`.
        self.complete.load(Ordering::Acquire)
    }

    /// The canonical path, `/machine/a/b`; none where the object is not below the root. Takes the tree lock.
    pub fn path(&self) -> Option<String> {
        self.machine.tree.lock().path(self.key)
    }

    /// A name for messages: the path, the path it had, or type and id.
    pub fn describe(&self) -> String {
        if let Some(path) = self.path() {
            return path;
        }
        self.describe_pathless()
    }

    /// A name for messages where it has no path: the one it had, or type and id.
    pub(crate) fn describe_pathless(&self) -> String {
        match self.withdrawn.get() {
            Some(_) => format!("{} (withdrawn)", self.last_name()),
            None => self.last_name().to_string(),
        }
    }

    /// What it was called when it was withdrawn, for events and explanations; type and id, where it was not.
    pub(crate) fn last_name(&self) -> LastName {
        let withdrawn = self.withdrawn.get();
        LastName {
            path: withdrawn.map_or(LastPath::None, |w| w.path.clone()),
            type_name: self.class.name(),
            id: self.id,
        }
    }

    /// The ticket of its withdrawal, from the moment on at which that began.
    pub(crate) fn withdrawal(&self) -> Option<&Ticket> {
        self.withdrawn.get().map(|withdrawn| &withdrawn.ticket)
    }

    /// The path it had when it was withdrawn; none where it was not, or was not below the root.
    pub(crate) fn last_path(&self) -> Option<&LastPath> {
        self.withdrawn.get().map(|withdrawn| &withdrawn.path)
    }

    /// Is true once the finalizers have ended: for whoever waits for that, and keeps no pointer to the object. None: they have.
    pub(crate) fn ended(&self) -> Option<Arc<AtomicBool>> {
        let mut ended = self.ended.lock();
        match &*ended {
            Ended::Over => None,
            Ended::Awaited(told) => Some(told.clone()),
            Ended::Not => {
                let told = Arc::<AtomicBool>::default();
                *ended = Ended::Awaited(told.clone());
                Some(told)
            }
        }
    }

    /// The finalizers have ended. Gives what is to be told to those who wait.
    pub(crate) fn end(&self) -> Option<Arc<AtomicBool>> {
        match std::mem::replace(&mut *self.ended.lock(), Ended::Over) {
            Ended::Awaited(told) => Some(told),
            Ended::Not | Ended::Over => None,
        }
    }

    /// Its withdrawal begins. Under the tree lock.
    pub(crate) fn set_withdrawn(&self, ticket: &Ticket, path: LastPath) {
        let ticket = ticket.clone();
        let fresh = self.withdrawn.set(Withdrawn { ticket, path }).is_ok();
        debug_assert!(fresh, "an object is withdrawn once");
    }

    /// The name of the machine it belongs to.
    pub fn machine_name(&self) -> &str {
        self.machine.name()
    }

    /// Reads a property. Any thread.
    ///
    /// # Errors
    /// There is no such property, or it has no getter.
    pub fn property(&self, name: &str) -> Result<Value, PropertyError> {
        crate::property::get(self, name)
    }

    /// Writes a property. Any thread; devices refuse it once they are realized.
    ///
    /// # Errors
    /// There is no such property, it has no setter, the value has the wrong type or is refused.
    pub fn set_property(&self, name: &str, value: impl Into<Value>) -> Result<(), PropertyError> {
        crate::property::set(self, name, &value.into())
    }

    pub(crate) fn machine_inner(&self) -> &Arc<MachineInner> {
        &self.machine
    }

    pub(crate) fn pointer(&self) -> Arc<Object> {
        // INVARIANT: a `&Object` is always borrowed from an `Arc` (`new_cyclic` is the only constructor, and the object is not
        // handed out before it returns).
        self.me
            .upgrade()
            .expect("a borrowed object is kept by somebody")
    }

    pub(crate) fn weak(&self) -> Weak<Object> {
        self.me.clone()
    }

    pub(crate) fn set_instance(&self, instance: Box<dyn Instance>) {
        let fresh = self.instance.set(instance).is_ok();
        debug_assert!(fresh, "an instance is made once");
    }

    pub(crate) fn set_complete(&self) {
        // ORDERING: Release: whoever sees the object complete sees its instance and its children.
        self.complete.store(true, Ordering::Release);
    }
}

/// Whether an object's finalizers have ended.
#[derive(Debug, Default)]
enum Ended {
    #[default]
    Not,
    /// Nor have they here, and somebody waits, who is told by this.
    Awaited(Arc<AtomicBool>),
    Over,
}

impl Object {
    pub(crate) fn take_instance(&mut self) -> Option<Box<dyn Instance>> {
        self.instance.take()
    }
}

impl Drop for Object {
    /// The last pointer may go anywhere: in a reader, or in a user's thread that is just letting go of a handle while the
    /// finalizer has come and gone. What the instance's fields do when they are dropped is not that thread's business.
    fn drop(&mut self) {
        if let Some(instance) = self.take_instance() {
            // A copy, as former holders of pointers may have read it: they and this are ordered by the pointer's own count, and so is the
            // end of the text when the block of memory goes.
            let name = self.last_name();
            self.machine.dispose(instance, name);
        }
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object")
            .field("id", &self.id.0)
            .field("type", &self.class.name())
            .field("counts", &self.counts.now())
            .finish_non_exhaustive()
    }
}

/// Declares an object type: its name, its parent field, and where wanted its class data.
///
/// ```
/// use qom::{Init, Machine, ObjectImpl, RootObject};
///
/// pub struct Lamp { object: RootObject, watts: u32 }
///
/// qom::object_type! { Lamp("lamp") { object: RootObject } }
///
/// impl ObjectImpl for Lamp {
///     fn init(cx: &mut Init<'_>) -> Self {
///         Self { object: cx.parent(), watts: 8 }
///     }
/// }
///
/// let machine = Machine::new("demo");
/// let lamp = machine.create::<Lamp>()?;
/// assert_eq!(lamp.watts, 8);
/// # Ok::<(), qom::CreateError>(())
/// ```
#[macro_export]
macro_rules! object_type {
    ($ty:ident ($name:expr) { $field:ident : $parent:ty } $(class $class:ty)? $(, install $install:expr)* $(,)?) => {
        impl $crate::ObjectType for $ty {
            type Parent = $parent;
            $crate::object_type!(@class $($class)?);
            const NAME: &'static str = $name;
            fn parent(&self) -> &Self::Parent { &self.$field }
            fn install(_class: &mut $crate::ClassInit<'_>) { $( ($install)(_class); )* }
            $crate::object_type!(@cell);
        }
    };
    (abstract $ty:ident ($name:expr) { $field:ident : $parent:ty } $(class $class:ty)? $(, install $install:expr)* $(,)?) => {
        impl $crate::ObjectType for $ty {
            type Parent = $parent;
            $crate::object_type!(@class $($class)?);
            const NAME: &'static str = $name;
            const ABSTRACT: bool = true;
            fn parent(&self) -> &Self::Parent { &self.$field }
            fn install(_class: &mut $crate::ClassInit<'_>) { $( ($install)(_class); )* }
            $crate::object_type!(@cell);
        }
    };
    (@cell) => {
        fn class_cell() -> Option<&'static $crate::ClassCell> {
            static CLASS: $crate::ClassCell = $crate::ClassCell::new();
            Some(&CLASS)
        }
    };
    (@class) => { type Class = (); };
    (@class $class:ty) => { type Class = $class; };
}
