//! The driver's side of a split virtqueue in guest RAM (virtio 1.2, section 2.7).

use std::collections::HashMap;
use std::sync::atomic::{Ordering, fence};

use memory::{AddressSpace, Attrs, Gpa, MemTxError};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
/// Bytes of a descriptor.
const DESCRIPTOR: u64 = 16;

/// A stretch of guest memory in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where.
    pub(super) addr: u64,
    /// Bytes.
    pub(super) len: u32,
    /// Whether the device writes it.
    pub(super) writable: bool,
}

/// What the device did wrong, or what the driver cannot do.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The ring does not lie in RAM any more.
    #[error("the ring at {at:#x}")]
    Memory {
        /// Where.
        at: u64,
        /// What the access came to.
        #[source]
        source: MemTxError,
    },
    /// All descriptors are in use.
    #[error("no {0} descriptors are free")]
    Full(usize),
    /// A chain was reported used that is not with the device.
    #[error("the device reports chain {0} used, which it does not have")]
    Unknown(u32),
    /// More was reported used than was made available.
    #[error("the device reports {0} chains used, and has {1}")]
    TooMany(u16, usize),
}

/// Bytes of the three parts of a queue of that size, each to begin at a page.
pub(super) fn part_bytes(size: u16) -> [u64; 3] {
    let size = u64::from(size);
    [size * DESCRIPTOR, 6 + 2 * size, 6 + 8 * size]
}

/// One queue.
#[derive(Debug)]
pub(super) struct DriverQueue {
    size: u16,
    /// Descriptor table, available ring, used ring.
    parts: [u64; 3],
    free: Vec<u16>,
    /// Chains with the device: head, and all descriptors of each.
    chains: HashMap<u16, Vec<u16>>,
    available: u16,
    seen: u16,
    event_idx: bool,
}

impl DriverQueue {
    /// A queue in memory that reads as zeroes.
    pub(super) fn new(size: u16, parts: [u64; 3], event_idx: bool) -> Self {
        Self {
            size,
            parts,
            free: (0..size).rev().collect(),
            chains: HashMap::new(),
            available: 0,
            seen: 0,
            event_idx,
        }
    }

    /// Where descriptor table, available ring and used ring are.
    pub(super) fn parts(&self) -> [u64; 3] {
        self.parts
    }

    /// Its number of descriptors.
    pub(super) fn size(&self) -> u16 {
        self.size
    }

    /// Makes a chain available; `table` is where an indirect one's table goes. Gives its head.
    pub(super) fn submit(
        &mut self,
        space: &AddressSpace,
        segments: &[Segment],
        table: Option<u64>,
    ) -> Result<u16, RingError> {
        let wanted = if table.is_some() { 1 } else { segments.len() };
        if self.free.len() < wanted || wanted == 0 {
            return Err(RingError::Full(wanted));
        }
        let used = self.free.split_off(self.free.len() - wanted);
        let head = used[0];
        if let Some(table) = table {
            let numbers: Vec<u16> = (0..).take(segments.len()).collect();
            write_chain(space, table, segments, &numbers)?;
            let bytes = u32::try_from(segments.len() * 16).unwrap_or(u32::MAX);
            let entry = descriptor(table, bytes, INDIRECT, 0);
            write(space, self.parts[0] + u64::from(head) * DESCRIPTOR, &entry)?;
        } else {
            write_chain(space, self.parts[0], segments, &used)?;
        }
        self.chains.insert(head, used);
        let slot = u64::from(self.available % self.size);
        write(space, self.parts[1] + 4 + 2 * slot, &head.to_le_bytes())?;
        self.available = self.available.wrapping_add(1);
        if self.event_idx {
            // An interrupt for each used entry from here on.
            let event = self.parts[1] + 4 + 2 * u64::from(self.size);
            write(space, event, &self.seen.to_le_bytes())?;
        }
        // ORDERING: Release: who sees the new index sees the chain. SeqCst against the device, which looks at the index after it has
        // asked for notifications.
        fence(Ordering::SeqCst);
        let stored = space.store(
            Gpa(self.parts[1] + 2),
            self.available.to_le(),
            Attrs::default(),
        );
        stored.map_err(|source| RingError::Memory {
            at: self.parts[1] + 2,
            source,
        })?;
        fence(Ordering::SeqCst);
        Ok(head)
    }

    /// The next chain that the device is done with: its head, and how many bytes it wrote.
    pub(super) fn poll(&mut self, space: &AddressSpace) -> Result<Option<(u16, u32)>, RingError> {
        let at = self.parts[2] + 2;
        let index = space.load::<u16>(Gpa(at), Attrs::default());
        let index = u16::from_le(index.map_err(|source| RingError::Memory { at, source })?);
        let news = index.wrapping_sub(self.seen);
        if news == 0 {
            return Ok(None);
        }
        if usize::from(news) > self.chains.len() {
            return Err(RingError::TooMany(news, self.chains.len()));
        }
        // ORDERING: Acquire: the entry and the reply were written before the index.
        fence(Ordering::Acquire);
        let at = self.parts[2] + 4 + 8 * u64::from(self.seen % self.size);
        let mut entry = [0; 8];
        read(space, at, &mut entry)?;
        let [a, b, c, d, e, f, g, h] = entry;
        let (id, len) = (
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
        );
        let head = u16::try_from(id).map_err(|_| RingError::Unknown(id))?;
        let descriptors = self.chains.remove(&head).ok_or(RingError::Unknown(id))?;
        self.free.extend(descriptors);
        self.seen = self.seen.wrapping_add(1);
        if self.event_idx {
            let event = self.parts[1] + 4 + 2 * u64::from(self.size);
            write(space, event, &self.seen.to_le_bytes())?;
        }
        Ok(Some((head, len)))
    }
}

