//! Drives virtio-gpus with guests that mostly behave and often do not: ring contents, register writes, notifications, resets, I/O that holds blobs,
//! unplug, and readers beside it. Nothing may panic or hang, and at the end nothing may be left.
//!
//! `fuzz_gpu_rings --seconds N [--seed S]`. Each round is one machine; a failing round prints its seed, which as `--seed` makes it the first round again
//! (threads still interleave as they please). Exit status 1: something was wrong. 2: the command line was.

use hw_virtio_gpu::gpu::GpuConfig;
use hw_virtio_gpu::limits::Limits;
use hw_virtio_gpu::renderer::{FenceControl, MemfdRenderer};
use hw_virtio_gpu::wire::{
    Command, CreateBlob, CursorPosition, Header, MemEntry, Rect, Request, UpdateCursor,
};
use hw_virtio_gpu::{Stats, VirtioGpu};
use memory::{
    AddressSpace, Attrs, Backing, Gpa, Intent, Offset, Pin, Priority, Region, RegionApi, Size,
    Snapshot,
};
use qdev::{DeviceOps, EventFdLine};
use qom::{Child, Container, Machine, MachineEvent, ObjectOps, Ref, Subscription};
use std::collections::VecDeque;
use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const RAM_BYTES: u64 = 2 << 20;
const ROM: u64 = 0x1000_0000;
const REGS: u64 = 0xfe00_0000;
const WINDOW: u64 = 0x2_0000_0000;
const WINDOW_BYTES: u64 = 64 * PAGE;
const PAGE: u64 = 4096;
/// What one guest's rings and buffers take.
const GUEST_BYTES: u64 = 0x8_0000;
/// Longer than anything takes that works, also on a busy host.
const LONG: Duration = Duration::from_mins(1);
/// A step that takes longer has hung.
const HANG: Duration = Duration::from_mins(2);

/// A xorshift generator (Marsaglia, 2003).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        // A splitmix64 step: seeds that lie close together give sequences that do not.
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((z ^ (z >> 31)) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n.max(1)
    }

    fn below32(&mut self, n: u32) -> u32 {
        u32::try_from(self.below(u64::from(n))).unwrap_or(0)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn word(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).unwrap_or(0)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap_or(0)]
    }
}

/// Ends the process when a step takes too long: no test harness does it for us.
struct Watchdog {
    step: Arc<AtomicU64>,
    what: Arc<Mutex<String>>,
}

impl Watchdog {
    fn start() -> Self {
        let (step, what) = (Arc::<AtomicU64>::default(), Arc::<Mutex<String>>::default());
        let (seen, name) = (step.clone(), what.clone());
        std::thread::spawn(move || {
            let (mut last, mut since) = (0, Instant::now());
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let now = seen.load(Ordering::Relaxed);
                if now != last {
                    (last, since) = (now, Instant::now());
                } else if since.elapsed() > HANG {
                    let name = name.lock().unwrap_or_else(PoisonError::into_inner);
                    eprintln!("hung in {name}, step {now}");
                    std::process::exit(1);
                }
            }
        });
        Self { step, what }
    }

    fn enter(&self, what: String) {
        *self.what.lock().unwrap_or_else(PoisonError::into_inner) = what;
        self.tick();
    }

    fn tick(&self) {
        self.step.fetch_add(1, Ordering::Relaxed);
    }
}

/// One queue as the guest keeps it.
struct Ring {
    queue: u32,
    base: u64,
    size: u16,
    avail_idx: u16,
}

impl Ring {
    fn desc(&self) -> u64 {
        self.base
    }
    fn avail(&self) -> u64 {
        self.base + 0x1000
    }
    fn used(&self) -> u64 {
        self.base + 0x2000
    }
    fn buffer(&self, slot: u64) -> u64 {
        self.base + 0x4000 + slot * 0x1000
    }
}

/// One device and its guest.
struct Guest {
    gpu: Ref<VirtioGpu>,
    regs: u64,
    window: u64,
    memory: AddressSpace,
    rings: [Ring; 2],
    fences: Option<Arc<FenceControl>>,
    /// The round's step, which names fences.
    steps: u64,
}

impl Guest {
    fn write(&self, register: u64, value: u32) {
        let _ = self
            .memory
            .store(Gpa(self.regs + register), value, Attrs::default());
    }

