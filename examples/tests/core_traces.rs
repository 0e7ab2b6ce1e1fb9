//! The recorded driver traces against the command core alone: no rings, no regions. Finalizations come at once, late and out of
//! order, or not before a reset.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use holdfast_examples::{
    frame::save_png,
    trace::{CommandEvent, Event, Header, Queue, TraceReader, compare},
};
use hw_virtio_gpu::{
    edid::DisplaySize,
    gpu::{
        Completion, Disposition, GpuConfig, GpuCore, GpuEnv, MappingToken, Placement, QueueKind,
        QueuedCommand, ScanoutConfig, WindowError,
    },
    guest::{GuestMemory, GuestMemoryError},
    renderer::{Capset, MappedBlob, MemfdRenderer},
    scanout::Frame,
    wire::{Command, CreateBlob, MemEntry, Rect, Request},
};

const TRACES: [&str; 9] = [
    "linux-6.1.192-mmio-blob.jsonl.gz",
    "linux-6.1.192-mmio-console.jsonl.gz",
    "linux-6.1.192-mmio-consoleblob.jsonl.gz",
    "linux-6.1.192-mmio-hotplug.jsonl.gz",
    "linux-6.1.192-mmio-modetest.jsonl.gz",
    "linux-6.1.192-mmio-reset.jsonl.gz",
    "linux-6.12.117-pci-blob.jsonl.gz",
    "linux-6.12.117-pci-modetest.jsonl.gz",
    "linux-6.12.117-pci-reset.jsonl.gz",
];

/// Checksums of last frames that were looked at: a console's last page, and the console that modetest leaves behind.
const LAST_FRAMES: [(&str, u32); 5] = [
    ("linux-6.1.192-mmio-console.jsonl.gz", 0xddbe_6b53),
    ("linux-6.1.192-mmio-consoleblob.jsonl.gz", 0x4109_6df5),
    ("linux-6.1.192-mmio-hotplug.jsonl.gz", 0xaeb9_2407),
    ("linux-6.1.192-mmio-modetest.jsonl.gz", 0x5722_25ae),
    ("linux-6.12.117-pci-modetest.jsonl.gz", 0x7972_4fc6),
];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/data/virtio-gpu-traces")
        .join(name)
}

/// When a blob that left the window is finalized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Right after the command.
    AtOnce,
    /// Some time later, in any order, but before a reset.
    Later,
    /// Only after the next reset.
    AfterReset,
}

/// Surroundings that check what they are told.
#[derive(Default)]
struct World {
    ram_bytes: u64,
    pages: HashMap<u64, Vec<u8>>,
    /// What the guest reaches: by offset.
    window: BTreeMap<u64, (MappingToken, u64)>,
    placed: HashMap<MappingToken, (u64, MappedBlob)>,
    withdrawn: Vec<MappingToken>,
    placed_resource: Option<(u32, MappedBlob)>,
    completions: Vec<Completion>,
    last_frame: Option<Frame>,
    flushes: u64,
    cursor_moves: u64,
}

impl GuestMemory for World {
    fn read_guest(&self, addr: u64, into: &mut [u8]) -> Result<(), GuestMemoryError> {
        if !self.is_guest_ram(addr, into.len() as u64) {
            return Err(GuestMemoryError {
                addr,
                len: into.len() as u64,
            });
        }
        let mut at = addr;
        let mut rest = into;
        while !rest.is_empty() {
            let skip = usize::try_from(at % 4096).expect("small");
            let here = rest.len().min(4096 - skip);
            let (part, behind) = rest.split_at_mut(here);
            match self.pages.get(&(at - at % 4096)) {
                Some(page) => part.copy_from_slice(&page[skip..skip + here]),
                None => part.fill(0),
            }
            at += here as u64;
            rest = behind;
        }
        Ok(())
    }

    fn is_guest_ram(&self, addr: u64, len: u64) -> bool {
        addr.checked_add(len)
            .is_some_and(|end| end <= self.ram_bytes)
    }
}

impl GpuEnv for World {
    fn place(&mut self, placement: Placement) -> Result<(), WindowError> {
        let Placement {
            token, offset, len, ..
        } = placement;
        let end = offset + len;
        let overlap = self
            .window
            .iter()
            .any(|(&at, &(_, n))| at < end && offset < at + n);
        assert!(!overlap, "{token:?} is placed over another blob");
        assert!(placement.blob.backing.len() >= len);
        self.window.insert(offset, (token, len));
        self.placed_resource = Some((placement.resource, placement.blob.clone()));
        let twice = self.placed.insert(token, (offset, placement.blob));
        assert!(twice.is_none(), "a token is used twice");
        Ok(())
    }

