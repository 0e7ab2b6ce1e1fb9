//! A second device: a copy engine that holds mappings of blobs in its own name and pins them for transfers in flight.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use memory::{
    Access, AddressSpace, Gpa, Intent, Mapping, MemTxError, Pin, Region, RegionOps, Size,
};
use qdev::{Device, DeviceError, DeviceImpl, RealizeContext};
use qom::{Child, Init, ObjectImpl, ObjectOps};

/// Bytes of the registers.
pub(super) const REGISTER_BYTES: u64 = 0x1000;
/// Source, low and high half; length; the word that the source begins with; a write starts a transfer: 0 short, 1 until released.
pub(super) const SOURCE: u64 = 0x00;
pub(super) const LENGTH: u64 = 0x08;
pub(super) const WORD: u64 = 0x0c;
pub(super) const START: u64 = 0x10;
/// Longest transfer.
const MOST: u64 = 256 << 10;
/// Mappings that are kept.
const KEPT: usize = 64;
/// However long somebody forgets to release a transfer, it ends.
const HELD_AT_MOST: Duration = Duration::from_secs(5);

/// What the engine has done. Shared with whoever is interested.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    pub(super) started: AtomicU64,
    pub(super) done: AtomicU64,
    /// The source was gone, or is no RAM.
    pub(super) refused: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// The source did not begin with the word it should.
    pub(super) wrong: AtomicU64,
    /// Mappings opened.
    pub(super) mappings: AtomicU64,
}

/// A transfer in flight.
struct Job {
    pin: Pin,
    word: u32,
    /// Held until the gate shows something else.
    held: Option<u64>,
}

/// The threads that copy: like an I/O library's, they belong to the process and not to the device, and hold nothing but pins.
pub(super) struct Workers {
    jobs: Mutex<Option<Sender<Job>>>,
    gate: Arc<(Mutex<u64>, Condvar)>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    pub(super) transfers: Arc<Transfers>,
}

impl Workers {
    /// Starts `threads` workers.
    pub(super) fn start(threads: usize) -> Arc<Self> {
        let (sender, receiver) = channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        let gate: Arc<(Mutex<u64>, Condvar)> = Arc::default();
        let transfers: Arc<Transfers> = Arc::default();
        let start = || {
            let (receiver, gate, transfers) = (receiver.clone(), gate.clone(), transfers.clone());
            std::thread::spawn(move || work(&receiver, &gate, &transfers))
        };
        Arc::new(Self {
            jobs: Mutex::new(Some(sender)),
            threads: Mutex::new((0..threads).map(|_| start()).collect()),
            gate,
            transfers,
        })
    }

    /// Lets transfers go that are held.
    pub(super) fn release(&self) {
        *self.gate.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.gate.1.notify_all();
    }

    /// Ends the threads; what is in flight is copied first.
    pub(super) fn stop(&self) {
        drop(
            self.jobs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // INVARIANT: a worker calls nobody's code; were it to panic, its pins are dropped all the same.
            let _ = thread.join();
        }
    }

    fn submit(&self, pin: Pin, word: u32, held: bool) -> bool {
        let now = *self.gate.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.then_some(now);
        let job = Job { pin, word, held };
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }
}

fn work(jobs: &Mutex<Receiver<Job>>, gate: &(Mutex<u64>, Condvar), transfers: &Transfers) {
    let mut target = Vec::new();
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { pin, word, held }) = next else {
            return;
        };
        if let Some(before) = held {
            let opened = gate.0.lock().unwrap_or_else(PoisonError::into_inner);
            let wait = gate
                .1
                .wait_timeout_while(opened, HELD_AT_MOST, |now| *now == before);
            drop(wait);
        }
        let bytes = pin.bytes();
        target.resize(usize::try_from(bytes.len()).unwrap_or(0), 0);
        let copied = bytes.read(0, &mut target).is_ok();
        let begins = target.first_chunk().copied().map(u32::from_le_bytes);
        if !copied || (word != 0 && begins != Some(word)) {
            transfers.wrong.fetch_add(1, Ordering::Relaxed);
        }
        drop(pin);
        transfers
            .bytes
            .fetch_add(target.len() as u64, Ordering::Relaxed);
        transfers.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// The device.
pub(super) struct DmaEngine {
    device: Device,
    regs: Child<Region>,
    workers: OnceLock<Arc<Workers>>,
    programmed: Mutex<Programmed>,
}

