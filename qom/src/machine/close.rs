//! The machine as a value, and its end: closing it and waiting, or dropping it.

use super::wait::{Help, Hurry, deadline};
use super::{MachineBuilder, MachineHandle, MachineInner};
use crate::container::Container;
use crate::error::WaitError;
use crate::handle::{Child, Ref};
use crate::panics;
use crate::ticket::Ticket;
use crate::withdraw;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A machine: owns its root object, executor and reclaimer. Dropping it closes it in the background; [`Machine::close`]
/// waits for that.
///
/// ```
/// use qom::Machine;
/// use std::time::Duration;
///
/// let machine = Machine::new("board");
/// assert_eq!(machine.root().get()?.object().path().as_deref(), Some("/machine"));
/// machine.close(Duration::from_secs(5)).map_err(|(_, error)| error)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Machine {
    pub(super) handle: MachineHandle,
    pub(super) root: Child<Container>,
    pub(super) root_handle: Option<Ref<Container>>,
}

impl Machine {
    /// A machine with an executor thread and the defaults.
    ///
    /// # Panics
    /// Where the executor's thread cannot be started.
    pub fn new(name: &str) -> Self {
        Self::builder(name).build()
    }

    /// For a machine with other settings.
    pub fn builder(name: &str) -> MachineBuilder {
        MachineBuilder::new(name)
    }

    /// The root object, `/machine`.
    pub fn root(&self) -> &Child<Container> {
        &self.root
    }

    /// The machine's handle.
    pub fn handle(&self) -> &MachineHandle {
        &self.handle
    }

    fn begin_close(&mut self) -> Ticket {
        let inner = &self.handle.0;
        // ORDERING: SeqCst, against `new_object`: either that sees the machine closed, or whoever looks for the last object
        // sees the new one.
        inner.closed.store(true, Ordering::SeqCst);
        // By name, as others may hold handles to the root.
        let ticket = self
            .root
            .pointer_opt()
            .and_then(|root| withdraw::close_root(&root).or_else(|| root.withdrawal().cloned()));
        self.root_handle = None;
        inner.executor.wake();
        ticket.unwrap_or_else(|| Ticket::finished(inner.name.as_str().into()))
    }

    /// Withdraws the root and everything below it, waits until all objects are finalized and all that was retired is dropped, and ends
    /// the machine's threads. Subscribers and the layers' own state go, too.
    ///
    /// Objects that were never given a parent are not below the root: they are in the way as long as somebody holds them.
    ///
    /// # Errors
    /// The machine, and who keeps something alive where that takes longer than `timeout` (a pin, a handle); or that this is no place
    /// to wait. The machine goes on closing and can be asked again.
    pub fn close(mut self, timeout: Duration) -> Result<(), (Self, WaitError)> {
        let ticket = self.begin_close();
        match self.finish_close(&ticket, timeout) {
            Ok(()) => Ok(()),
            Err(error) => Err((self, error)),
        }
    }

    fn finish_close(&mut self, ticket: &Ticket, timeout: Duration) -> Result<(), WaitError> {
        let inner = &self.handle.0;
        let what = || format!("the end of machine `{}`", inner.name);
        if let Some(place) = inner.waiting_forbidden() {
            return Err(WaitError::Forbidden {
                what: what(),
                place,
            });
        }
        let start = Instant::now();
        let deadline = deadline(start, timeout);
        let timed_out = |holder| WaitError::TimedOut {
            what: what(),
            waited: start.elapsed(),
            holder,
        };
        let wait_for = |done: &dyn Fn() -> bool| {
            inner.help_until(deadline, Help::IfEmbedded, done, |until| {
                let mut finalized = inner.finalized.lock();
                if inner.live_objects() != 0 {
                    inner.finalized_one.wait_until(&mut finalized, until);
                } else {
                    drop(finalized);
                    std::thread::sleep(until.saturating_duration_since(Instant::now()).min(POLL));
                }
            });
            done()
        };
        let _hurry = Hurry::begin(inner);
        ticket.wait_until(inner, deadline, Help::IfEmbedded);
        if !ticket.is_done() {
            return Err(timed_out(inner.busy_with()));
        }
        if !wait_for(&|| inner.live_objects() == 0) {
            return Err(timed_out(self.holders()));
        }
        inner.drop_extensions();
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        if let Err(error) = inner.domain.shutdown(left) {
            return Err(timed_out(super::wait::grace_holder(&error)));
        }
        if !wait_for(&|| inner.executor.is_idle()) {
            return Err(timed_out(inner.busy_with()));
        }
        inner.end();
        if !inner.executor.join(deadline) {
            return Err(timed_out(inner.busy_with()));
        }
        Ok(())
    }