    fn withdraw(&mut self, token: MappingToken) {
        let (offset, _) = &self.placed[&token];
        let (there, _) = self.window.remove(offset).expect("withdrawn twice");
        assert_eq!(there, token);
        self.withdrawn.push(token);
    }

    fn complete(&mut self, completion: Completion) {
        self.completions.push(completion);
    }

    fn scanout_changed(&mut self, scanout: u32, frame: Option<&Frame>, damage: Rect) {
        assert_eq!(scanout, 0);
        if let Some(frame) = frame {
            assert!(damage.is_inside(frame.width(), frame.height()));
            self.flushes += 1;
            self.last_frame = Some(frame.clone());
        }
    }

    fn cursor_changed(
        &mut self,
        _: hw_virtio_gpu::wire::CursorPosition,
        _: Option<&hw_virtio_gpu::scanout::CursorImage>,
    ) {
        self.cursor_moves += 1;
    }
}

/// A small generator of numbers, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).expect("below a usize")
    }
}

struct Replay {
    gpu: GpuCore,
    world: World,
    when: When,
    dice: Dice,
    /// What each command in flight is to be answered with.
    expected: HashMap<u16, (u64, CommandEvent)>,
    dropped: BTreeSet<u16>,
    blob_ids: HashMap<u32, CreateBlob>,
    /// Guest memory behind resources, as the requests say.
    backings: HashMap<u32, Vec<MemEntry>>,
    next_head: u16,
    summary: Summary,
}

/// What came of a replay.
#[derive(Debug, Default)]
struct Summary {
    answered: usize,
    suspended: usize,
    waited: usize,
    dropped: usize,
    out_of_order: usize,
    compared_pixels: u64,
    resets_with_blobs: usize,
}

fn device(header: &Header) -> GpuCore {
    let config = GpuConfig {
        scanouts: vec![ScanoutConfig {
            display: header.scanout0_enabled.then(DisplaySize::default),
            edid: Some(DisplaySize::default()),
        }],
        window: header.window_size,
        features: header.features_offered & 0x1f,
        ..GpuConfig::default()
    };
    let capset = |id, len| Capset {
        id,
        max_version: 1,
        data: vec![0; len],
    };
    let renderer = MemfdRenderer::builder()
        .capset(capset(2, 1384))
        .capset(capset(5, 16))
        .refuse_map(0xbad)
        .build();
    GpuCore::new(config, Box::new(renderer)).expect("a good configuration")
}

impl Replay {
    fn run(name: &str, when: When, seed: u64) -> Self {
        let reader = TraceReader::open(&path(name)).expect("a trace");
        let mut replay = Self {
            gpu: device(reader.header()),
            world: World {
                ram_bytes: reader.header().ram_bytes,
                ..World::default()
            },
            when,
            dice: Dice(seed),
            expected: HashMap::new(),
            dropped: BTreeSet::new(),
            blob_ids: HashMap::new(),
            backings: HashMap::new(),
            next_head: 0,
            summary: Summary::default(),
        };
        for recorded in reader {
            let recorded = recorded.expect("a good line");
            let line = recorded.line;
            replay.event(line, recorded.event);
            replay.check_completions(line);
        }
        replay
    }

    fn event(&mut self, line: u64, event: Event) {
        match event {
            Event::Status {
                value,
                features_accepted,
                resources_live,
                blobs_mapped,
            } => {
                if self.when != When::AfterReset {
                    self.finalize_all();
                    self.check_completions(line);
                    assert!(self.expected.is_empty(), "line {line}: unanswered");
                    let counts = self.gpu.counts();
                    assert_eq!(counts.resources as u64, resources_live, "line {line}");
                    assert_eq!(counts.mapped_blobs as u64, blobs_mapped, "line {line}");
                }
                if let Some(features) = features_accepted {
                    self.gpu.set_features(features);
                }
                if value == 0 {
                    self.reset(line);
                }
            }
            Event::ConfigRead { offset, data } => {
                let space = self.gpu.config_space();
                let at = usize::try_from(offset).expect("small");
                assert_eq!(&space[at..at + data.len()], data, "line {line}");
            }
            Event::ConfigWrite { offset, data } => self.gpu.write_config(offset, &data),
            Event::Display { events_read, size } => {
                let size = DisplaySize::new(size.0, size.1).expect("a size");
                assert!(self.gpu.set_display(0, Some(size)).expect("scanout 0"));
                assert_eq!(self.gpu.config_space()[..4], events_read.to_le_bytes());
            }
            Event::Command(command) => self.command(line, command),
            Event::GuestRam(page) => {
                self.world.pages.insert(page.gpa, page.bytes);
            }
            Event::End {
                resources_live,
                blobs_mapped,
                ..
            } => {
                self.finalize_all();
                self.check_completions(line);
                let counts = self.gpu.counts();
                assert_eq!(counts.resources as u64, resources_live);
                assert_eq!(counts.mapped_blobs as u64, blobs_mapped);
                assert_eq!(counts.leaving_blobs, 0);
                if resources_live == 0 {
                    assert_eq!((counts.blob_bytes, counts.pixel_bytes), (0, 0));
                }
            }
        }
    }

