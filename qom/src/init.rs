//! Making an object: what its type's `init` is given.

use crate::class::Class;
use crate::context::{self, Place};
use crate::error::CreateError;
use crate::handle::{Child, Ref};
use crate::instance::Instance;
use crate::machine::MachineInner;
use crate::object::{Object, ObjectImpl};
use crate::panics;
use std::sync::Arc;

/// An object that is being made. `init` makes the parent part with [`Init::parent`] and then its own.
pub struct Init<'a> {
    object: &'a Arc<Object>,
}

impl Init<'_> {
    /// The object that is being made: it can be given children already, but not be shown to anybody.
    pub fn object(&self) -> &Object {
        self.object
    }

    /// The parent type's part of the instance.
    pub fn parent<P: ObjectImpl>(&mut self) -> P {
        P::init(self)
    }

    /// Makes a child called `name` (`name[*]` takes the lowest free index).
    ///
    /// # Errors
    /// The child's type is abstract, its init panicked, or the name is taken.
    pub fn child<T: ObjectImpl>(&mut self, name: &str) -> Result<Child<T>, CreateError> {
        create(
            self.object.machine_inner(),
            Class::of::<T>(),
            Some((self.object, name)),
            Class::of::<T>().init(),
        )
        .map(|o| Ref::<T>::adopt(o).child())
    }
}

/// Makes an object with `init`; the caller owns one user handle's worth of counts.
pub(crate) fn create(
    machine: &Arc<MachineInner>,
    class: &'static Class,
    parent: Option<(&Arc<Object>, &str)>,
    init: impl FnOnce(&mut Init<'_>) -> Box<dyn Instance>,
) -> Result<Arc<Object>, CreateError> {
    if class.is_abstract() {
        return Err(CreateError::Abstract(class.name().into()));
    }
    let object = machine.new_object(class)?;
    // From here on the handle below stands for the counts of a new object: whatever goes wrong, dropping it withdraws
    // the object and all children that its init has made.
    let handle = Ref::<crate::RootObject>::adopt(object.clone());
    let instance = own_code(&object, class.name(), || {
        init(&mut Init { object: &object })
    })?;
    object.set_instance(instance);
    for level in class.levels.iter().rev() {
        if let Some(instance) = object.any_instance() {
            own_code(&object, level.level, || (level.post_init)(instance))?;
        }
    }
    object.set_complete();
    if let Some((parent, name)) = parent {
        crate::tree::add_child(parent, name.into(), &object).map_err(|source| {
            CreateError::Place {
                type_name: class.name(),
                source,
            }
        })?;
    }
    Ok(handle.into_raw())
}

/// Runs the code of an object that is being made.
fn own_code<R>(
    object: &Object,
    type_name: &'static str,
    f: impl FnOnce() -> R,
) -> Result<R, CreateError> {
    let _inside = context::enter_code(Place::Hook, object.id());
    panics::catch(f).map_err(|panic| CreateError::Panicked {
        type_name,
        message: panics::message_of(panic),
    })
}
