//! An instance of any type, and the part of it that belongs to one type of its hierarchy.
#![expect(
    unsafe_code,
    reason = "the checked cast on the path of every device access"
)]
// Soundness: one unsafe step is in `level_of`: it turns what `Levels::level` gave into a reference. `level` gives null, or the address of
// a part whose type is the one asked for: the trait is in a private module and has one implementation, below, which compares the type's identity
// with its own before it gives its own address. What `parent` lends it lends for as long as the instance is
// lent to it, so the part lives as long as the borrow of the instance.
// What `part` says of the address it gives holds because an instance is set once, in a box of its own, and is taken out again only by whoever has the
// last pointer to the object (`Object::take_instance` asks for the object itself).
// (Why not `Any`: its answer comes back as two halves through memory and is read as a whole, which stalls the processor at each access.)

use crate::object::{Object, ObjectImpl, RootObject};
use std::any::{Any, TypeId};
use std::ptr::{self, NonNull};
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

/// Where the part of an object that belongs to `T` is; none while it is being made, or where the object is no `T`. It stays there, and can be read, for as long as a
/// pointer to the object exists, also when the object has ended: for whoever calls that part back at each access.
pub fn part<T: ObjectImpl>(object: &Arc<Object>) -> Option<NonNull<T>> {
    object.instance::<T>().map(NonNull::from)
}

#[cfg(test)]
mod tests {
    use super::{Instance, level_of, part};
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
    fn a_part_is_found_by_its_type_and_stays_where_it_is() {
        let machine = Machine::new("part");
        let object = machine.create::<Derived>().unwrap();
        let pointer = object.pointer().unwrap();
        let base = part::<Base>(&pointer).unwrap();
        assert!(std::ptr::eq(base.as_ptr(), &raw const object.base));
        assert_eq!(
            part::<Derived>(&pointer).unwrap().as_ptr().cast_const(),
            &raw const *object
        );
        assert!(part::<Container>(&pointer).is_none());
        // It stays when the object has ended.
        drop(object);
        machine.quiesce(std::time::Duration::from_secs(10)).unwrap();
        assert!(pointer.is_finalized());
        assert_eq!(part::<Base>(&pointer), Some(base));
        assert_eq!(pointer.instance::<Base>().unwrap().number, 7);
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
