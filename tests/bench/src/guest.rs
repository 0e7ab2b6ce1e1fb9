//! A guest's driver of a virtio-gpu: one control ring behind virtio-mmio registers, one command at a time; and a renderer whose blobs are parts of
//! a few backings, as thousands of files of their own would be more than a process may have.

use crate::ours::{LONG, PAGE, RAM};
use hw_virtio_gpu::renderer::{BlobHandle, BlobSpec, MappedBlob, Renderer, RendererError};
use hw_virtio_gpu::wire::{Command, Header, MapCaching, Request, Response};
use memory::{AddressSpace, Attrs, Gpa};
use qdev::Line;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

/// Registers of virtio-mmio version 2.
mod reg {
    pub(super) const DRIVER_FEATURES: u64 = 0x020;
    pub(super) const DRIVER_FEATURES_SEL: u64 = 0x024;
    pub(super) const QUEUE_SEL: u64 = 0x030;
    pub(super) const QUEUE_NUM: u64 = 0x038;
    pub(super) const QUEUE_READY: u64 = 0x044;
    pub(super) const NOTIFY: u64 = 0x050;
    pub(super) const INTERRUPT: u64 = 0x060;
    pub(super) const ACK: u64 = 0x064;
    pub(super) const STATUS: u64 = 0x070;
    pub(super) const DESC: u64 = 0x080;
    pub(super) const AVAIL: u64 = 0x090;
    pub(super) const USED: u64 = 0x0a0;
}

/// `VIRTIO_F_VERSION_1`, and of virtio-gpu: virgl, blobs.
const FEATURES: u64 = 1 << 32 | 1 | 1 << 3;
const ENTRIES: u16 = 64;
/// Flags of descriptors.
const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// The far end of the interrupt line: remembers when it rang, and wakes who waits.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<Option<Instant>>,
    ringing: Condvar,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.rung.lock().expect("nobody panics under it")
    }

    /// When it rang; waits for it and makes it silent.
    fn wait(&self) -> Instant {
        let (mut rung, _) = self
            .ringing
            .wait_timeout_while(self.lock(), LONG, |rung| rung.is_none())
            .expect("nobody panics under it");
        rung.take().expect("the device answers")
    }
}

impl Line for Bell {
    fn set(&self, level: bool) {
        if level {
            self.lock().get_or_insert_with(Instant::now);
            self.ringing.notify_one();
        }
    }
}

/// The driver.
#[derive(Debug)]
pub struct Driver {
    memory: AddressSpace,
    regs: u64,
    ram: u64,
    bell: Arc<Bell>,
    next: u16,
}

/// How long a command took, and what the device said.
#[derive(Debug)]
pub struct Answer {
    /// Before the notification.
    pub asked: Instant,
    /// When the interrupt line went high, with the reply in the ring.
    pub answered: Instant,
    /// The reply.
    pub response: Response,
}

impl Driver {
    /// Brings the device up whose registers are at `regs`, with its ring and buffers in the RAM at `ram`.
    pub fn bring_up(memory: &AddressSpace, regs: u64, ram: u64, bell: &Arc<Bell>) -> Self {
        let this = Self {
            memory: memory.clone(),
            regs,
            ram,
            bell: bell.clone(),
            next: 0,
        };
        for status in [0, 1, 3] {
            this.write(reg::STATUS, status);
        }
        for sel in [0, 1] {
            this.write(reg::DRIVER_FEATURES_SEL, sel);
            this.write(reg::DRIVER_FEATURES, low(FEATURES >> (32 * sel)));
        }
        this.write(reg::STATUS, 0xb);
        this.poke(ram, &vec![0; 0x4000]);
        this.write(reg::QUEUE_SEL, 0);
        this.write(reg::QUEUE_NUM, u32::from(ENTRIES));
        for (register, place) in [
            (reg::DESC, this.descriptors()),
            (reg::AVAIL, this.available()),
            (reg::USED, this.used()),
        ] {
            this.write(register, low(place));
            this.write(register + 4, low(place >> 32));
        }
        this.write(reg::QUEUE_READY, 1);
        this.write(reg::STATUS, 0xf);
        this
    }

    fn descriptors(&self) -> u64 {
        self.ram
    }
    fn available(&self) -> u64 {
        self.ram + PAGE
    }
    fn used(&self) -> u64 {
        self.ram + 2 * PAGE
    }
    fn request(&self) -> u64 {
        self.ram + 3 * PAGE
    }
    fn reply(&self) -> u64 {
        self.ram + 4 * PAGE
    }

    fn write(&self, register: u64, value: u32) {
        let at = Gpa(self.regs + register);
        let done = self.memory.store(at, value, Attrs::default());
        done.expect("a register");
    }

    fn poke(&self, addr: u64, bytes: &[u8]) {
        let result = self.memory.write(Gpa(addr), bytes, Attrs::default());
        assert!(result.is_ok(), "RAM at {addr:#x}: {result}");
    }

    fn descriptor(&self, index: u64, addr: u64, len: u32, flags: u16, next: u16) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&addr.to_le_bytes());
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        self.poke(self.descriptors() + 16 * index, &bytes);
    }

    /// Sends a command and waits for the reply, asleep like a processor that waits for an interrupt.
    pub fn ask(&mut self, command: Command) -> Answer {
        let request = Request::new(Header::default(), command).encode();
        self.poke(self.request(), &request);
        let len = u32::try_from(request.len()).expect("a short command");
        self.descriptor(0, self.request(), len, NEXT, 1);
        self.descriptor(1, self.reply(), 0x1000, WRITE, 0);
        let entry = self.available() + 4 + 2 * u64::from(self.next % ENTRIES);
        self.poke(entry, &0_u16.to_le_bytes());
        self.next = self.next.wrapping_add(1);
        self.poke(self.available() + 2, &self.next.to_le_bytes());
        let asked = Instant::now();
        self.write(reg::NOTIFY, 0);
        let answered = self.bell.wait();
        let status = self
            .memory
            .load::<u32>(Gpa(self.regs + reg::INTERRUPT), Attrs::default());
        self.write(reg::ACK, status.expect("a register"));
        let used = self
            .memory
            .load::<u16>(Gpa(self.used() + 2), Attrs::default());
        assert_eq!(
            used.expect("RAM"),
            self.next,
            "it is this command that was answered"
        );
        let entry = self.used() + 4 + 8 * u64::from((self.next.wrapping_sub(1)) % ENTRIES);
        let len = self.memory.load::<u32>(Gpa(entry + 4), Attrs::default());
        let mut bytes = vec![0; usize::try_from(len.expect("RAM")).expect("small")];
        let read = self
            .memory
            .read(Gpa(self.reply()), &mut bytes, Attrs::default());
        assert!(read.is_ok());
        let (_, response) = Response::parse(&bytes).expect("a reply");
        Answer {
            asked,
            answered,
            response,
        }
    }
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).expect("32 bits")
}

/// A renderer whose blobs are pages of the one RAM.
#[derive(Debug, Default)]
pub struct Pages;

impl Renderer for Pages {
    fn create_blob(&mut self, _: BlobHandle, _: &BlobSpec) -> Result<(), RendererError> {
        Ok(())
    }

    fn map_blob(&mut self, blob: BlobHandle) -> Result<MappedBlob, RendererError> {
        let offset = u64::from(blob.resource) * PAGE % RAM.len();
        let backing = RAM.slice(offset, PAGE);
        Ok(MappedBlob {
            backing: backing.expect("a part of the RAM"),
            caching: MapCaching::Cached,
        })
    }
}