    /// Nobody will drive the machine from now on. Whether there is a thread that does.
    fn start_thread_for_the_rest(&self) -> bool {
        let inner = &self.handle.0;
        let started = inner.executor.start_thread(&inner.name);
        if let Err(error) = &started {
            tracing::error!(machine = %inner.name, %error, "no thread to close the machine in the background");
        }
        started.is_ok()
    }

    /// Who is in the way of the end, as far as it is known.
    fn holders(&self) -> String {
        let why: Vec<String> = self
            .handle
            .objects()
            .iter()
            .take(4)
            .map(|o| self.handle.why_alive(o).to_string())
            .collect();
        if why.is_empty() {
            self.handle.0.busy_with()
        } else {
            why.join("; ")
        }
    }
}

/// How often a close looks whether the executor is idle, once all objects are gone.
const POLL: Duration = Duration::from_micros(200);

impl MachineInner {
    /// Nothing is alive: lets go of whatever could keep the machine's memory, and ends the executor.
    pub(crate) fn end(&self) {
        // ORDERING: Release pairs with the Acquire in `extension` and in `Machine::drop`.
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        self.drop_extensions();
        let subscribers = self.subscribers.swap(Arc::default());
        if let Err(panic) = panics::catch(|| drop(subscribers)) {
            let panic = panics::message_of(panic);
            tracing::error!(panic, "dropping a subscriber panicked");
        }
        self.executor.stop();
        tracing::debug!(machine = %self.name, "machine ended");
    }

    fn drop_extensions(&self) {
        let extensions = std::mem::take(&mut *self.extensions.lock());
        if let Err(panic) = panics::catch(|| drop(extensions)) {
            let panic = panics::message_of(panic);
            tracing::error!(panic, "dropping a layer's state panicked");
        }
    }
}

impl std::ops::Deref for Machine {
    type Target = MachineHandle;
    fn deref(&self) -> &MachineHandle {
        &self.handle
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let inner = self.handle.0.clone();
        // ORDERING: Acquire, see `end`.
        if inner.ended.load(Ordering::Acquire) {
            return;
        }
        let _withdrawal = self.begin_close();
        let has_thread = !inner.executor.is_embedded()
            || (inner.live_objects() > 0 && self.start_thread_for_the_rest());
        if has_thread {
            // Somebody may keep a handle of the machine; the reclaimer ends all the same.
            let domain = inner.domain.clone();
            inner.executor.say_farewell(Box::new(move || {
                if domain.is_reclaiming()
                    && let Err(error) = domain.shutdown(Some(READERS_LEAVE))
                {
                    tracing::warn!(%error, "the reclaimer of a dropped machine goes on");
                }
            }));
        }
        // ORDERING: SeqCst, against `one_less`: either that sees that it has to end the machine, or the last object is
        // gone for us, too.
        inner.abandoned.store(true, Ordering::SeqCst);
        if inner.live_objects() == 0 {
            inner.end();
        }
    }
}

/// How long the end of a dropped machine waits for readers that are still there. After that its reclaimer stays until the machine's last
/// handle goes.
const READERS_LEAVE: Duration = Duration::from_secs(10);

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.handle.fmt(f)
    }
}
