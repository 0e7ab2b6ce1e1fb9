//! A guest's driver of a virtio-gpu: finds the device behind its registers, sets up rings in guest RAM, sends commands and collects replies. Like a
//! guest it knows nothing but the address space.
//!
//! [`Guest`] is the driver, [`Interrupt`] its end of the line. The replay of traces and the laboratory of lifetimes drive the device with it.

mod arena;
mod error;
mod line;
mod ring;

pub use error::GuestError;
pub use line::Interrupt;
pub use ring::RingError;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memory::{AddressSpace, Attrs, Gpa};

use crate::trace::Queue;
use arena::Arena;
use ring::{DriverQueue, Segment, part_bytes};

/// The registers of virtio-mmio, version 2 (virtio 1.2, section 4.2.2).
mod register {
    pub(super) const MAGIC: u64 = 0x000;
    pub(super) const VERSION: u64 = 0x004;
    pub(super) const DEVICE_ID: u64 = 0x008;
    pub(super) const DEVICE_FEATURES: u64 = 0x010;
    pub(super) const DEVICE_FEATURES_SEL: u64 = 0x014;
    pub(super) const DRIVER_FEATURES: u64 = 0x020;
    pub(super) const DRIVER_FEATURES_SEL: u64 = 0x024;
    pub(super) const QUEUE_SEL: u64 = 0x030;
    pub(super) const QUEUE_SIZE_MAX: u64 = 0x034;
    pub(super) const QUEUE_SIZE: u64 = 0x038;
    pub(super) const QUEUE_READY: u64 = 0x044;
    pub(super) const QUEUE_NOTIFY: u64 = 0x050;
    pub(super) const INTERRUPT_STATUS: u64 = 0x060;
    pub(super) const INTERRUPT_ACK: u64 = 0x064;
    pub(super) const STATUS: u64 = 0x070;
    /// Descriptor table, available ring, used ring: low halves; high ones 4 behind.
    pub(super) const QUEUE_PARTS: [u64; 3] = [0x080, 0x090, 0x0a0];
    pub(super) const SHM_SEL: u64 = 0x0ac;
    pub(super) const SHM_LEN: u64 = 0x0b0;
    pub(super) const SHM_BASE: u64 = 0x0b8;
    pub(super) const CONFIG_GENERATION: u64 = 0x0fc;
    pub(super) const CONFIG: u64 = 0x100;
}

/// The host-visible shared memory region of a virtio-gpu.
const SHM_HOST_VISIBLE: u32 = 1;
const EVENT_IDX: u64 = 1 << 29;
/// Bits of the device status.
const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
/// The interrupt status says that the configuration changed.
pub const CONFIG_CHANGED: u32 = 2;

/// A reply; empty where the command's chain has no room for one.
#[derive(Debug)]
pub struct Reply {
    /// The queue.
    pub queue: Queue,
    /// The number that [`Guest::submit`] gave to the command.
    pub number: u64,
    /// The bytes that the device says it wrote.
    pub bytes: Vec<u8>,
    /// From when the command was submitted until the reply was seen.
    pub took: Duration,
}

/// A chain with the device.
#[derive(Debug)]
struct Chain {
    number: u64,
    memory: u64,
    writable: Vec<Segment>,
    submitted: Instant,
}

/// The driver of one device. One thread.
///
/// ```
/// use holdfast_examples::guest::{Guest, Interrupt};
/// use holdfast_examples::trace::Queue;
/// use hw_virtio_gpu::VirtioGpu;
/// use hw_virtio_gpu::wire::{Command, Header, Request, Response};
/// use memory::{AddressSpace, Backing, Offset, Priority, Region, RegionApi, Size};
/// use qdev::DeviceOps;
/// use qom::{Machine, ObjectOps};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// let machine = Machine::new("doc");
/// let system = Region::container("system", Size::MAX).create(machine.root())?;
/// let memory = AddressSpace::open(machine.root(), "memory", &system)?;
/// let ram = Region::ram("ram", Backing::anonymous(1 << 20)?).create(machine.root())?;
/// let line: Arc<Interrupt> = Arc::default();
/// let gpu = VirtioGpu::builder().memory(&memory).line(line.clone()).create(&machine)?;
/// machine.root().add_child("gpu", &gpu)?;
/// gpu.realize()?;
/// system.add_subregion(Offset(0), &ram, Priority(0))?;
/// system.add_subregion(Offset(0xfe00_0000), gpu.regs(), Priority(0))?;
///
/// let mut guest = Guest::new(&memory, 0xfe00_0000, (0, 1 << 20), [64, 16], &line);
/// guest.probe()?;
/// guest.bring_up(1 << 32)?;
/// let request = Request::new(Header::default(), Command::GetDisplayInfo).encode();
/// let sent = guest.send(Queue::Control, &request, 1024)?;
/// line.wait(Duration::from_secs(20)).ok_or("no interrupt")?;
/// guest.acknowledge()?;
/// let reply = guest.poll()?.ok_or("no reply")?;
/// assert_eq!(reply.number, sent);
/// assert!(matches!(Response::parse(&reply.bytes)?.1, Response::DisplayInfo(_)));
/// # drop(guest);
/// gpu.unparent()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Guest {
    space: AddressSpace,
    registers: u64,
    arena: Arena,
    line: Arc<Interrupt>,
    sizes: [u16; 2],
    accepted: u64,
    queues: [Option<DriverQueue>; 2],
    chains: HashMap<(Queue, u16), Chain>,
    next_number: u64,
}