fn descriptor(addr: u64, len: u32, flags: u16, next: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[0..8].copy_from_slice(&addr.to_le_bytes());
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    bytes[12..14].copy_from_slice(&flags.to_le_bytes());
    bytes[14..16].copy_from_slice(&next.to_le_bytes());
    bytes
}

/// Writes the segments as linked descriptors with these numbers into the table at `table`.
fn write_chain(
    space: &AddressSpace,
    table: u64,
    segments: &[Segment],
    numbers: &[u16],
) -> Result<(), RingError> {
    for (i, segment) in segments.iter().enumerate() {
        let next = numbers.get(i + 1).copied();
        let flags =
            if next.is_some() { NEXT } else { 0 } | if segment.writable { WRITE } else { 0 };
        let entry = descriptor(segment.addr, segment.len, flags, next.unwrap_or(0));
        write(space, table + u64::from(numbers[i]) * DESCRIPTOR, &entry)?;
    }
    Ok(())
}

fn write(space: &AddressSpace, at: u64, bytes: &[u8]) -> Result<(), RingError> {
    let done = space.write(Gpa(at), bytes, Attrs::default()).ok();
    done.map_err(|source| RingError::Memory { at, source })
}

fn read(space: &AddressSpace, at: u64, bytes: &mut [u8]) -> Result<(), RingError> {
    let done = space.read(Gpa(at), bytes, Attrs::default()).ok();
    done.map_err(|source| RingError::Memory { at, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use memory::{Backing, Offset, Priority, Region, RegionApi, Size};
    use qom::Machine;

    fn ram(machine: &Machine) -> AddressSpace {
        let root = Region::container("root", Size::new(0x1_0000))
            .create(machine.root())
            .unwrap();
        let bytes = Backing::anonymous(0x1_0000).unwrap();
        let ram = Region::ram("ram", bytes).create(machine.root()).unwrap();
        root.add_subregion(Offset(0), &ram, Priority(0)).unwrap();
        AddressSpace::open(machine.root(), "memory", &root).unwrap()
    }

    const TWO: [Segment; 2] = [
        Segment {
            addr: 0x8000,
            len: 24,
            writable: false,
        },
        Segment {
            addr: 0x9000,
            len: 64,
            writable: true,
        },
    ];

    #[test]
    fn chains_are_laid_out_as_the_specification_says() {
        let machine = Machine::new("ring");
        let space = ram(&machine);
        let mut queue = DriverQueue::new(4, [0x1000, 0x2000, 0x3000], false);
        let direct = queue.submit(&space, &TWO, None).unwrap();
        let indirect = queue.submit(&space, &TWO, Some(0x4000)).unwrap();
        let mut bytes = [0; 16];
        read(&space, 0x1000 + u64::from(direct) * 16, &mut bytes).unwrap();
        let [.., a, b] = bytes;
        let second = u16::from_le_bytes([a, b]);
        assert_eq!(bytes, descriptor(0x8000, 24, NEXT, second));
        read(&space, 0x1000 + u64::from(second) * 16, &mut bytes).unwrap();
        assert_eq!(bytes, descriptor(0x9000, 64, WRITE, 0));
        read(&space, 0x1000 + u64::from(indirect) * 16, &mut bytes).unwrap();
        assert_eq!(bytes, descriptor(0x4000, 32, INDIRECT, 0));
        read(&space, 0x4010, &mut bytes).unwrap();
        assert_eq!(bytes, descriptor(0x9000, 64, WRITE, 0));
        assert!(matches!(
            queue.submit(&space, &TWO, None),
            Err(RingError::Full(2))
        ));
        let mut ring = [0; 8];
        read(&space, 0x2000, &mut ring).unwrap();
        assert_eq!(ring[2..4], 2_u16.to_le_bytes());
        assert_eq!(ring[4..6], direct.to_le_bytes());
        assert_eq!(ring[6..8], indirect.to_le_bytes());
    }

    #[test]
    fn what_the_device_invents_is_an_error() {
        let machine = Machine::new("ring");
        let space = ram(&machine);
        let mut queue = DriverQueue::new(4, [0x1000, 0x2000, 0x3000], true);
        assert!(matches!(queue.poll(&space), Ok(None)));
        let head = queue.submit(&space, &TWO, None).unwrap();
        write(&space, 0x3002, &2_u16.to_le_bytes()).unwrap();
        assert!(matches!(queue.poll(&space), Err(RingError::TooMany(2, 1))));
        write(&space, 0x3004, &[9, 0, 0, 0, 24, 0, 0, 0]).unwrap();
        write(&space, 0x3002, &1_u16.to_le_bytes()).unwrap();
        assert!(matches!(queue.poll(&space), Err(RingError::Unknown(9))));
        write(&space, 0x3004, &u32::from(head).to_le_bytes()).unwrap();
        assert_eq!(queue.poll(&space).unwrap(), Some((head, 24)));
        assert_eq!(queue.free.len(), 4, "its descriptors are free again");
        let mut event = [0; 2];
        read(&space, 0x2000 + 4 + 8, &mut event).unwrap();
        assert_eq!(event, 1_u16.to_le_bytes(), "an interrupt for the next one");
    }
}