    fn read(&self, register: u64) -> u32 {
        self.memory
            .load(Gpa(self.regs + register), Attrs::default())
            .unwrap_or(0)
    }

    fn write64(&self, register: u64, value: u64) {
        self.write(register, low(value));
        self.write(register + 4, low(value >> 32));
    }

    fn poke(&self, addr: u64, bytes: &[u8]) {
        let _ = self.memory.write(Gpa(addr), bytes, Attrs::default());
    }

    /// Brings the device up, mostly as it should be.
    fn bring_up(&mut self, r: &mut Random) {
        self.write(0x070, 0);
        self.write(0x070, 3);
        let extra = r.next() & (1 << 28 | 1 << 29);
        let features = 1 << 32 | 0x1b | extra;
        for sel in [0, 1] {
            self.write(0x024, sel);
            self.write(0x020, low(features >> (32 * sel)));
        }
        self.write(0x070, 0xb);
        for i in 0..2 {
            let ring = &mut self.rings[i];
            ring.avail_idx = 0;
            ring.size = 1 << (2 + r.below32(3));
            let ring = &self.rings[i];
            self.poke(ring.base, &[0; 0x3000]);
            self.write(0x030, ring.queue);
            self.write(0x038, u32::from(ring.size));
            let (desc, avail, used) = (ring.desc(), ring.avail(), ring.used());
            // Now and then a ring in a blob, at the end of RAM, in ROM, in the registers.
            let place = |r: &mut Random, good: u64| {
                let odd = [self.window, RAM_BYTES - 64, ROM, self.regs, u64::MAX - 15];
                if r.one_in(200) { r.of(&odd) } else { good }
            };
            self.write64(0x080, place(r, desc));
            self.write64(0x090, place(r, avail));
            self.write64(0x0a0, place(r, used));
            self.write(0x044, 1);
        }
        self.write(0x070, 0xf);
    }

    /// An address: mostly RAM that is its own.
    fn address(&self, r: &mut Random) -> u64 {
        match r.below(12) {
            0 => self.window + r.below(WINDOW_BYTES),
            1 => self.regs + r.below(0x200),
            2 => ROM + r.below(0x2000),
            3 => r.next(),
            4 => RAM_BYTES - r.below(64),
            _ => self.rings[0].buffer(r.below(16)) + r.below(0x800),
        }
    }

    fn command(&self, r: &mut Random) -> Request {
        let resource = if r.one_in(8) {
            r.below32(10)
        } else {
            1 + r.below32(4)
        };
        let offset = r.below(66) * PAGE;
        let rect = Rect::new(0, 0, 16 + r.below32(20), 16 + r.below32(20));
        let entries = |r: &mut Random| {
            (0..r.below(4))
                .map(|_| MemEntry {
                    addr: self.address(r),
                    len: r.below32(0x3000),
                })
                .collect()
        };
        let command = match r.below(32) {
            0 => Command::GetDisplayInfo,
            1 => Command::GetEdid {
                scanout: r.below32(2),
            },
            2 => Command::ResourceCreate2d {
                resource,
                format: r.of(&[1, 2, 67, 99]),
                width: r.below32(64),
                height: r.below32(64),
            },
            3 => Command::ResourceAttachBacking {
                resource,
                entries: entries(r),
            },
            4 => Command::ResourceDetachBacking { resource },
            5 => Command::TransferToHost2d {
                rect,
                offset: r.below(0x2000),
                resource,
            },
            6 => Command::ResourceFlush { rect, resource },
            7 => Command::SetScanout {
                rect,
                scanout: r.below32(2),
                resource,
            },
            8 => Command::CtxCreate {
                init: 0,
                name: b"fuzz".to_vec(),
            },
            9 => Command::CtxDestroy,
            10 => Command::UpdateCursor(UpdateCursor {
                position: CursorPosition::default(),
                resource,
                hot_x: 0,
                hot_y: 0,
            }),
            11..=16 => Command::ResourceCreateBlob(CreateBlob {
                resource,
                memory: r.of(&[CreateBlob::GUEST, CreateBlob::HOST3D, CreateBlob::HOST3D, 9]),
                flags: CreateBlob::MAPPABLE,
                blob_id: u64::from(resource),
                size: r.below(4 * PAGE),
                entries: if r.one_in(8) { entries(r) } else { Vec::new() },
            }),
            17..=23 => Command::ResourceMapBlob { resource, offset },
            24..=27 => Command::ResourceUnmapBlob { resource },
            28..=30 => Command::ResourceUnref { resource },
            _ => Command::Submit3d {
                commands: vec![1; 16],
            },
        };
        let header = Header {
            flags: if r.one_in(4) { r.below32(4) } else { 0 },
            fence_id: self.steps,
            ctx_id: if r.one_in(4) { r.below32(3) } else { 0 },
            ..Header::default()
        };
        Request::new(header, command)
    }

