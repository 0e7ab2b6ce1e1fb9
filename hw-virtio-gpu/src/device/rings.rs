//! From the rings to the core and back: pops descriptor chains out of guest RAM, copies them, writes replies and used entries.
//!
//! A chain is copied inside one read section: a command that waits keeps the copy, never a view. What a guest gets wrong in a ring or a chain
//! costs it the device until the next reset, as in QEMU; what it gets wrong in a command costs it an error reply.

use super::mmio::Registers;
use crate::gpu::{Completion, QueueKind, QueuedCommand};
use crate::wire::MemEntry;
use memory::{AddressSpace, Attrs, Gpa};
use memory_rust_vmm::RamView;
use std::sync::atomic::Ordering;
use thiserror::Error;
use virtio_queue::{Queue, QueueOwnedT, QueueT};

/// A ring that cannot be worked on: the device needs a reset.
#[derive(Debug, Error)]
pub(crate) enum RingError {
    /// The ring's addresses or indices make no sense.
    #[error("the {0:?} ring is broken")]
    Ring(QueueKind, #[source] virtio_queue::Error),
    /// The ring does not lie in RAM.
    #[error("the {0:?} ring does not lie in RAM")]
    NotRam(QueueKind),
    /// The ring says that there is a command, and it cannot be read.
    #[error("an entry of the {0:?} ring cannot be read")]
    Entry(QueueKind),
    /// A chain of descriptors that has no end, leads out of RAM or out of its table, or has tables in tables.
    #[error("the chain that begins at descriptor {head} of the {queue:?} ring has no end")]
    Chain {
        /// The queue.
        queue: QueueKind,
        /// The first descriptor.
        head: u16,
    },
    /// A chain that asks for something to be read behind what is to be written, or for too many pieces to be written.
    #[error("the chain that begins at descriptor {head} of the {queue:?} ring is in disorder")]
    Disorder {
        /// The queue.
        queue: QueueKind,
        /// The first descriptor.
        head: u16,
    },
}

/// The index of a queue.
pub(crate) fn index(kind: QueueKind) -> usize {
    match kind {
        QueueKind::Control => 0,
        QueueKind::Cursor => 1,
    }
}

/// The queue of an index.
pub(crate) fn kind(index: usize) -> QueueKind {
    if index == 0 {
        QueueKind::Control
    } else {
        QueueKind::Cursor
    }
}

/// Takes the next command from a queue, if there is one. At most `limit` + 1 bytes of its request are copied: enough to see that it is too long.
pub(crate) fn pop(
    registers: &mut Registers,
    space: &AddressSpace,
    kind: QueueKind,
    limit: usize,
) -> Result<Option<QueuedCommand>, RingError> {
    let queue = &mut registers.queues[index(kind)];
    if !queue.ready() {
        return Ok(None);
    }
    let guard = space.enter();
    let ram = RamView::new(guard.view());
    if !queue.is_valid(&ram) {
        return Err(RingError::NotRam(kind));
    }
    let ring = |e| RingError::Ring(kind, e);
    // ORDERING: Acquire: what the driver wrote before it moved the index is seen behind it (virtio 1.2, 2.7.13).
    let waits = queue.avail_idx(&ram, Ordering::Acquire).map_err(ring)?.0 != queue.next_avail();
    if !waits {
        return Ok(None);
    }
    // Nothing in spite of that is an entry that cannot be read: taking it for an empty ring would have us look again for ever.
    let most = usize::from(queue.size());
    let chain = queue.iter(&ram).map_err(ring)?.next();
    let chain = chain.ok_or(RingError::Entry(kind))?;
    let head = chain.head_index();
    let mut command = QueuedCommand {
        queue: kind,
        head,
        writable: Vec::new(),
        request: Vec::new(),
    };
    let mut goes_on = true;
    // A table of its own may have 65535 descriptors, more than the queue: a long request may come in many pieces. For replies, which are
    // short, and which a held command has to remember, the queue's size is enough.
    for descriptor in chain {
        goes_on = descriptor.has_next();
        let (addr, len) = (descriptor.addr().0, descriptor.len());
        if descriptor.is_write_only() {
            if command.writable.len() == most {
                return Err(RingError::Disorder { queue: kind, head });
            }
            command.writable.push(MemEntry { addr, len });
            continue;
        }
        if !command.writable.is_empty() {
            return Err(RingError::Disorder { queue: kind, head });
        }
        let room = (limit + 1).saturating_sub(command.request.len());
        let take = usize::try_from(len).unwrap_or(usize::MAX).min(room);
        let at = command.request.len();
        command.request.resize(at + take, 0);
        // Bytes that are not RAM read as zeroes: the command is then refused for what it is.
        let result = guard.read(
            Gpa(addr),
            &mut command.request[at..],
            Attrs::PLAIN.with_memory_only(true),
        );
        if !result.is_ok() {
            tracing::warn!(addr, len, %result, "guest error: a request outside RAM");
        }
    }
    // The iterator ends early, and silently, where a chain is broken.
    if goes_on {
        return Err(RingError::Chain { queue: kind, head });
    }
    Ok(Some(command))
}

/// Stops or asks for the guest's notifications; asked: whether something has come meanwhile.
pub(crate) fn notifications(
    queue: &mut Queue,
    space: &AddressSpace,
    kind: QueueKind,
    on: bool,
) -> Result<bool, RingError> {
    if !queue.ready() {
        return Ok(false);
    }
    let guard = space.enter();
    let ram = RamView::new(guard.view());
    let done = if on {
        queue.enable_notification(&ram)
    } else {
        queue.disable_notification(&ram).map(|()| false)
    };
    done.map_err(|e| RingError::Ring(kind, e))
}

/// Writes a reply and its used entry, and says whether the guest wants an interrupt. None: the guest has taken the queue away.
pub(crate) fn complete(
    registers: &mut Registers,
    space: &AddressSpace,
    completion: &Completion,
) -> Result<Option<bool>, RingError> {
    let kind = completion.queue;
    let queue = &mut registers.queues[index(kind)];
    if !queue.ready() {
        return Ok(None);
    }
    let guard = space.enter();
    let mut rest = completion.response.as_slice();
    for entry in &completion.writable {
        let take = usize::try_from(entry.len)
            .unwrap_or(usize::MAX)
            .min(rest.len());
        let (part, behind) = rest.split_at(take);
        rest = behind;
        // The reply goes out before its used entry. A buffer that is no writable RAM loses its part, as on hardware.
        let result = guard.write(Gpa(entry.addr), part, Attrs::PLAIN.with_memory_only(true));
        if !result.is_ok() {
            tracing::warn!(addr = entry.addr, len = entry.len, %result, "guest error: a reply buffer outside RAM");
        }
        if rest.is_empty() {
            break;
        }
    }
    let ram = RamView::new(guard.view());
    let len = u32::try_from(completion.response.len()).unwrap_or(u32::MAX);
    let ring = |e| RingError::Ring(kind, e);
    queue.add_used(&ram, completion.head, len).map_err(ring)?;
    queue.needs_notification(&ram).map(Some).map_err(ring)
}