#[derive(Default)]
struct Programmed {
    /// What the engine sees: the address space of its own, opened in its name.
    space: Option<AddressSpace>,
    source: u64,
    length: u32,
    word: u32,
    mappings: Vec<Mapping>,
}

qdev::device_type! { DmaEngine("demo-dma-engine") { device: Device } }

impl ObjectImpl for DmaEngine {
    fn init(cx: &mut Init<'_>) -> Self {
        let regs = Region::io("regs", Size::new(REGISTER_BYTES), Registers).create(cx.object());
        Self {
            device: cx.parent(),
            regs: regs.expect("a region of its own"),
            workers: OnceLock::new(),
            programmed: Mutex::default(),
        }
    }
}

impl DeviceImpl for DmaEngine {
    fn realize(&self, cx: &RealizeContext<'_>) -> Result<(), DeviceError> {
        let Some(memory) = self.link::<Region>("memory") else {
            return Err(DeviceError::Property {
                property: "memory",
                reason: "the link leads to no region".to_owned(),
            });
        };
        let space = AddressSpace::open(cx.object(), "dma", &memory);
        let space = space.map_err(|error| DeviceError::needs("an address space", error))?;
        self.lock().space = Some(space);
        Ok(())
    }

    fn unrealize(&self) {
        let mut programmed = self.lock();
        let mappings = std::mem::take(&mut programmed.mappings);
        programmed.space = None;
        drop(programmed);
        drop(mappings);
    }
}

impl DmaEngine {
    /// Gives it somebody to work for it; to be done before it is realized.
    pub(super) fn employ(&self, workers: &Arc<Workers>) {
        let _ = self.workers.set(workers.clone());
    }

    /// Its registers.
    pub(super) fn regs(&self) -> &Child<Region> {
        &self.regs
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Programmed> {
        self.programmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Maps the source in the engine's name, pins it for the transfer, and hands the pin to a worker.
    fn start(&self, held: bool) {
        let Some(workers) = self.workers.get() else {
            return;
        };
        let transfers = &workers.transfers;
        let (space, source, length, word) = {
            let programmed = self.lock();
            let Some(space) = programmed.space.clone() else {
                return;
            };
            (
                space,
                programmed.source,
                u64::from(programmed.length).min(MOST),
                programmed.word,
            )
        };
        // The device's lock is not held here: mapping takes locks of the library.
        let mapped = space.map(&self.device, Gpa(source), length, Intent::Read);
        let pinned = mapped.and_then(|mapping| {
            let pin = mapping.pin(0, mapping.len())?;
            Ok((mapping, pin))
        });
        let Ok((mapping, pin)) = pinned else {
            transfers.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        transfers.mappings.fetch_add(1, Ordering::Relaxed);
        let forgotten = {
            let mut programmed = self.lock();
            let open = |m: &Mapping| m.is_open();
            let (mut kept, mut gone): (Vec<Mapping>, Vec<Mapping>) =
                std::mem::take(&mut programmed.mappings)
                    .into_iter()
                    .partition(open);
            gone.extend(kept.drain(..kept.len().saturating_sub(KEPT - 1)));
            kept.push(mapping);
            programmed.mappings = kept;
            gone
        };
        drop(forgotten);
        transfers.started.fetch_add(1, Ordering::Relaxed);
        if !workers.submit(pin, word, held) {
            transfers.started.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

struct Registers;

impl RegionOps for Registers {
    type Owner = DmaEngine;

    fn read(&self, engine: &DmaEngine, access: Access) -> Result<u64, MemTxError> {
        let transfers = engine.workers.get().map(|w| &w.transfers);
        Ok(match access.offset {
            START => transfers.map_or(0, |t| t.done.load(Ordering::Relaxed)),
            _ => 0,
        })
    }

    fn write(&self, engine: &DmaEngine, access: Access, value: u64) -> Result<(), MemTxError> {
        let word = u32::try_from(value).map_err(|_| MemTxError::DEVICE)?;
        let high = SOURCE + 4;
        match access.offset {
            SOURCE => {
                let mut programmed = engine.lock();
                programmed.source = programmed.source & !0xffff_ffff | value;
            }
            at if at == high => {
                let mut programmed = engine.lock();
                programmed.source = programmed.source & 0xffff_ffff | value << 32;
            }
            LENGTH => engine.lock().length = word,
            WORD => engine.lock().word = word,
            START => engine.start(word == 1),
            _ => return Err(MemTxError::DEVICE),
        }
        Ok(())
    }
}