impl Guest {
    /// A driver for the device whose registers are at `registers`; it may use `memory` (first address and length) for itself. Its queues will have
    /// so many entries. Touches nothing.
    pub fn new(
        space: &AddressSpace,
        registers: u64,
        memory: (u64, u64),
        sizes: [u16; 2],
        line: &Arc<Interrupt>,
    ) -> Self {
        Self {
            space: space.clone(),
            registers,
            arena: Arena::new(memory.0, memory.1),
            line: line.clone(),
            sizes,
            accepted: 0,
            queues: [None, None],
            chains: HashMap::new(),
            next_number: 0,
        }
    }

    fn read(&self, register: u64) -> Result<u32, GuestError> {
        let value = self
            .space
            .load(Gpa(self.registers + register), Attrs::default());
        value.map_err(|source| GuestError::Register { register, source })
    }

    fn write(&self, register: u64, value: u32) -> Result<(), GuestError> {
        let done = self
            .space
            .store(Gpa(self.registers + register), value, Attrs::default());
        done.map_err(|source| GuestError::Register { register, source })
    }

    fn read_pair(&self, low: u64) -> Result<u64, GuestError> {
        Ok(u64::from(self.read(low)?) | u64::from(self.read(low + 4)?) << 32)
    }

    fn write_pair(&self, low: u64, value: u64) -> Result<(), GuestError> {
        let (low_half, high_half) = halves(value);
        self.write(low, low_half)?;
        self.write(low + 4, high_half)
    }

    fn expect(&self, what: &'static str, register: u64, expected: u32) -> Result<(), GuestError> {
        let actual = self.read(register)?;
        if actual == expected {
            return Ok(());
        }
        Err(GuestError::Reads {
            what,
            actual: u64::from(actual),
            expected: u64::from(expected),
        })
    }

    /// Whether there is a virtio-gpu behind the registers.
    ///
    /// # Errors
    /// The registers cannot be reached, or are somebody else's.
    pub fn probe(&self) -> Result<(), GuestError> {
        self.expect(
            "the magic value",
            register::MAGIC,
            u32::from_le_bytes(*b"virt"),
        )?;
        self.expect("the transport's version", register::VERSION, 2)?;
        self.expect("the device's type", register::DEVICE_ID, 16)
    }

    /// What the device offers.
    ///
    /// # Errors
    /// The registers cannot be reached.
    pub fn features(&self) -> Result<u64, GuestError> {
        self.write(register::DEVICE_FEATURES_SEL, 0)?;
        let low = self.read(register::DEVICE_FEATURES)?;
        self.write(register::DEVICE_FEATURES_SEL, 1)?;
        let high = self.read(register::DEVICE_FEATURES)?;
        Ok(u64::from(low) | u64::from(high) << 32)
    }

    /// Base and length of the host-visible window, as the device says.
    ///
    /// # Errors
    /// The registers cannot be reached.
    pub fn window(&self) -> Result<(u64, u64), GuestError> {
        self.write(register::SHM_SEL, SHM_HOST_VISIBLE)?;
        Ok((
            self.read_pair(register::SHM_BASE)?,
            self.read_pair(register::SHM_LEN)?,
        ))
    }

