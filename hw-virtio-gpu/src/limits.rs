//! What a guest may make the host spend: the limits, and budgets that count against them.

use thiserror::Error;

/// A mebibyte, in bytes.
const MIB: u64 = 1 << 20;

/// Bounds on everything a guest can make grow. Each is a parameter of the device; the defaults suit one desktop guest.
///
/// ```
/// use hw_virtio_gpu::limits::Limits;
/// let limits = Limits { blob_bytes: 64 << 20, ..Limits::default() };
/// assert_eq!(limits.pixel_bytes, 256 << 20);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Resources: those that have an id, and those of before a reset whose memory the guest still reaches. 4096.
    pub resources: usize,
    /// Contexts. 1024.
    pub contexts: usize,
    /// Pairs of a context and a resource attached to it. 65536.
    pub attachments: usize,
    /// Entries of guest backing of all resources, after adjacent ones are joined. 1048576.
    pub backing_entries: usize,
    /// Host bytes for the pixels of 2D resources, for scanout frames and cursors. 256 MiB, as in QEMU.
    pub pixel_bytes: u64,
    /// Bytes of host blobs, each in whole pages, mapped or not, including those of before a reset that still are held. 1 GiB.
    pub blob_bytes: u64,
    /// Commands that are suspended, wait behind one, or wait for a fence. 1024.
    pub held_commands: usize,
    /// Bytes of their requests. 16 MiB.
    pub held_bytes: usize,
    /// Bytes of one request. 1 MiB.
    pub request_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            resources: 4096,
            contexts: 1024,
            attachments: 1 << 16,
            backing_entries: 1 << 20,
            pixel_bytes: 256 * MIB,
            blob_bytes: 1024 * MIB,
            held_commands: 1024,
            held_bytes: 16 << 20,
            request_bytes: 1 << 20,
        }
    }
}

/// A limit that a command would have passed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{asked} more {what} on top of {used} would pass the limit of {limit}")]
pub struct LimitReached {
    /// What is limited.
    pub what: &'static str,
    /// What the command asked for.
    pub asked: u64,
    /// What was in use.
    pub used: u64,
    /// The limit.
    pub limit: u64,
}

/// An amount in use and its limit.
///
/// ```
/// use hw_virtio_gpu::limits::Budget;
/// let mut budget = Budget::new("bytes", 10);
/// budget.charge(10)?;
/// assert!(budget.charge(1).is_err());
/// budget.release(4);
/// assert_eq!(budget.used(), 6);
/// # Ok::<(), hw_virtio_gpu::limits::LimitReached>(())
/// ```
#[derive(Clone, Debug)]
pub struct Budget {
    what: &'static str,
    used: u64,
    limit: u64,
}

impl Budget {
    /// An empty budget for `what`.
    pub const fn new(what: &'static str, limit: u64) -> Self {
        Self {
            what,
            used: 0,
            limit,
        }
    }

    /// Takes `amount`.
    ///
    /// # Errors
    /// [`LimitReached`] where the limit would be passed; nothing is taken then.
    pub fn charge(&mut self, amount: u64) -> Result<(), LimitReached> {
        match self.used.checked_add(amount) {
            Some(sum) if sum <= self.limit => {
                self.used = sum;
                Ok(())
            }
            _ => Err(LimitReached {
                what: self.what,
                asked: amount,
                used: self.used,
                limit: self.limit,
            }),
        }
    }

    /// Gives `amount` back. More than is in use counts as all of it.
    pub fn release(&mut self, amount: u64) {
        debug_assert!(amount <= self.used, "{} given back twice", self.what);
        self.used = self.used.saturating_sub(amount);
    }

    /// What is in use.
    pub fn used(&self) -> u64 {
        self.used
    }
}
