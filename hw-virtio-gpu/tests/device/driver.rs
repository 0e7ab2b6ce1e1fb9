//! A guest's driver: virtio-mmio version 2 and split rings, by accesses to the address space and nothing else.

use hw_virtio_gpu::wire::{Command, CreateBlob, ErrorCode, Header, MemEntry, Request, Response};
use memory::{AddressSpace, Attrs, Gpa};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Longer than anything takes that works.
pub(crate) const LONG: Duration = Duration::from_mins(1);
/// Long enough for what must not happen to happen.
pub(crate) const SHORT: Duration = Duration::from_millis(30);

pub(crate) const VIRGL: u64 = 1;
pub(crate) const BLOB: u64 = 1 << 3;
pub(crate) const INDIRECT: u64 = 1 << 28;
pub(crate) const EVENT_IDX: u64 = 1 << 29;
pub(crate) const VERSION_1: u64 = 1 << 32;
/// What Linux accepts.
pub(crate) const LINUX: u64 = 0x0001_3000_001b;

pub(crate) mod reg {
    pub(crate) const DEVICE_FEATURES: u64 = 0x010;
    pub(crate) const DEVICE_FEATURES_SEL: u64 = 0x014;
    pub(crate) const DRIVER_FEATURES: u64 = 0x020;
    pub(crate) const DRIVER_FEATURES_SEL: u64 = 0x024;
    pub(crate) const QUEUE_SEL: u64 = 0x030;
    pub(crate) const QUEUE_NUM_MAX: u64 = 0x034;
    pub(crate) const QUEUE_NUM: u64 = 0x038;
    pub(crate) const QUEUE_READY: u64 = 0x044;
    pub(crate) const NOTIFY: u64 = 0x050;
    pub(crate) const INTERRUPT: u64 = 0x060;
    pub(crate) const ACK: u64 = 0x064;
    pub(crate) const STATUS: u64 = 0x070;
    pub(crate) const DESC: u64 = 0x080;
    pub(crate) const AVAIL: u64 = 0x090;
    pub(crate) const USED: u64 = 0x0a0;
    pub(crate) const SHM_SEL: u64 = 0x0ac;
    pub(crate) const SHM_LEN: u64 = 0x0b0;
    pub(crate) const SHM_BASE: u64 = 0x0b8;
    pub(crate) const GENERATION: u64 = 0x0fc;
    pub(crate) const CONFIG: u64 = 0x100;
}

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const TABLE: u16 = 4;

/// Waits until something is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < LONG, "never: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// One queue as its driver keeps it.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(crate) size: u16,
    pub(crate) desc: u64,
    pub(crate) avail: u64,
    pub(crate) used: u64,
    buffers: u64,
    avail_idx: u16,
    used_seen: u16,
    free: Vec<u16>,
}

/// Bytes of a command's place in RAM: request, reply, table.
const SLOT: u64 = 0x3000;

impl Ring {
    fn new(base: u64, size: u16) -> Self {
        Self {
            size,
            desc: base,
            avail: base + 0x2000,
            used: base + 0x3000,
            buffers: base + 0x5000,
            avail_idx: 0,
            used_seen: 0,
            free: (0..size / 2).rev().map(|i| i * 2).collect(),
        }
    }

    /// Where the request of the command with this first descriptor is.
    pub(crate) fn request(&self, head: u16) -> u64 {
        self.buffers + u64::from(head / 2) * SLOT
    }
}

/// A command that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sent {
    pub(crate) queue: usize,
    pub(crate) head: u16,
}

/// The driver of one device.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) memory: AddressSpace,
    regs: u64,
    ram: u64,
    pub(crate) rings: [Ring; 2],
    /// Whether requests go through tables of their own.
    pub(crate) indirect: bool,
    /// Used entries that nobody has asked for yet.
    seen: HashMap<Sent, u32>,
}

impl Driver {
    /// A driver for the registers at `regs`, with a mebibyte of RAM of its own at `ram`. Touches nothing.
    pub(crate) fn new(memory: &AddressSpace, regs: u64, ram: u64) -> Self {
        Self {
            memory: memory.clone(),
            regs,
            ram,
            rings: Self::rings(ram),
            indirect: false,
            seen: HashMap::new(),
        }
    }

    fn rings(ram: u64) -> [Ring; 2] {
        [Ring::new(ram, 64), Ring::new(ram + 0x8_0000, 16)]
    }

    #[track_caller]
    pub(crate) fn read(&self, register: u64) -> u32 {
        let value = self
            .memory
            .load(Gpa(self.regs + register), Attrs::default());
        value.expect("a register")
    }

    #[track_caller]
    pub(crate) fn write(&self, register: u64, value: u32) {
        let done = self
            .memory
            .store(Gpa(self.regs + register), value, Attrs::default());
        done.expect("a register");
    }

    pub(crate) fn write64(&self, register: u64, value: u64) {
        self.write(register, low(value));
        self.write(register + 4, low(value >> 32));
    }