    /// Writes the device's status, with all that a driver does before: features, queues. A reset takes effect at once, and nothing
    /// more is heard of chains that were with the device: gives their numbers.
    ///
    /// # Errors
    /// The registers cannot be reached or do not take it, or the driver's memory is too small for the queues.
    pub fn set_status(&mut self, value: u8, features: Option<u64>) -> Result<Vec<u64>, GuestError> {
        if let Some(features) = features {
            let (low, high) = halves(features);
            self.write(register::DRIVER_FEATURES_SEL, 0)?;
            self.write(register::DRIVER_FEATURES, low)?;
            self.write(register::DRIVER_FEATURES_SEL, 1)?;
            self.write(register::DRIVER_FEATURES, high)?;
            self.accepted = features;
        }
        if value & DRIVER_OK != 0 && self.queues[0].is_none() {
            self.make_queues()?;
        }
        self.write(register::STATUS, u32::from(value))?;
        self.expect("the status", register::STATUS, u32::from(value))?;
        if value != 0 {
            return Ok(Vec::new());
        }
        self.accepted = 0;
        for queue in self.queues.iter_mut().filter_map(Option::take) {
            for part in queue.parts() {
                self.arena.give(part);
            }
        }
        let lost: Vec<Chain> = self.chains.drain().map(|(_, chain)| chain).collect();
        for chain in &lost {
            self.arena.give(chain.memory);
        }
        Ok(lost.into_iter().map(|chain| chain.number).collect())
    }

    /// Resets the device and brings it up with these features.
    ///
    /// # Errors
    /// The device, or what is in its place, does not do as virtio 1.2, section 3.1.1 says.
    pub fn bring_up(&mut self, features: u64) -> Result<(), GuestError> {
        let known = ACKNOWLEDGE | DRIVER;
        for (status, features) in [
            (0, None),
            (ACKNOWLEDGE, None),
            (known, None),
            (known | FEATURES_OK, Some(features)),
            (known | FEATURES_OK | DRIVER_OK, None),
        ] {
            self.set_status(status, features)?;
        }
        Ok(())
    }

    fn make_queues(&mut self) -> Result<(), GuestError> {
        for (index, size) in (0_u32..).zip(self.sizes) {
            self.write(register::QUEUE_SEL, index)?;
            self.expect("the readiness of a fresh queue", register::QUEUE_READY, 0)?;
            let most = self.read(register::QUEUE_SIZE_MAX)?;
            if most < u32::from(size) {
                return Err(GuestError::Reads {
                    what: "the largest size of a queue",
                    actual: u64::from(most),
                    expected: u64::from(size),
                });
            }
            let mut parts = [0; 3];
            for (part, bytes) in parts.iter_mut().zip(part_bytes(size)) {
                *part = self.take(bytes)?;
                let zeroes = vec![0; usize::try_from(bytes).unwrap_or(0)];
                self.fill(*part, &zeroes)?;
            }
            self.write(register::QUEUE_SIZE, u32::from(size))?;
            for (register, part) in register::QUEUE_PARTS.into_iter().zip(parts) {
                self.write_pair(register, part)?;
            }
            self.write(register::QUEUE_READY, 1)?;
            self.expect("the readiness of a queue", register::QUEUE_READY, 1)?;
            let event_idx = self.accepted & EVENT_IDX != 0;
            self.queues[index as usize] = Some(DriverQueue::new(size, parts, event_idx));
        }
        Ok(())
    }

    fn take(&mut self, bytes: u64) -> Result<u64, GuestError> {
        self.arena.take(bytes).ok_or(GuestError::NoRoom(bytes))
    }

    /// Writes guest memory.
    ///
    /// # Errors
    /// No memory is there, or not so much.
    pub fn fill(&self, at: u64, bytes: &[u8]) -> Result<(), GuestError> {
        let done = self.space.write(Gpa(at), bytes, Attrs::default()).ok();
        done.map_err(|source| GuestError::Memory { at, source })
    }

    /// Reads the device's config space; what was read while it changed is read again.
    ///
    /// # Errors
    /// The registers cannot be reached.
    pub fn read_config(&self, offset: u64, len: usize) -> Result<Vec<u8>, GuestError> {
        let mut bytes = vec![0; len];
        loop {
            let generation = self.read(register::CONFIG_GENERATION)?;
            let at = self.registers + register::CONFIG + offset;
            let done = self.space.read(Gpa(at), &mut bytes, Attrs::default()).ok();
            let register = register::CONFIG + offset;
            done.map_err(|source| GuestError::Register { register, source })?;
            if self.read(register::CONFIG_GENERATION)? == generation {
                return Ok(bytes);
            }
        }
    }

    /// Writes the device's config space.
    ///
    /// # Errors
    /// The registers cannot be reached.
    pub fn write_config(&self, offset: u64, data: &[u8]) -> Result<(), GuestError> {
        let register = register::CONFIG + offset;
        let done = self
            .space
            .write(Gpa(self.registers + register), data, Attrs::default());
        done.ok()
            .map_err(|source| GuestError::Register { register, source })
    }

