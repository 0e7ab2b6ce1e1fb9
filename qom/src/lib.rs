//! Objects with types, parents, two counts and a withdrawal: who keeps whom alive.
//!
//! An object has a type with single inheritance ([`ObjectType`], [`ObjectImpl`], [`object_type!`]), a place in the tree of its
//! [`Machine`], and two counts: user handles ([`Ref`]) and storage. It is *withdrawn* when it is unparented, with everything below
//! it, or when its last user handle goes while it has no parent: what leads to it is cut, what was opened in its name is closed, its
//! hooks run. It is *finalized*, once, on the machine's executor, when nothing counts on it any more. The ledger
//! ([`MachineHandle::why_alive`]) names whoever does.
//!
//! ```
//! use qom::{Init, Machine, ObjectImpl, ObjectOps, RootObject};
//! use std::time::Duration;
//!
//! struct Lamp { object: RootObject }
//! qom::object_type! { Lamp("doc-lamp") { object: RootObject } }
//! impl ObjectImpl for Lamp {
//!     fn init(cx: &mut Init<'_>) -> Self { Self { object: cx.parent() } }
//!     fn unparent(&self) { println!("lamp withdrawn") }
//!     fn finalize(&self) { println!("lamp finalized") }
//! }
//!
//! let machine = Machine::new("room");
//! let lamp = machine.create::<Lamp>()?;
//! machine.root().add_child("lamp", &lamp)?;
//! assert_eq!(lamp.path().as_deref(), Some("/machine/lamp"));
//!
//! let weak = lamp.downgrade();
//! lamp.unparent()?;                       // hooks have run
//! assert!(weak.get().is_err());           // nobody gets a new handle
//! drop(lamp);                             // the last one: finalized on the executor
//! machine.wait_finalized(&weak, Duration::from_secs(5))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Reading order: `counts` (the word), `object`, `class`, `init`, `handle`, `tree`, `withdraw`, `ticket`, `executor`, `tracker`, `machine`,
//! `ledger`.

mod sync;

mod by_age;
mod class;
mod container;
mod context;
mod counts;
pub mod error;
mod executor;
mod handle;
mod hold;
mod init;
mod instance;
pub mod layer;
pub mod ledger;
mod machine;
mod name;
mod object;
mod opened;
mod ops;
mod panics;
mod property;
mod ticket;
mod tracker;
mod tree;
mod withdraw;
mod withdrawn;

#[doc(hidden)]
pub use class::ClassCell;
pub use class::{Class, ClassData, ClassInit, class_named, classes, register};
pub use container::Container;
pub use context::Place;
pub use counts::CountsNow;
pub use error::{CastError, CreateError, Gone, PropertyError, TreeError, TypeError, WaitError};
pub use executor::Wake;
pub use handle::{Child, Ref, WeakRef};
pub use init::Init;
pub use instance::Instance;
pub use ledger::{Graph, GraphEdge, GraphNode, NodeKind, Reason, WhyAlive};
pub use machine::{
    Counters, Machine, MachineBuilder, MachineEvent, MachineHandle, Pending, Subscription,
};
pub use object::{Object, ObjectId, ObjectImpl, ObjectType, RootObject};
pub use opened::{Handle, HandleId};
pub use ops::ObjectOps;
pub use property::{Property, PropertyType, Value};
pub use qom_grace as grace;
pub use ticket::Ticket;