    #[track_caller]
    pub(crate) fn poke(&self, addr: u64, bytes: &[u8]) {
        let result = self.memory.write(Gpa(addr), bytes, Attrs::default());
        assert!(result.is_ok(), "RAM at {addr:#x}: {result}");
    }

    #[track_caller]
    pub(crate) fn peek(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let result = self.memory.read(Gpa(addr), &mut bytes, Attrs::default());
        assert!(result.is_ok(), "RAM at {addr:#x}: {result}");
        bytes
    }

    #[track_caller]
    pub(crate) fn peek16(&self, addr: u64) -> u16 {
        self.memory.load(Gpa(addr), Attrs::default()).expect("RAM")
    }

    pub(crate) fn offered(&self) -> u64 {
        let half = |sel| {
            self.write(reg::DEVICE_FEATURES_SEL, sel);
            u64::from(self.read(reg::DEVICE_FEATURES))
        };
        half(0) | half(1) << 32
    }

    pub(crate) fn accept(&self, features: u64) {
        for sel in [0, 1] {
            self.write(reg::DRIVER_FEATURES_SEL, sel);
            self.write(reg::DRIVER_FEATURES, low(features >> (32 * sel)));
        }
    }

    /// Resets the device and forgets everything; the status must read 0 at once.
    #[track_caller]
    pub(crate) fn reset(&mut self) {
        self.write(reg::STATUS, 0);
        assert_eq!(self.read(reg::STATUS), 0, "the status reads 0 at once");
        self.rings = Self::rings(self.ram);
        self.seen.clear();
    }

    /// Brings the device up from whatever it is in.
    #[track_caller]
    pub(crate) fn bring_up(&mut self, features: u64) {
        self.reset();
        self.write(reg::STATUS, 1);
        self.write(reg::STATUS, 3);
        self.accept(features);
        self.write(reg::STATUS, 0xb);
        assert_eq!(self.read(reg::STATUS), 0xb, "the features are accepted");
        self.indirect = features & INDIRECT != 0;
        self.set_up(0);
        self.set_up(1);
        self.write(reg::STATUS, 0xf);
    }

    /// Tells the device where a queue is.
    pub(crate) fn set_up(&self, queue: u32) {
        let ring = &self.rings[queue as usize];
        self.poke(ring.desc, &vec![0; 0x5000]);
        self.write(reg::QUEUE_SEL, queue);
        assert_eq!(self.read(reg::QUEUE_READY), 0);
        assert!(self.read(reg::QUEUE_NUM_MAX) >= u32::from(ring.size));
        self.write(reg::QUEUE_NUM, u32::from(ring.size));
        self.write64(reg::DESC, ring.desc);
        self.write64(reg::AVAIL, ring.avail);
        self.write64(reg::USED, ring.used);
        self.write(reg::QUEUE_READY, 1);
        assert_eq!(self.read(reg::QUEUE_READY), 1);
    }

