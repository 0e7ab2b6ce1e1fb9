//! What can go wrong, operation by operation; each error names both parties.

use crate::context::Place;
use std::time::Duration;

/// A type could not be registered or found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypeError {
    /// Two Rust types claim one name.
    #[error("type name `{name}` of `{new}` is taken by `{old}`")]
    NameTaken {
        /// The name.
        name: String,
        /// The Rust type that has it.
        old: &'static str,
        /// The Rust type that wants it.
        new: &'static str,
    },
    /// The name breaks QOM's rule: letters, digits, `-`, `_`, `.`; first a letter or a digit other than 0; two or more.
    #[error("`{name}` of `{rust}` is no legal type name")]
    IllegalName {
        /// The name.
        name: String,
        /// The Rust type that wants it.
        rust: &'static str,
    },
    /// A type's class is being built and needs itself: its `class_init` names its own type, or one that inherits from it.
    #[error("type `{name}` needs itself while its class is being built")]
    Recursive {
        /// The name.
        name: String,
    },
    /// Nobody registered this name.
    #[error("no type `{name}` is registered")]
    Unknown {
        /// The name asked for.
        name: String,
    },
}

/// An object could not be created.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The type has no instances of its own.
    #[error("type `{0}` is abstract")]
    Abstract(String),
    /// The type is unknown.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// The machine has been closed.
    #[error("machine `{machine}` is closed: no new `{type_name}`")]
    MachineClosed {
        /// The machine.
        machine: String,
        /// The type of the object.
        type_name: &'static str,
    },
    /// The type's init or post-init panicked; nothing is left of the object.
    #[error("init of `{type_name}` panicked: {message}")]
    Panicked {
        /// The type of the object.
        type_name: &'static str,
        /// The panic's message.
        message: String,
    },
    /// The new object could not be put where it was meant to go.
    #[error("new `{type_name}` could not be placed")]
    Place {
        /// The type of the object.
        type_name: &'static str,
        /// Why not.
        #[source]
        source: TreeError,
    },
}

/// A change of the object tree, or something opened in an object's name, was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The parent (or holder) has been withdrawn.
    #[error("{parent} is withdrawn and takes no {child}")]
    ParentWithdrawn {
        /// Path of the parent.
        parent: String,
        /// What was to be added: its name there, quoted, and which object it is; or what was to be opened or linked, quoted.
        child: String,
    },
    /// The child has been withdrawn.
    #[error("{child} is withdrawn and cannot be added to {parent}")]
    ChildWithdrawn {
        /// Path of the parent.
        parent: String,
        /// Path of the child.
        child: String,
    },
    /// The child has a parent.
    #[error("{child} cannot be added to {parent}: its parent is {current}")]
    HasParent {
        /// Path of the child.
        child: String,
        /// Path of the parent asked for.
        parent: String,
        /// Path of the parent that it has.
        current: String,
    },
    /// The parent has a child of this name.
    #[error("{parent} already has a child `{name}`")]
    NameTaken {
        /// Path of the parent.
        parent: String,
        /// The name.
        name: String,
    },
    /// The name is empty or has a `/`.
    #[error("`{name}` is no legal child name under {parent}")]
    IllegalName {
        /// Path of the parent.
        parent: String,
        /// The name.
        name: String,
    },
    /// Parent and child are in two machines.
    #[error(
        "{child} of machine `{child_machine}` cannot join {parent} of machine `{parent_machine}`"
    )]
    OtherMachine {
        /// Path of the parent.
        parent: Box<str>,
        /// Its machine.
        parent_machine: Box<str>,
        /// Path of the child.
        child: Box<str>,
        /// Its machine.
        child_machine: Box<str>,
    },
    /// The parent is below the child.
    #[error("{child} cannot be added to {parent}, which is below it")]
    Loop {
        /// Path of the parent.
        parent: String,
        /// Path of the child.
        child: String,
    },
    /// The object is still being initialised; introspection must leave no trace.
    #[error("{holder} is still in init and opens no {what}")]
    DuringInit {
        /// Path of the object.
        holder: String,
        /// What was to be opened or joined.
        what: String,
    },
    /// The object is gone.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// Unparenting is not possible here.
    #[error("{object} cannot be unparented from {place}")]
    Forbidden {
        /// Path of the object.
        object: String,
        /// Where the caller is.
        place: Place,
    },
}

/// A handle's object is withdrawn or gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object} is {state}")]
pub struct Gone {
    /// Path or description of the object.
    pub object: String,
    /// `withdrawn`, `finalized` or `gone`.
    pub state: &'static str,
}

/// A cast failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object} of type `{actual}` is no `{wanted}`")]
pub struct CastError {
    /// Path of the object.
    pub object: String,
    /// The type it has.
    pub actual: &'static str,
    /// The type asked for.
    pub wanted: &'static str,
}

/// A wait was refused or ran out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The caller stands where what it waits for may be waiting for it.
    #[error("waiting for {what} inside {place}")]
    Forbidden {
        /// What was waited for.
        what: String,
        /// Where the caller is.
        place: Place,
    },
    /// The time ran out.
    #[error("{what} did not happen within {waited:?}: held up by {holder}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
        /// Who is in the way, as far as it is known.
        holder: String,
    },
}

/// A property could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PropertyError {
    /// No such property.
    #[error("property `{type_name}.{property}` not found")]
    NotFound {
        /// The object's type.
        type_name: &'static str,
        /// The property.
        property: String,
    },
    /// The property has no getter, or no setter.
    #[error("property `{type_name}.{property}` is not {access}")]
    NoAccess {
        /// The object's type.
        type_name: &'static str,
        /// The property.
        property: String,
        /// `readable` or `writable`.
        access: &'static str,
    },
    /// The value has another type.
    #[error("property `{type_name}.{property}` expects {expected}, got {got}")]
    WrongType {
        /// The object's type.
        type_name: &'static str,
        /// The property.
        property: String,
        /// What it takes.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// The setter refused the value, or the time for setting is over.
    #[error("property `{type_name}.{property}` of {object}: {reason}")]
    Refused {
        /// The object's type.
        type_name: &'static str,
        /// The property.
        property: String,
        /// Path of the object.
        object: String,
        /// Why.
        reason: String,
    },
}
