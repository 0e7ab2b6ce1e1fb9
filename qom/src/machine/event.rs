//! What a machine tells of: withdrawals, finalizations, panics; and whoever listens.

use super::{MachineHandle, MachineInner};
use crate::context::{self, Place};
use crate::object::{Object, ObjectId};
use crate::panics;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// Something that happened in a machine. Told on the thread on which it happened, outside every lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MachineEvent {
    /// A withdrawal is complete: all hooks have run.
    Withdrawn {
        /// The object that was unparented, or whose last handle went.
        id: ObjectId,
        /// The path it had.
        path: String,
    },
    /// An object has been finalized: the deleted notification.
    Finalized {
        /// The object.
        id: ObjectId,
        /// The path it had when it was withdrawn.
        path: String,
        /// Its type.
        type_name: &'static str,
    },
    /// A hook, a handle's close, a listener or a finalizer panicked; the rest went on.
    Panicked {
        /// The object.
        object: String,
        /// Which code.
        what: String,
        /// The panic's text.
        message: String,
    },
}

pub(super) type Subscriber = Arc<dyn Fn(&MachineEvent) + Send + Sync>;

impl MachineInner {
    /// Tells of an event, which is put into words where somebody listens.
    pub(crate) fn emit(&self, event: impl FnOnce() -> MachineEvent) {
        let subscribers = self.subscribers.load();
        if subscribers.is_empty() {
            return;
        }
        let event = event();
        let _inside = context::enter(Place::Subscriber);
        for (_, subscriber) in subscribers.iter() {
            if let Err(panic) = panics::catch(|| subscriber(&event)) {
                let panic = panics::message_of(panic);
                tracing::error!(panic, "a machine event's subscriber panicked");
            }
        }
    }

    /// Reports a caught panic of an object's code.
    pub(crate) fn panicked(&self, object: &Object, what: &str, message: String) {
        let object = object.describe();
        tracing::error!(object, what, message, "panicked");
        self.emit(|| MachineEvent::Panicked {
            object,
            what: what.to_owned(),
            message,
        });
    }
}

impl MachineHandle {
    /// Calls `f` for each event, until the result is dropped. `f` runs on the thread on which the event happened, outside every lock
    /// of the machine, and may not wait there.
    pub fn subscribe(&self, f: impl Fn(&MachineEvent) + Send + Sync + 'static) -> Subscription {
        let id = self.0.next_subscriber.fetch_add(1, Ordering::Relaxed);
        let f: Subscriber = Arc::new(f);
        self.0.subscribers.rcu(|all| {
            let mut all = Vec::clone(all);
            all.push((id, f.clone()));
            all
        });
        Subscription {
            machine: Arc::downgrade(&self.0),
            id,
        }
    }

    /// Tells a machine event's subscribers that a layer caught a panic.
    pub fn report_panic(&self, object: String, what: String, message: String) {
        self.0.emit(|| MachineEvent::Panicked {
            object,
            what,
            message,
        });
    }
}

/// A subscription to a machine's events; ends when it is dropped.
#[must_use]
pub struct Subscription {
    /// Weak: a subscription that is kept somewhere keeps no machine.
    machine: Weak<MachineInner>,
    id: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(machine) = self.machine.upgrade() else {
            return;
        };
        machine.subscribers.rcu(|all| {
            let mut all = Vec::clone(all);
            all.retain(|(id, _)| *id != self.id);
            all
        });
    }
}