    /// Writes a descriptor of a table.
    pub(crate) fn descriptor(&self, at: u64, addr: u64, len: u32, flags: u16, next: u16) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&addr.to_le_bytes());
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        self.poke(at, &bytes);
    }

    /// Makes a chain available, and does not say so.
    pub(crate) fn offer(&mut self, queue: usize, head: u16) {
        let ring = &mut self.rings[queue];
        let at = ring.avail + 4 + 2 * u64::from(ring.avail_idx % ring.size);
        ring.avail_idx = ring.avail_idx.wrapping_add(1);
        let (idx_at, idx) = (ring.avail + 2, ring.avail_idx);
        self.poke(at, &head.to_le_bytes());
        self.poke(idx_at, &idx.to_le_bytes());
    }

    pub(crate) fn kick(&self, queue: usize) {
        self.write(reg::NOTIFY, low(queue as u64));
    }

    /// Puts a request into a ring without a kick. The reply has room for `room` bytes.
    #[track_caller]
    pub(crate) fn put(&mut self, queue: usize, request: &[u8], room: u32) -> Sent {
        assert!(request.len() <= 0x1000, "a driver with small buffers");
        let ring = &mut self.rings[queue];
        let head = ring.free.pop().expect("a free descriptor");
        let (at, desc) = (ring.request(head), ring.desc);
        self.poke(at, request);
        let len = u32::try_from(request.len()).expect("small");
        let (table, first, second) = if self.indirect {
            self.descriptor(desc + 16 * u64::from(head), at + 0x2000, 32, TABLE, 0);
            (at + 0x2000, 0, 1)
        } else {
            (desc, head, head + 1)
        };
        let place = |i: u16| table + 16 * u64::from(i);
        if room == 0 {
            self.descriptor(place(first), at, len, 0, 0);
        } else {
            self.descriptor(place(first), at, len, NEXT, second);
            self.descriptor(place(second), at + 0x1000, room, WRITE, 0);
        }
        self.offer(queue, head);
        Sent { queue, head }
    }

    #[track_caller]
    pub(crate) fn send_with(&mut self, header: Header, command: Command) -> Sent {
        let queue = usize::from(matches!(
            command,
            Command::UpdateCursor(_) | Command::MoveCursor(_)
        ));
        let request = Request::new(header, command).encode();
        let sent = self.put(queue, &request, if queue == 0 { 0x1000 } else { 0 });
        self.kick(queue);
        sent
    }

    #[track_caller]
    pub(crate) fn send(&mut self, command: Command) -> Sent {
        self.send_with(Header::default(), command)
    }

    /// Looks at the used rings.
    pub(crate) fn look(&mut self) {
        for queue in 0..2 {
            loop {
                let ring = &self.rings[queue];
                if self.peek16(ring.used + 2) == ring.used_seen {
                    break;
                }
                let at = ring.used + 4 + 8 * u64::from(ring.used_seen % ring.size);
                let entry = self.peek(at, 8);
                let word = |i: usize| u32::from_le_bytes(entry[i..i + 4].try_into().expect("4"));
                let head = u16::try_from(word(0)).expect("a descriptor");
                let sent = Sent { queue, head };
                assert!(
                    self.seen.insert(sent, word(4)).is_none(),
                    "{sent:?} is used twice"
                );
                let ring = &mut self.rings[queue];
                ring.used_seen = ring.used_seen.wrapping_add(1);
            }
        }
    }

    /// How many used entries a queue has had.
    pub(crate) fn used(&self, queue: usize) -> u16 {
        self.peek16(self.rings[queue].used + 2)
    }

    /// The used length of a command, once.
    pub(crate) fn done(&mut self, sent: Sent) -> Option<u32> {
        self.look();
        let len = self.seen.remove(&sent)?;
        self.rings[sent.queue].free.push(sent.head);
        Some(len)
    }

    /// The reply to a command, if it is there.
    pub(crate) fn reply(&mut self, sent: Sent) -> Option<(Header, Response)> {
        let len = self.done(sent)?;
        let at = self.rings[sent.queue].request(sent.head) + 0x1000;
        let bytes = self.peek(at, len as usize);
        Some(Response::parse(&bytes).expect("a reply"))
    }

    #[track_caller]
    pub(crate) fn wait(&mut self, sent: Sent) -> (Header, Response) {
        let start = Instant::now();
        loop {
            if let Some(reply) = self.reply(sent) {
                return reply;
            }
            assert!(start.elapsed() < LONG, "{sent:?} is not answered");
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, command: Command) -> Response {
        let sent = self.send(command);
        self.wait(sent).1
    }

    #[track_caller]
    pub(crate) fn ok(&mut self, command: Command) {
        let shown = format!("{command:?}");
        assert_eq!(self.ask(command), Response::Ok, "{shown}");
    }

    #[track_caller]
    pub(crate) fn refused(&mut self, command: Command, code: ErrorCode) {
        let shown = format!("{command:?}");
        assert_eq!(self.ask(command), Response::Error(code), "{shown}");
    }

    /// Whether it is not answered for a while.
    pub(crate) fn is_silent(&mut self, sent: Sent) -> bool {
        std::thread::sleep(SHORT);
        self.look();
        !self.seen.contains_key(&sent)
    }

    /// A host blob in the window, at `offset`.
    #[track_caller]
    pub(crate) fn mapped(&mut self, resource: u32, size: u64, offset: u64) {
        self.ok(host_blob(resource, size));
        let reply = self.ask(Command::ResourceMapBlob { resource, offset });
        assert!(matches!(reply, Response::MapInfo(_)), "{reply:?}");
    }
}

/// A mappable host blob whose blob id is the resource's.
pub(crate) fn host_blob(resource: u32, size: u64) -> Command {
    Command::ResourceCreateBlob(CreateBlob {
        resource,
        memory: CreateBlob::HOST3D,
        flags: CreateBlob::MAPPABLE,
        blob_id: u64::from(resource),
        size,
        entries: Vec::new(),
    })
}

pub(crate) fn map(resource: u32, offset: u64) -> Command {
    Command::ResourceMapBlob { resource, offset }
}

pub(crate) fn unmap(resource: u32) -> Command {
    Command::ResourceUnmapBlob { resource }
}

pub(crate) fn unref(resource: u32) -> Command {
    Command::ResourceUnref { resource }
}

pub(crate) fn create_2d(resource: u32, side: u32) -> Command {
    Command::ResourceCreate2d {
        resource,
        format: 2,
        width: side,
        height: side,
    }
}

pub(crate) fn attach(resource: u32, addr: u64, len: u32) -> Command {
    Command::ResourceAttachBacking {
        resource,
        entries: vec![MemEntry { addr, len }],
    }
}

pub(crate) fn fenced(fence_id: u64) -> Header {
    Header {
        flags: Header::FENCE,
        fence_id,
        ..Header::default()
    }
}

pub(crate) fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).expect("32 bits")
}