    /// Sends a command: places its request and room for its reply in memory of the driver's, cut into descriptors of these lengths and
    /// directions, and notifies the device. Gives the command's number.
    ///
    /// # Errors
    /// No room in the driver's memory or the queue, or there is no queue yet.
    pub fn submit(
        &mut self,
        queue: Queue,
        request: &[u8],
        descriptors: &[(u32, bool)],
        indirect: bool,
    ) -> Result<u64, GuestError> {
        let lengths: u64 = descriptors.iter().map(|(len, _)| u64::from(*len)).sum();
        let table = 16 * descriptors.len() as u64;
        let memory = self.take(table + lengths)?;
        let mut at = memory + table;
        let mut segments = Vec::with_capacity(descriptors.len());
        let mut rest = request;
        for &(len, writable) in descriptors {
            let part = if writable {
                // What the device does not write stays as it is, and is seen.
                vec![0xee; len as usize]
            } else {
                let (part, behind) = rest.split_at(rest.len().min(len as usize));
                rest = behind;
                part.to_vec()
            };
            self.fill(at, &part)?;
            segments.push(Segment {
                addr: at,
                len,
                writable,
            });
            at += u64::from(len);
        }
        let index = queue_index(queue);
        let ring = self.queues[index].as_mut().ok_or(GuestError::NoQueue)?;
        let head = ring.submit(&self.space, &segments, indirect.then_some(memory))?;
        segments.retain(|s| s.writable);
        let number = self.next_number;
        self.next_number += 1;
        let chain = Chain {
            number,
            memory,
            writable: segments,
            submitted: Instant::now(),
        };
        self.chains.insert((queue, head), chain);
        self.write(register::QUEUE_NOTIFY, u32::from(index != 0))?;
        Ok(number)
    }

    /// Sends a command as one readable descriptor, and one with room for `room` bytes of a reply where that is not 0. Gives the command's number.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn send(&mut self, queue: Queue, request: &[u8], room: u32) -> Result<u64, GuestError> {
        let len = u32::try_from(request.len()).unwrap_or(u32::MAX);
        let all = [(len, false), (room, true)];
        let descriptors = if room == 0 { &all[..1] } else { &all[..] };
        self.submit(queue, request, descriptors, false)
    }

    /// How many more chains of one descriptor fit into a queue.
    pub fn room(&self, queue: Queue) -> usize {
        let with_device = self.chains.keys().filter(|(q, _)| *q == queue).count();
        let size = self.queues[queue_index(queue)]
            .as_ref()
            .map_or(0, DriverQueue::size);
        usize::from(size) - with_device.min(usize::from(size))
    }

    /// Collects the next reply, if there is one.
    ///
    /// # Errors
    /// The device reports what it does not have, or its ring cannot be reached.
    pub fn poll(&mut self) -> Result<Option<Reply>, GuestError> {
        for queue in [Queue::Control, Queue::Cursor] {
            let Some(ring) = &mut self.queues[queue_index(queue)] else {
                continue;
            };
            let Some((head, written)) = ring.poll(&self.space)? else {
                continue;
            };
            let seen = Instant::now();
            let Some(chain) = self.chains.remove(&(queue, head)) else {
                return Err(RingError::Unknown(u32::from(head)).into());
            };
            let bytes = self.collect(&chain.writable, written)?;
            self.arena.give(chain.memory);
            return Ok(Some(Reply {
                queue,
                number: chain.number,
                bytes,
                took: seen.duration_since(chain.submitted),
            }));
        }
        Ok(None)
    }

    /// The first `written` bytes of a chain's writable part; fewer where it has not so many.
    fn collect(&self, writable: &[Segment], written: u32) -> Result<Vec<u8>, GuestError> {
        let mut bytes = Vec::new();
        for segment in writable {
            let left = written as usize - bytes.len().min(written as usize);
            let mut part = vec![0; left.min(segment.len as usize)];
            let at = segment.addr;
            let done = self.space.read(Gpa(at), &mut part, Attrs::default()).ok();
            done.map_err(|source| GuestError::Memory { at, source })?;
            bytes.extend(part);
        }
        Ok(bytes)
    }

    /// The reasons of the interrupt, acknowledged; 0 where the line is low.
    ///
    /// # Errors
    /// The registers cannot be reached.
    pub fn acknowledge(&self) -> Result<u32, GuestError> {
        if !self.line.is_high() {
            return Ok(0);
        }
        let reasons = self.read(register::INTERRUPT_STATUS)?;
        self.write(register::INTERRUPT_ACK, reasons)?;
        Ok(reasons)
    }
}

fn queue_index(queue: Queue) -> usize {
    match queue {
        Queue::Control => 0,
        Queue::Cursor => 1,
    }
}

fn halves(value: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    (
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    )
}
