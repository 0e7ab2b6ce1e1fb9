//! A reader that stays in its read section until it is told to let a grace period pass.
//!
//! The product's grace periods end by themselves, as soon as nobody reads. With this reader inside they end when a step says so.

use super::PATIENCE;
use qom::MachineHandle;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// A thread that is in a read section of a machine whenever nobody talks to it.
pub(crate) struct Reader {
    machine: MachineHandle,
    orders: Option<Sender<()>>,
    done: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// A reader that is in its section when this returns.
    pub(crate) fn enter(machine: &MachineHandle) -> Self {
        let (orders, ordered) = channel();
        let (tell, done) = channel();
        let domain = machine.domain().clone();
        let thread = std::thread::spawn(move || {
            loop {
                let section = domain.enter();
                // To enter, and to leave: each is an order that is answered once it is done.
                if tell.send(()).is_err() || ordered.recv().is_err() {
                    return;
                }
                drop(section);
                if tell.send(()).is_err() || ordered.recv().is_err() {
                    return;
                }
            }
        });
        let reader = Self {
            machine: machine.clone(),
            orders: Some(orders),
            done,
            thread: Some(thread),
        };
        reader.answer();
        reader
    }

    /// Leaves, waits until all that was retired so far has passed its grace period and waits for the executor, and enters again.
    pub(crate) fn pass(&self) {
        self.order();
        self.machine
            .domain()
            .barrier(Some(PATIENCE))
            .expect("nobody else reads");
        self.order();
    }

    fn order(&self) {
        if let Some(orders) = &self.orders {
            orders.send(()).expect("the reader is there");
        }
        self.answer();
    }

    fn answer(&self) {
        self.done
            .recv_timeout(PATIENCE)
            .expect("the reader answers");
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A reader has nothing to panic about; if it did, its section has ended all the same.
            let _ = thread.join();
        }
    }
}
