//! An instance of any type, and the part of it that belongs to one type of its hierarchy.
#![expect(
    unsafe_code,
    reason = "the checked cast on the path of every device access"
)]
// Soundness: one unsafe step is in `level_of`: it turns what `Levels::level` gave into a reference. `level` gives null, or the address of
// a part whose type is the one asked for: the trait is in a private module and has one implementation, below, which compares the type's identity
// with its own before it gives its own address. What `parent` lends it lends for as long as the instance is
// lent to it, so the part lives as long as the borrow of the instance.
// The other is in `Typed::get`: the address that it turns into a reference came from `level_of` of the object's own instance, of the type whose
// identity is kept beside it. An instance is set once, in a box of its own, and is taken out again only by whoever has the last pointer to the
// object (`Object::take_instance` asks for the object itself); a `Typed` owns a pointer, so the part stays where it is for as long as that exists.
// (Why not `Any`: its answer comes back as two halves through memory and is read as a whole, which stalls the processor at each access.)

use crate::object::{Object, ObjectImpl, RootObject};
use std::any::{Any, TypeId};
use std::ptr;
use std::sync::Arc;

/// An instance of any type.
pub trait Instance: Any + Send + Sync + sealed::Levels {}

impl<T: ObjectImpl> Instance for T {}

mod sealed {
    use std::any::TypeId;

    /// Who can be seen as one of the types that he inherits from.
    pub trait Levels {
        /// The address of the part that belongs to type `level`, or null.
        fn level(&self, level: TypeId) -> *const ();
    }
}

impl<T: ObjectImpl> sealed::Levels for T {
    #[inline]
    fn level(&self, level: TypeId) -> *const () {
        if level == TypeId::of::<T>() {
            ptr::from_ref(self).cast()
        } else if TypeId::of::<T>() == TypeId::of::<RootObject>() {
            ptr::null()
        } else {
            self.parent().level(level)
        }
    }
}

/// The part of `instance` that belongs to type `T`.
#[inline]
pub(crate) fn level_of<T: ObjectImpl>(instance: &dyn Instance) -> Option<&T> {
    let part = instance.level(TypeId::of::<T>()).cast::<T>();
    // SAFETY: null, or the address of a `T` inside the instance that is borrowed for as long: see the head of the file.
    unsafe { part.as_ref() }
}

/// A pointer to an object, with the part of its instance that belongs to one type found beforehand: for whoever calls that part back at each
/// access. It keeps the object's block of memory, and not the object.
pub struct Typed {
    object: Arc<Object>,
    part: *const (),
    /// INVARIANT: of a type `T` only if `part` is the object's `T`; of no object's type where it was not found.
    level: TypeId,
}

// SAFETY: it gives out what a pointer to the object gives, and instances are `Send` and `Sync`.
unsafe impl Send for Typed {}
// SAFETY: as above.
unsafe impl Sync for Typed {}

impl Typed {
    /// The object seen as a `T`, if it is one. Where its instance is still being made, it is looked for at each call of [`get`](Self::get).
    pub fn new<T: ObjectImpl>(object: &Arc<Object>) -> Self {
        let object = object.clone();
        match object.instance::<T>().map(ptr::from_ref) {
            Some(part) => Self {
                part: part.cast(),
                level: TypeId::of::<T>(),
                object,
            },
            None => Self {
                part: ptr::null(),
                level: TypeId::of::<()>(),
                object,
            },
        }
    }

    /// The object.
    #[inline]
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// The part that belongs to `T`; none while it is being made, or where the object is no `T`.
    #[inline]
    pub fn get<T: ObjectImpl>(&self) -> Option<&T> {
        if self.level != TypeId::of::<T>() {
            return self.find();
        }
        // SAFETY: see the head of the file: it points to a `T` in the instance of an object that is kept (see `level`; `()` is no `ObjectImpl`).
        Some(unsafe { &*self.part.cast::<T>() })
    }

    #[cold]
    fn find<T: ObjectImpl>(&self) -> Option<&T> {
        self.object.instance::<T>()
    }
}

impl std::fmt::Debug for Typed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Typed({})", self.object.describe())
    }
}

#[cfg(test)]
mod tests {
    use super::{Instance, Typed, level_of};
    use crate::layer::Target;
    use crate::{Container, Init, Machine, ObjectImpl, RootObject};

    struct Base {
        object: RootObject,
        number: u32,
    }
    struct Derived {
        base: Base,
        text: &'static str,
    }
    crate::object_type! { Base("level-base") { object: RootObject } }
    crate::object_type! { Derived("level-derived") { base: Base } }

    impl ObjectImpl for Base {
        fn init(cx: &mut Init<'_>) -> Self {
            Self {
                object: cx.parent(),
                number: 7,
            }
        }
    }
    impl ObjectImpl for Derived {
        fn init(cx: &mut Init<'_>) -> Self {
            Self {
                base: cx.parent(),
                text: "own",
            }
        }
    }

    #[test]
    fn a_typed_pointer_finds_its_part_and_others() {
        let machine = Machine::new("typed");
        let object = machine.create::<Derived>().unwrap();
        let typed = Typed::new::<Base>(&object.pointer().unwrap());
        assert_eq!(typed.get::<Base>().unwrap().number, 7);
        assert!(std::ptr::eq(
            typed.get::<Base>().unwrap(),
            &raw const object.base
        ));
        assert_eq!(typed.get::<Derived>().unwrap().text, "own");
        assert!(typed.get::<Container>().is_none());
        let wrong = Typed::new::<Container>(typed.object());
        assert!(wrong.get::<Container>().is_none());
        assert_eq!(wrong.get::<Derived>().unwrap().text, "own");
        // What it points to stays when the object has ended.
        drop(object);
        machine.quiesce(std::time::Duration::from_secs(10)).unwrap();
        assert!(typed.object().is_finalized());
        assert_eq!(typed.get::<Base>().unwrap().number, 7);
    }

    #[test]
    fn each_level_and_no_other() {
        let machine = Machine::new("levels");
        let object = machine.create::<Derived>().unwrap();
        let instance: &dyn Instance = object.object().any_instance().unwrap();
        let derived = level_of::<Derived>(instance).unwrap();
        assert_eq!((derived.text, derived.base.number), ("own", 7));
        let base = level_of::<Base>(instance).unwrap();
        assert!(std::ptr::eq(base, &raw const derived.base));
        let root = level_of::<RootObject>(instance).unwrap();
        assert!(std::ptr::eq(root, &raw const base.object));
        assert!(level_of::<Container>(instance).is_none());
        let plain = machine.create::<Base>().unwrap();
        let instance = plain.object().any_instance().unwrap();
        assert!(level_of::<Derived>(instance).is_none());
    }
}