    fn command(&mut self, line: u64, command: CommandEvent) {
        let request = Request::parse(&command.request).expect("the driver's requests are good");
        assert_eq!(
            request.encode(),
            command.request,
            "line {line}: printing a request"
        );
        if let Command::ResourceCreateBlob(blob) = &request.command {
            self.blob_ids.insert(blob.resource, blob.clone());
            self.backings.insert(blob.resource, blob.entries.clone());
        }
        if let Command::ResourceAttachBacking { resource, entries } = &request.command {
            self.backings.insert(*resource, entries.clone());
        }
        let head = self.next_head;
        self.next_head += 1;
        let writable = command.descriptors.iter().filter(|(_, writable)| *writable);
        let queued = QueuedCommand {
            queue: match command.queue {
                Queue::Control => QueueKind::Control,
                Queue::Cursor => QueueKind::Cursor,
            },
            head,
            writable: writable
                .map(|&(len, _)| MemEntry { addr: 0, len })
                .collect(),
            request: command.request.clone(),
        };
        self.expected.insert(head, (line, command));
        match self.gpu.submit(queued, &mut self.world) {
            Disposition::Answered => {}
            Disposition::Suspended => self.summary.suspended += 1,
            Disposition::Waiting => self.summary.waited += 1,
            Disposition::Fenced => panic!("line {line}: no fence is held back here"),
        }
        self.check_placed(line);
        if let Command::ResourceFlush { rect, resource } = &request.command {
            self.check_flushed(line, *rect, *resource);
        }
        match self.when {
            When::AtOnce => self.finalize_all(),
            When::Later => {
                while !self.world.withdrawn.is_empty() && self.dice.below(8) == 0 {
                    let index = self.dice.below(self.world.withdrawn.len());
                    self.finalize(index);
                }
            }
            When::AfterReset => {}
        }
    }

    fn finalize(&mut self, index: usize) {
        let token = self.world.withdrawn.swap_remove(index);
        self.world.placed.remove(&token);
        self.gpu.blob_finalized(token, &mut self.world);
        // Again, and one that never was: nothing may come of it.
        let before = self.world.completions.len();
        self.gpu.blob_finalized(token, &mut self.world);
        self.gpu
            .blob_finalized(MappingToken(u64::MAX), &mut self.world);
        assert_eq!(before, self.world.completions.len());
    }

    fn finalize_all(&mut self) {
        while !self.world.withdrawn.is_empty() {
            let index = self.dice.below(self.world.withdrawn.len());
            self.finalize(index);
        }
    }

    fn reset(&mut self, line: u64) {
        let before = self.gpu.counts();
        let done = self.gpu.reset(&mut self.world);
        self.check_completions(line);
        assert_eq!(done.dropped_commands, self.expected.len(), "line {line}");
        assert_eq!(done.resources, before.resources);
        self.summary.dropped += done.dropped_commands;
        self.summary.resets_with_blobs += usize::from(before.mapped_blobs > 0);
        self.dropped
            .extend(self.expected.drain().map(|(head, _)| head));
        let after = self.gpu.counts();
        assert_eq!(
            (after.resources, after.mapped_blobs, after.contexts),
            (0, 0, 0)
        );
        assert!(
            self.world.window.is_empty(),
            "line {line}: a reset left blobs in the window"
        );
        if self.when == When::AtOnce {
            self.finalize_all();
        }
    }