    fn descriptor(&self, at: u64, addr: u64, len: u32, flags: u16, next: u16) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&addr.to_le_bytes());
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        self.poke(at, &bytes);
    }

    /// Puts a command into a ring; often enough damages something on the way.
    fn send(&mut self, r: &mut Random) {
        let queue = usize::from(r.one_in(8));
        let ring = &self.rings[queue];
        let used: u16 = self
            .memory
            .load(Gpa(ring.used() + 2), Attrs::default())
            .unwrap_or(0);
        if ring.avail_idx.wrapping_sub(used) >= ring.size / 2 && !r.one_in(300) {
            // No place: what is held may never be answered, so this is no place to wait for long.
            std::thread::sleep(Duration::from_micros(50));
            return;
        }
        let mut request = self.command(r).encode();
        if r.one_in(10) {
            let at = usize::try_from(r.below(request.len() as u64)).unwrap_or(0);
            request[at] ^= 1 << r.below(8);
        }
        if r.one_in(20) {
            let len = usize::try_from(r.below(request.len() as u64)).unwrap_or(0);
            request.truncate(len);
        }
        let ring = &self.rings[queue];
        // Slots are used again without a look at whether the device is done with them: that is the guest's affair.
        let head = u16::try_from(r.below(u64::from(ring.size / 2))).unwrap_or(0) * 2;
        let at = ring.buffer(u64::from(head));
        self.poke(at, &request);
        let len = u32::try_from(request.len()).unwrap_or(0);
        let mut first = (at, len, 1, head + 1);
        let mut second = (at + 0x1000, 0x1000, 2, 0);
        if r.one_in(12) {
            first.0 = self.address(r);
        }
        if r.one_in(12) {
            second.0 = self.address(r);
        }
        if r.one_in(150) {
            first.2 = u16::try_from(r.below(8)).unwrap_or(0);
            second.2 = u16::try_from(r.below(8)).unwrap_or(0);
            second.3 = u16::try_from(r.below(80)).unwrap_or(0);
        }
        if r.one_in(150) {
            first.1 = r.word();
        }
        if r.one_in(150) {
            second.1 = r.word();
        }
        let ring = &self.rings[queue];
        let desc = ring.desc();
        let place = |i: u16| desc + 16 * u64::from(i);
        self.descriptor(place(head), first.0, first.1, first.2, first.3);
        self.descriptor(place(head + 1), second.0, second.1, second.2, second.3);
        let head = if r.one_in(300) { low16(r.next()) } else { head };
        let ring = &mut self.rings[queue];
        let entry = ring.avail() + 4 + 2 * u64::from(ring.avail_idx % ring.size);
        ring.avail_idx = if r.one_in(400) {
            low16(r.next())
        } else {
            ring.avail_idx.wrapping_add(1)
        };
        let (idx_at, idx) = (ring.avail() + 2, ring.avail_idx);
        self.poke(entry, &head.to_le_bytes());
        self.poke(idx_at, &idx.to_le_bytes());
        if !r.one_in(5) {
            self.write(0x050, low(queue as u64));
        }
    }

    fn scribble(&self, r: &mut Random) {
        match r.below(3) {
            0 => {
                let ring = &self.rings[usize::from(r.one_in(2))];
                self.poke(ring.base + r.below(0x2400), &r.next().to_le_bytes());
            }
            1 => {
                let register = r.below(0x80) * 4;
                // A reset is the business of another step, or there would be nothing else.
                let value = if r.one_in(2) { r.below32(16) } else { r.word() };
                if register != 0x070 || value != 0 {
                    self.write(register, value);
                }
            }
            _ => {
                let register = r.below(0x200);
                let _ = self
                    .memory
                    .load::<u8>(Gpa(self.regs + register), Attrs::default());
                let _ = self
                    .memory
                    .load::<u64>(Gpa(self.regs + (register & !7)), Attrs::default());
                let _ = self.read(register & !3);
            }
        }
    }
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or(0)
}

