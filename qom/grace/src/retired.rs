//! What has been retired, and how many bytes of it there still are.
//!
//! ORDERING: `bytes` and `waiting` are a store-buffer pair: who frees bytes writes `bytes` and then reads `waiting`, who waits writes `waiting` and then
//! reads `bytes`. Both are `SeqCst`, so at least one of the two sees the other and no wake-up is lost. `items` is a number for people.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use crate::lock::{Condvar, Mutex};

/// Counts what is retired and not yet disposed of. Outlives the domain as long as something retired does.
#[derive(Debug, Default)]
pub(crate) struct Account {
    items: AtomicU64,
    bytes: AtomicU64,
    waiting: AtomicUsize,
    lock: Mutex<()>,
    room: Condvar,
}

impl Account {
    pub(crate) fn items(&self) -> u64 {
        self.items.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }

    fn open(&self, bytes: u64) {
        self.items.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    fn close(&self, bytes: u64) {
        self.items.fetch_sub(1, Ordering::Relaxed);
        // ORDERING: sequentially consistent with `wait_until`, which counts itself before it reads the bytes: one of
        // the two sees the other.
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock());
            self.room.notify_all();
        }
    }

    /// Waits until no more than `limit` bytes are retired, or until `deadline`. Whether it is so.
    pub(crate) fn wait_until(&self, limit: u64, deadline: Instant) -> bool {
        if self.bytes() <= limit {
            return true;
        }
        let mut held = self.lock.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let enough = loop {
            if self.bytes() <= limit {
                break true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break false;
            }
            held = self.room.wait_for(held, left);
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        drop(held);
        enough
    }
}

/// What is to happen after the grace period.
enum Payload {
    Drop(Box<dyn Send>),
    /// A count on a value that others may have, too: in no block of memory of its own.
    Release(Arc<dyn Send + Sync>),
    Call(Box<dyn FnOnce() + Send>),
}

impl Payload {
    fn dispose(self) {
        match self {
            Self::Drop(item) => drop(item),
            Self::Release(item) => drop(item),
            Self::Call(f) => f(),
        }
    }
}

/// Something that was retired: a value to drop or a function to call, once no reader can see it any more.
///
/// It counts as retired until it is disposed of, by [`run`](Self::run) or by being dropped; both do the same work.
pub struct Retired {
    payload: Option<Payload>,
    bytes: u64,
    what: &'static str,
    inert: bool,
    account: Arc<Account>,
}

impl Retired {
    pub(crate) fn value(
        account: &Arc<Account>,
        bytes: u64,
        what: &'static str,
        item: Box<dyn Send>,
    ) -> Self {
        Self::new(account, bytes, what, Payload::Drop(item))
    }

    pub(crate) fn count(
        account: &Arc<Account>,
        bytes: u64,
        what: &'static str,
        item: Arc<dyn Send + Sync>,
        inert: bool,
    ) -> Self {
        let mut this = Self::new(account, bytes, what, Payload::Release(item));
        this.inert = inert;
        this
    }

    pub(crate) fn call(
        account: &Arc<Account>,
        bytes: u64,
        what: &'static str,
        f: Box<dyn FnOnce() + Send>,
    ) -> Self {
        Self::new(account, bytes, what, Payload::Call(f))
    }

    fn new(account: &Arc<Account>, bytes: u64, what: &'static str, payload: Payload) -> Self {
        account.open(bytes);
        Self {
            payload: Some(payload),
            bytes,
            what,
            inert: false,
            account: Arc::clone(account),
        }
    }

    /// Disposes of it: drops the value, or calls the function.
    ///
    /// # Panics
    /// If the value's `Drop` or the function panics. The bytes are given back all the same.
    pub fn run(mut self) {
        if let Some(payload) = self.payload.take() {
            payload.dispose();
        }
    }

    /// How many bytes it was said to hold when it was retired.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether disposing of it runs nobody's code, so that any thread may do it anywhere; see
    /// [`Published::swap_inert`](crate::Published::swap_inert).
    pub fn is_inert(&self) -> bool {
        self.inert
    }

    /// What it was called when it was retired.
    pub fn what(&self) -> &'static str {
        self.what
    }
}

impl Drop for Retired {
    fn drop(&mut self) {
        if let Some(payload) = self.payload.take() {
            // A panic must not leave here: this may run while a batch is being dropped after another panic.
            let outcome = catch_unwind(AssertUnwindSafe(|| payload.dispose()));
            if outcome.is_err() {
                tracing::error!(what = self.what, "disposing of a retired item panicked");
            }
        }
        self.account.close(self.bytes);
    }
}

impl fmt::Debug for Retired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retired")
            .field("what", &self.what)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
