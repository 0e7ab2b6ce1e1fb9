//! Handles of users: strong ([`Ref`]), weak ([`WeakRef`]), and an object's handle to its own child ([`Child`]).

use crate::class::Class;
use crate::counts::Dropped;
use crate::error::{CastError, Gone};
use crate::ledger::{EdgeId, Holder, Reason};
use crate::object::{Object, ObjectImpl, RootObject};
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::Location;
use std::sync::{Arc, Weak};

/// A user handle: keeps the object alive; while one exists, an object without a parent is not withdrawn.
///
/// For stacks, tables and threads of whoever *uses* objects. An object's own fields use [`Child`], links or
/// [`WeakRef`]: a handle kept in a field is the one way left to build a cycle, and the ledger would name it.
/// Any thread.
///
/// ```
/// use qom::{Container, Machine, ObjectOps};
/// let machine = Machine::new("doc");
/// let slot = machine.create::<Container>()?;
/// let again = slot.clone();
/// let weak = slot.downgrade();
/// assert_eq!(slot.object().counts().users(), 2);
/// drop((slot, again));                          // nobody else kept it
/// machine.wait_finalized(&weak, std::time::Duration::from_secs(10))?;
/// assert!(weak.get().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Ref<T: ObjectImpl = RootObject> {
    /// Whether dropping this handle gives a count back.
    counted: bool,
    object: Arc<Object>,
    edge: Option<EdgeId>,
    _type: PhantomData<fn() -> T>,
}

impl<T: ObjectImpl> Ref<T> {
    /// Takes over one user handle's worth of counts.
    #[track_caller]
    pub(crate) fn adopt(object: Arc<Object>) -> Self {
        // Outside the closure, which would be its own caller.
        let place = Some(Location::caller());
        let edge = object
            .machine_inner()
            .is_recording()
            .then(|| object.edges.add(Reason::USER_HANDLE, Holder::code(), place));
        Self {
            counted: true,
            object,
            edge,
            _type: PhantomData,
        }
    }

    /// The reverse of [`Ref::adopt`]: the counts move to the caller.
    pub(crate) fn into_raw(mut self) -> Arc<Object> {
        self.counted = false;
        self.object.clone()
    }

    /// The object.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// A handle that does not count, for a field of the object's parent.
    pub fn child(&self) -> Child<T> {
        Child {
            object: self.object.weak(),
            _type: PhantomData,
        }
    }

    /// A weak handle, for anybody's field.
    pub fn downgrade(&self) -> WeakRef<T> {
        WeakRef {
            object: self.object.weak(),
            _type: PhantomData,
        }
    }

    /// The same object seen as type `U`: up to an ancestor or down to a subclass.
    ///
    /// # Errors
    /// The object is no `U`.
    #[track_caller]
    pub fn cast<U: ObjectImpl>(&self) -> Result<Ref<U>, CastError> {
        if !self.object.class().is_a::<U>() {
            return Err(CastError {
                object: self.object.describe(),
                actual: self.object.class().name(),
                wanted: Class::of::<U>().name(),
            });
        }
        self.object.counts.clone_user();
        Ok(Ref::adopt(self.object.clone()))
    }
}

impl<T: ObjectImpl> Deref for Ref<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // INVARIANT: a handle exists only for a complete object of the checked class.
        self.object
            .instance::<T>()
            .expect("a handle's object has its type")
    }
}

impl<T: ObjectImpl> Clone for Ref<T> {
    #[track_caller]
    fn clone(&self) -> Self {
        self.object.counts.clone_user();
        Self::adopt(self.object.clone())
    }
}

impl<T: ObjectImpl> Drop for Ref<T> {
    fn drop(&mut self) {
        if let Some(edge) = self.edge {
            self.object.edges.remove(edge);
        }
        if !self.counted {
            return;
        }
        match self.object.counts.drop_user() {
            Dropped::Kept => {}
            Dropped::Finalize => self
                .object
                .machine_inner()
                .queue_finalizer(self.object.clone()),
            Dropped::Withdraw => crate::withdraw::last_handle_dropped(&self.object),
        }
    }
}

impl<T: ObjectImpl> std::fmt::Debug for Ref<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ref({})", self.object.describe())
    }
}

