//! The deleted notification: told when a device that was realized has been finalized, whoever delayed that.

use parking_lot::Mutex;
use qom::layer::{Target, machine_of};
use qom::{Child, MachineHandle};
use std::sync::Arc;

/// A device has been finalized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The path that it had when it was realized.
    pub path: String,
    /// Its type.
    pub type_name: &'static str,
}

type Subscriber = Arc<dyn Fn(&Deleted) + Send + Sync>;

#[derive(Default)]
struct Subscribers {
    next: u64,
    all: Vec<(u64, Subscriber)>,
}

#[derive(Clone, Default)]
struct DeletedState(Arc<Mutex<Subscribers>>);

/// Calls `f` on the executor for each device of the machine that has been realized once and is finalized, until the result is dropped.
///
/// Source: QEMU's `DEVICE_DELETED` event.
pub fn on_deleted(
    machine: &MachineHandle,
    f: impl Fn(&Deleted) + Send + Sync + 'static,
) -> DeletedSubscription {
    let state = (*machine.extension(DeletedState::default)).clone();
    let id = {
        let mut subscribers = state.0.lock();
        subscribers.next += 1;
        let id = subscribers.next;
        subscribers.all.push((id, Arc::new(f)));
        id
    };
    DeletedSubscription { state, id }
}

/// Ends the subscription when it is dropped.
#[must_use]
pub struct DeletedSubscription {
    state: DeletedState,
    id: u64,
}

impl Drop for DeletedSubscription {
    fn drop(&mut self) {
        self.state.0.lock().all.retain(|(id, _)| *id != self.id);
    }
}

pub(crate) fn tell(device: &Child<crate::Device>, path: &str) {
    let Ok(object) = device.pointer() else { return };
    let deleted = Deleted {
        path: path.to_owned(),
        type_name: object.class().name(),
    };
    let state = machine_of(&object).extension(DeletedState::default);
    let all: Vec<Subscriber> = state.0.lock().all.iter().map(|(_, f)| f.clone()).collect();
    for f in all {
        f(&deleted);
    }
}