fn low16(value: u64) -> u16 {
    u16::try_from(value & 0xffff).unwrap_or(0)
}

/// Whatever it did: each command is answered, dropped or in hand.
fn check(stats: Stats) -> Outcome {
    let ended = stats.completed_commands + stats.dropped_commands;
    if ended > stats.commands
        || stats.finalized_blobs > stats.withdrawn_blobs
        || stats.withdrawn_blobs > stats.placed_blobs
    {
        return Err(format!("the numbers do not add up: {stats:?}").into());
    }
    Ok(())
}

/// What the devices of many rounds have done: a fuzzer that does nothing finds nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    commands: u64,
    completed: u64,
    suspended: u64,
    blobs: u64,
    resets: u64,
}

impl Tally {
    fn add(&mut self, stats: Stats) {
        self.merge(Self {
            commands: stats.commands,
            completed: stats.completed_commands,
            suspended: stats.suspended_commands,
            blobs: stats.placed_blobs,
            resets: stats.resets,
        });
    }

    fn merge(&mut self, other: Self) {
        self.commands += other.commands;
        self.completed += other.completed;
        self.suspended += other.suspended;
        self.blobs += other.blobs;
        self.resets += other.resets;
    }
}

/// A board and what is going on on it.
struct Board {
    machine: Machine,
    system: Child<Region>,
    memory: AddressSpace,
    holder: Ref<Container>,
    pins: VecDeque<Pin>,
    snapshots: VecDeque<Snapshot>,
    complaints: Arc<Mutex<Vec<String>>>,
    _events: Subscription,
}

impl Board {
    fn new() -> Outcome<Self> {
        let machine = Machine::new("fuzz");
        let system = Region::container("system", Size::MAX).create(machine.root())?;
        let memory = AddressSpace::open(machine.root(), "memory", &system)?;
        let ram = Region::ram("ram", Backing::anonymous(RAM_BYTES)?).create(machine.root())?;
        system.add_subregion(Offset(0), &ram, Priority(0))?;
        let rom = Region::rom("rom", Backing::anonymous(0x2000)?).create(machine.root())?;
        system.add_subregion(Offset(ROM), &rom, Priority(0))?;
        let holder = machine.create::<Container>()?;
        machine.root().add_child("nic", &holder)?;
        let complaints = Arc::<Mutex<Vec<String>>>::default();
        let sink = complaints.clone();
        let events = machine.subscribe(move |event| {
            if let MachineEvent::Panicked {
                object,
                what,
                message,
            } = event
            {
                let text = format!("{object}: {what}: {message}");
                sink.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(text);
            }
        });
        Ok(Self {
            machine,
            system,
            memory,
            holder,
            pins: VecDeque::new(),
            snapshots: VecDeque::new(),
            complaints,
            _events: events,
        })
    }

    fn plug(&self, n: u64, r: &mut Random) -> Outcome<Guest> {
        let fences = r.one_in(3).then(Arc::<FenceControl>::default);
        let mut renderer = MemfdRenderer::builder().refuse_map(8);
        if let Some(control) = &fences {
            renderer = renderer.hold_fences(control);
        }
        let limits = Limits {
            resources: 12,
            held_commands: 6,
            held_bytes: 4096,
            request_bytes: 2048,
            blob_bytes: 24 * PAGE,
            pixel_bytes: 1 << 18,
            ..Limits::default()
        };
        let config = GpuConfig {
            limits,
            window: WINDOW_BYTES,
            ..GpuConfig::default()
        };
        let gpu = VirtioGpu::builder()
            .config(config)
            .renderer(renderer.build())
            .memory(&self.memory)
            .line(Arc::new(EventFdLine::new()?))
            .create(&self.machine)?;
        self.machine.root().add_child("gpu[*]", &gpu)?;
        let (regs, window) = (REGS + n * 0x1000, WINDOW + n * WINDOW_BYTES);
        gpu.set_property("window-base", window)?;
        gpu.realize()?;
        self.system
            .add_subregion(Offset(regs), gpu.regs(), Priority(0))?;
        self.system
            .add_subregion(Offset(window), gpu.window(), Priority(0))?;
        let base = 0x1_0000 + n * GUEST_BYTES;
        let ring = |queue: u32| Ring {
            queue,
            base: base + u64::from(queue) * (GUEST_BYTES / 2),
            size: 16,
            avail_idx: 0,
        };
        Ok(Guest {
            gpu,
            regs,
            window,
            memory: self.memory.clone(),
            rings: [ring(0), ring(1)],
            fences,
            steps: 0,
        })
    }