    /// A blob that was just placed begins and ends with its words.
    fn check_placed(&mut self, line: u64) {
        let Some((resource, blob)) = self.world.placed_resource.take() else {
            return;
        };
        let created = &self.blob_ids[&resource];
        let word = |at| {
            let mut word = [0; 4];
            blob.backing.bytes().read(at, &mut word).expect("inside");
            u32::from_le_bytes(word)
        };
        let id = u32::try_from(created.blob_id).expect("a small id");
        assert_eq!(word(0), 0x1b00_0000 | id, "line {line}");
        assert_eq!(word(created.size - 4), 0xe0d0_0000 | id, "line {line}");
    }

    /// What was flushed is what the guest has in its memory: the driver transfers each rectangle right before it flushes it, and
    /// every framebuffer here is as wide as the scanout.
    fn check_flushed(&mut self, line: u64, rect: Rect, resource: u32) {
        let frame = self.gpu.frame(0).expect("something is shown");
        let mut memory = Vec::new();
        for entry in &self.backings[&resource] {
            let mut part = vec![0; entry.len as usize];
            self.world.read_guest(entry.addr, &mut part).expect("RAM");
            memory.extend(part);
        }
        let stride = frame.width() as usize * 4;
        for y in rect.y as usize..(rect.y + rect.height) as usize {
            let row =
                y * stride + rect.x as usize * 4..y * stride + (rect.x + rect.width) as usize * 4;
            assert_eq!(
                frame.pixels()[row.clone()],
                memory[row],
                "line {line}, row {y}"
            );
        }
        self.summary.compared_pixels += u64::from(rect.width) * u64::from(rect.height);
    }

    fn check_completions(&mut self, line: u64) {
        for completion in std::mem::take(&mut self.world.completions) {
            let head = completion.head;
            assert!(
                !self.dropped.contains(&head),
                "line {line}: a dropped command is answered"
            );
            let oldest = self.expected.keys().min().copied();
            self.summary.out_of_order += usize::from(oldest.is_some_and(|o| o < head));
            let (at, command) = self.expected.remove(&head).expect("answered once");
            assert_eq!(completion.generation, self.gpu.generation());
            if let Err(mismatch) = compare(&command.response, &completion.response) {
                panic!("line {at}, {}: {mismatch}", command.name);
            }
            self.summary.answered += 1;
        }
    }
}

#[test]
fn every_reply_and_every_last_frame_match_when_blobs_finalize_at_once() {
    for name in TRACES {
        let replay = Replay::run(name, When::AtOnce, 1);
        assert_eq!(replay.summary.out_of_order, 0, "{name}");
        assert_eq!(replay.summary.dropped, 0, "{name}");
        println!("{name}: {:?}", replay.summary);
        let expected = LAST_FRAMES.iter().find(|(of, _)| *of == name);
        let Some((_, checksum)) = expected else {
            assert_eq!(replay.world.last_frame, None, "{name}");
            continue;
        };
        let frame = replay.world.last_frame.expect("something is shown");
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        save_png(&frame, &file).expect("written");
        let mut sum = flate2::Crc::new();
        sum.update(frame.pixels());
        let sum = sum.sum();
        assert_eq!((frame.width(), frame.height()), (1024, 768), "{name}");
        assert_eq!(
            sum,
            *checksum,
            "{name}: {sum:#010x}, see {}",
            file.display()
        );
    }
}

#[test]
fn every_reply_matches_when_blobs_finalize_late_and_out_of_order() {
    let mut out_of_order = 0;
    let mut waited = 0;
    for name in TRACES
        .into_iter()
        .filter(|n| n.contains("-blob.") || n.contains("reset"))
    {
        for seed in 1..=20 {
            let replay = Replay::run(name, When::Later, seed * 7919);
            assert_eq!(replay.summary.dropped, 0, "{name}");
            out_of_order += replay.summary.out_of_order;
            waited += replay.summary.waited;
        }
    }
    // Both happen, or this test shows nothing.
    assert!(out_of_order > 100, "{out_of_order}");
    assert!(waited > 100, "{waited}");
}

#[test]
fn a_reset_drops_what_waits_and_ids_and_ranges_are_free_at_once() {
    for name in TRACES.into_iter().filter(|n| n.contains("reset")) {
        let replay = Replay::run(name, When::AfterReset, 3);
        assert_eq!(replay.summary.resets_with_blobs, 2, "{name}");
        // Five unmaps and five unrefs of killed processes are still held when the module is unloaded.
        assert_eq!(
            (replay.summary.suspended, replay.summary.dropped),
            (5, 10),
            "{name}"
        );
    }
}