macro_rules! uncounted {
    ($name:ident, $title:literal) => {
        impl<T: ObjectImpl> $name<T> {
            /// A handle that keeps the object, while it has a parent or other handles and is not withdrawn. Any thread.
            ///
            /// # Errors
            /// It is withdrawn or gone.
            #[track_caller]
            pub fn get(&self) -> Result<Ref<T>, Gone> {
                let Some(object) = self.object.upgrade() else {
                    return Err(Gone {
                        object: T::NAME.into(),
                        state: "gone",
                    });
                };
                if object.counts.upgrade() {
                    return Ok(Ref::adopt(object));
                }
                let state = if object.is_finalized() {
                    "finalized"
                } else {
                    "withdrawn"
                };
                Err(Gone {
                    object: object.describe(),
                    state,
                })
            }

            pub(crate) fn pointer_opt(&self) -> Option<Arc<Object>> {
                self.object.upgrade()
            }
        }

        impl<T: ObjectImpl> Clone for $name<T> {
            fn clone(&self) -> Self {
                Self {
                    object: self.object.clone(),
                    _type: PhantomData,
                }
            }
        }

        impl<T: ObjectImpl> Default for $name<T> {
            /// A handle to nothing.
            fn default() -> Self {
                Self {
                    object: Weak::new(),
                    _type: PhantomData,
                }
            }
        }

        impl<T: ObjectImpl> std::fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.object.upgrade() {
                    Some(o) => write!(f, concat!($title, "({})"), o.describe()),
                    None => write!(f, concat!($title, "(gone {})"), T::NAME),
                }
            }
        }
    };
}

/// A weak handle: for anybody's field. Comes back to life only while the object is reachable.
///
/// ```
/// use qom::{Container, Machine, ObjectOps};
/// let machine = Machine::new("doc");
/// let slot = machine.create::<Container>()?;
/// machine.root().add_child("slot", &slot)?;
/// let weak = slot.downgrade();
/// drop(slot);
/// let slot = weak.get()?;                       // its parent keeps it
/// slot.unparent()?;
/// let gone = weak.get().unwrap_err();           // withdrawn: for good, though `slot` still keeps it
/// assert_eq!(gone.to_string(), "/machine/slot (withdrawn) is withdrawn");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct WeakRef<T: ObjectImpl = RootObject> {
    object: Weak<Object>,
    _type: PhantomData<fn() -> T>,
}
uncounted!(WeakRef, "WeakRef");

impl<T: ObjectImpl> WeakRef<T> {
    pub(crate) fn weak(&self) -> &Weak<Object> {
        &self.object
    }
}

/// An object's handle to its own child (or to itself): not counted, checked at use.
///
/// The parent keeps the child through the tree, so nothing more is needed; and what a field keeps could only get in the
/// way of a withdrawal.
///
/// ```
/// use qom::{Child, Container, Init, Machine, ObjectImpl, ObjectOps, RootObject};
///
/// struct Board { object: RootObject, slot: Child<Container> }
/// qom::object_type! { Board("doc-board") { object: RootObject } }
/// impl ObjectImpl for Board {
///     fn init(cx: &mut Init<'_>) -> Self {
///         Self { object: cx.parent(), slot: cx.child("slot").expect("a free name") }
///     }
/// }
///
/// let machine = Machine::new("doc");
/// let board = machine.create::<Board>()?;
/// machine.root().add_child("board", &board)?;
/// assert_eq!(board.slot.path().as_deref(), Some("/machine/board/slot"));
/// board.unparent()?;                            // with everything below it
/// assert!(board.slot.get().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Child<T: ObjectImpl = RootObject> {
    object: Weak<Object>,
    _type: PhantomData<fn() -> T>,
}
uncounted!(Child, "Child");

impl<T: ObjectImpl> Child<T> {
    pub(crate) fn from_weak(object: Weak<Object>) -> Self {
        Self {
            object,
            _type: PhantomData,
        }
    }

    /// The same handle as a weak one.
    pub fn downgrade(&self) -> WeakRef<T> {
        WeakRef {
            object: self.object.clone(),
            _type: PhantomData,
        }
    }
}