    /// Somebody else takes hold of a blob, or lets go.
    fn others(&mut self, r: &mut Random, guest: &Guest) {
        match r.below(6) {
            0..=2 if self.pins.len() < 8 => {
                let at = Gpa(guest.window + r.below(64) * PAGE);
                self.pins
                    .extend(self.memory.pin(&self.holder, at, 16, Intent::Write));
            }
            3 if self.snapshots.len() < 2 => {
                self.snapshots.extend(self.memory.snapshot(&self.holder));
            }
            4 => drop(self.snapshots.pop_front()),
            _ => {
                if let Some(pin) = self.pins.pop_front() {
                    let _ = pin.bytes().write(0, b"late");
                }
            }
        }
    }
}

/// A thread that reads and writes both windows until it is stopped.
fn read_windows(memory: &AddressSpace, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (memory, stop) = (memory.clone(), stop.clone());
    std::thread::spawn(move || {
        let mut at = 0;
        while !stop.load(Ordering::Relaxed) {
            let guard = memory.enter();
            for _ in 0..64 {
                at = (at + PAGE) % (2 * WINDOW_BYTES);
                let _ = guard.load::<u32>(Gpa(WINDOW + at), Attrs::default());
                let _ = guard.store(Gpa(WINDOW + at + 8), 1_u32, Attrs::default());
            }
        }
    })
}

/// One machine's life.
fn round(seed: u64, dog: &Watchdog) -> Outcome<Tally> {
    let mut r = Random::new(seed);
    let mut board = Board::new()?;
    let mut guests = Vec::new();
    for n in 0..=r.below(2) {
        guests.push(board.plug(n, &mut r)?);
    }
    for guest in &mut guests {
        guest.bring_up(&mut r);
    }
    let stop = Arc::<AtomicBool>::default();
    let reader = read_windows(&board.memory, &stop);
    let mut steps = 0;
    let mut tally = Tally::default();
    let mut most = 300 + r.below(1500);
    while steps < most {
        steps += 1;
        dog.tick();
        let n = usize::try_from(r.below(guests.len() as u64)).unwrap_or(0);
        let guest = &mut guests[n];
        guest.steps = steps;
        match r.below(1000) {
            0..1 => guest.write(0x070, 0),
            1..8 => guest.bring_up(&mut r),
            8..30 => guest.scribble(&mut r),
            30..220 => board.others(&mut r, guest),
            220..240 => {
                if let Some(control) = &guest.fences {
                    for fence in control.pending() {
                        control.signal(fence.timeline, fence.id);
                    }
                }
            }
            240..250 => {
                let size = r.one_in(2).then(Default::default);
                let _ = guest.gpu.set_display(0, size);
            }
            250..253 => {
                // Unplug, and another one in its place.
                tally.add(guest.gpu.stats());
                guest.gpu.unparent()?.wait(LONG)?;
                guests[n] = board.plug(n as u64, &mut r)?;
                guests[n].bring_up(&mut r);
            }
            253..255 => {
                guest.gpu.unrealize()?;
                guest.gpu.realize()?;
            }
            255..275 => check(guest.gpu.stats())?,
            275..330 if guest.gpu.broken().is_some() => guest.bring_up(&mut r),
            330..332 => most = most.min(steps + 50),
            _ => guest.send(&mut r),
        }
    }
    // Each device still can be brought up and asked, whatever was done to it.
    board.pins.clear();
    board.snapshots.clear();
    for guest in &mut guests {
        prove_alive(guest)?;
        tally.add(guest.gpu.stats());
    }
    stop.store(true, Ordering::Relaxed);
    reader.join().map_err(|_| "the reader panicked")?;
    board.machine.quiesce(LONG)?;
    for guest in &guests {
        guest.write(0x070, 0);
    }
    board.machine.quiesce(LONG)?;
    for guest in &guests {
        let (counts, stats) = (guest.gpu.counts(), guest.gpu.stats());
        check(stats)?;
        if counts != hw_virtio_gpu::gpu::Counts::default()
            || stats.commands != stats.completed_commands + stats.dropped_commands
            || stats.placed_blobs != stats.finalized_blobs
        {
            return Err(format!("something is left after a reset: {counts:?} {stats:?}").into());
        }
    }
    let Board {
        machine,
        holder,
        complaints,
        ..
    } = board;
    drop((guests, holder));
    machine.close(LONG).map_err(|(_, error)| error)?;
    let complaints = complaints.lock().unwrap_or_else(PoisonError::into_inner);
    if complaints.is_empty() {
        Ok(tally)
    } else {
        Err(complaints.join("; ").into())
    }
}

