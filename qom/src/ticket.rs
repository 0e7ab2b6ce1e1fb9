//! The progress of a withdrawal, for whoever asked for it: to be polled, awaited, or waited for.

use crate::error::WaitError;
use crate::machine::{Help, MachineInner, deadline};
use crate::panics;
use crate::withdraw::Withdrawal;
use once_cell::sync::OnceCell;
use parking_lot::{Condvar, Mutex};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The progress of one withdrawal: can be polled, awaited, or waited for. Any thread.
///
/// ```
/// # use qom::{Container, Machine, ObjectOps};
/// # use std::time::Duration;
/// let machine = Machine::new("tickets");
/// let object = machine.create::<Container>()?;
/// machine.root().add_child("box", &object)?;
/// let ticket = object.unparent_async()?;       // the hooks run on the executor
/// ticket.wait(Duration::from_secs(5))?;
/// assert!(ticket.is_done());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Ticket {
    state: Arc<TicketState>,
    /// None: there was nothing to do.
    machine: Option<Arc<MachineInner>>,
}

struct TicketState {
    object: Arc<str>,
    /// What is under way; gone once it is done.
    // Set in one thread and read in others with perhaps nothing else between them; a race detector sees through this cell.
    withdrawal: OnceCell<Weak<Withdrawal>>,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    done: bool,
    wakers: Vec<Waker>,
}

impl Ticket {
    pub(crate) fn new(machine: &Arc<MachineInner>, object: Arc<str>) -> Self {
        Self::make(Some(machine.clone()), object, false)
    }

    /// A withdrawal with nothing to do.
    pub(crate) fn finished(object: Arc<str>) -> Self {
        Self::make(None, object, true)
    }

    fn make(machine: Option<Arc<MachineInner>>, object: Arc<str>, done: bool) -> Self {
        let progress = Mutex::new(Progress {
            done,
            wakers: Vec::new(),
        });
        Self {
            state: Arc::new(TicketState {
                object,
                withdrawal: OnceCell::new(),
                progress,
                changed: Condvar::new(),
            }),
            machine,
        }
    }

    /// Says which withdrawal it is for. Under the tree lock, before anybody else sees the ticket.
    pub(crate) fn leads_to(&self, withdrawal: &Arc<Withdrawal>) {
        let fresh = self.state.withdrawal.set(Arc::downgrade(withdrawal));
        debug_assert!(fresh.is_ok(), "a ticket is for one withdrawal");
    }

    /// The withdrawal, while it is under way.
    pub(crate) fn withdrawal(&self) -> Option<Arc<Withdrawal>> {
        self.state.withdrawal.get()?.upgrade()
    }

    /// The path of the object that was withdrawn.
    pub(crate) fn object(&self) -> &Arc<str> {
        &self.state.object
    }

    /// Whether every hook has run and the tree edges are gone. (The finalizers come when nobody holds the objects any more.)
    pub fn is_done(&self) -> bool {
        self.state.progress.lock().done
    }

    /// Waits until it is done. The caller holds no lock that a hook takes, of this object or of one that was withdrawn before:
    /// withdrawals end in the order in which they began.
    ///
    /// # Errors
    /// The caller is inside a read section, a hook, a finalizer, a listener, a transaction or on the executor; or the time ran out.
    pub fn wait(&self, timeout: Duration) -> Result<(), WaitError> {
        let Some(machine) = &self.machine else {
            return Ok(());
        };
        let what = || format!("the withdrawal of {}", self.state.object);
        if self.is_done() {
            return Ok(());
        }
        if let Some(place) = machine.waiting_forbidden() {
            return Err(WaitError::Forbidden {
                what: what(),
                place,
            });
        }
        let start = Instant::now();
        self.wait_until(machine, deadline(start, timeout), Help::IfEmbedded);
        if self.is_done() {
            return Ok(());
        }
        Err(WaitError::TimedOut {
            what: what(),
            waited: start.elapsed(),
            holder: machine.busy_with(),
        })
    }

    pub(crate) fn wait_until(&self, machine: &MachineInner, deadline: Option<Instant>, help: Help) {
        machine.help_until(
            deadline,
            help,
            || self.is_done(),
            |until| {
                let mut progress = self.state.progress.lock();
                if !progress.done {
                    self.state.changed.wait_until(&mut progress, until);
                }
            },
        );
    }

    pub(crate) fn finish(&self) {
        let wakers = {
            let mut progress = self.state.progress.lock();
            progress.done = true;
            std::mem::take(&mut progress.wakers)
        };
        self.state.changed.notify_all();
        for waker in wakers {
            // A waker is the embedder's code.
            if let Err(panic) = panics::catch(|| waker.wake()) {
                let panic = panics::message_of(panic);
                tracing::error!(object = %self.state.object, panic, "a waker panicked");
            }
        }
    }
}

impl Future for Ticket {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut progress = self.state.progress.lock();
        if progress.done {
            return Poll::Ready(());
        }
        if !progress.wakers.iter().any(|w| w.will_wake(&waker)) {
            progress.wakers.push(waker);
        }
        Poll::Pending
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticket({}, done: {})", self.state.object, self.is_done())
    }
}