/// Brings a device up by the book and has it answer one command.
fn prove_alive(guest: &mut Guest) -> Outcome {
    guest.write(0x070, 0);
    if guest.read(0x070) != 0 {
        return Err("the status is not 0 after a reset".into());
    }
    guest.write(0x070, 3);
    for sel in [0, 1] {
        guest.write(0x024, sel);
        guest.write(0x020, if sel == 1 { 1 } else { 0x1b });
    }
    guest.write(0x070, 0xb);
    let ring = &guest.rings[0];
    guest.poke(ring.base, &[0; 0x3000]);
    guest.write(0x030, 0);
    guest.write(0x038, 16);
    guest.write64(0x080, ring.desc());
    guest.write64(0x090, ring.avail());
    guest.write64(0x0a0, ring.used());
    guest.write(0x044, 1);
    guest.write(0x070, 0xf);
    let request = Request::new(Header::default(), Command::GetDisplayInfo).encode();
    let (at, avail, used) = (ring.buffer(0), ring.avail(), ring.used());
    guest.poke(at, &request);
    guest.descriptor(ring.desc(), at, 24, 1, 1);
    guest.descriptor(ring.desc() + 16, at + 0x1000, 408, 2, 0);
    guest.poke(avail + 2, &1_u16.to_le_bytes());
    guest.write(0x050, 0);
    let start = Instant::now();
    while guest.memory.load::<u16>(Gpa(used + 2), Attrs::default())? != 1 {
        if start.elapsed() > LONG {
            let (stats, broken) = (guest.gpu.stats(), guest.gpu.broken());
            return Err(format!("no answer after a reset: {stats:?} {broken:?}").into());
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    let kind = guest
        .memory
        .load::<u32>(Gpa(at + 0x1000), Attrs::default())?;
    if kind == 0x1101 {
        Ok(())
    } else {
        Err(format!("{kind:#x} is no answer to GET_DISPLAY_INFO").into())
    }
}

fn arguments() -> Option<(u64, u64)> {
    let mut args = std::env::args().skip(1);
    let (mut seconds, mut seed) = (None, 1);
    while let Some(arg) = args.next() {
        let value = args.next()?.parse().ok()?;
        match arg.as_str() {
            "--seconds" => seconds = Some(value),
            "--seed" => seed = value,
            _ => return None,
        }
    }
    Some((seconds?, seed))
}

fn main() -> ExitCode {
    let Some((seconds, first)) = arguments() else {
        eprintln!("usage: fuzz_gpu_rings --seconds N [--seed S]");
        return ExitCode::from(2);
    };
    let panics = Arc::<AtomicU64>::default();
    let seen = panics.clone();
    let before = std::panic::take_hook();
    // Panics that somebody catches count, too.
    std::panic::set_hook(Box::new(move |info| {
        seen.fetch_add(1, Ordering::Relaxed);
        before(info);
    }));
    let dog = Watchdog::start();
    let start = Instant::now();
    let (mut seed, mut rounds, mut total) = (first, 0_u64, Tally::default());
    while rounds == 0 || start.elapsed() < Duration::from_secs(seconds) {
        dog.enter(format!("the round of --seed {seed}"));
        let outcome = round(seed, &dog);
        let panicked = panics.load(Ordering::Relaxed);
        match outcome {
            Ok(tally) if panicked == 0 => total.merge(tally),
            Ok(_) => {
                eprintln!("--seed {seed}: {panicked} panics");
                return ExitCode::FAILURE;
            }
            Err(error) => {
                eprintln!("--seed {seed}: {error}");
                return ExitCode::FAILURE;
            }
        }
        (seed, rounds) = (seed.wrapping_add(1), rounds + 1);
    }
    println!("{rounds} rounds, {total:?}: nothing found");
    ExitCode::SUCCESS
}
