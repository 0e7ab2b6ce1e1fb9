//! A blob of a virtio-gpu: mapped and unmapped by commands in the ring, beside up to 16,384 that stay, until the reply.
//!
//! An unmap is answered when nobody can reach the blob's bytes any more: after a commit, a grace period and two finalizers. The situations are
//! those of the withdrawals: as fast as the driver can with the defaults, with a reclaimer that is awake for certain, and after a pause. The time
//! begins at the driver's notification and ends when the interrupt line goes high.

use crate::contest::Effort;
use crate::guest::{Bell, Driver, Pages};
use crate::ours::{Board, Counting, LONG, PAGE, RAM};
use crate::report::{Report, Unit, Work};
use crate::statistics::Samples;
use hw_virtio_gpu::VirtioGpu;
use hw_virtio_gpu::gpu::GpuConfig;
use hw_virtio_gpu::limits::Limits;
use hw_virtio_gpu::wire::{Command, CreateBlob, Response};
use memory::{Offset, Priority, Region, RegionApi};
use qdev::DeviceOps;
use qom::{Machine, ObjectOps};
use std::sync::Arc;
use std::time::Duration;

/// The group's name.
pub(super) const NAME: &str = "blob";
const SIZES: [u64; 4] = [0, 256, 4096, 16_384];
const RAM_PART: u64 = 1 << 20;
const REGS: u64 = 0xfe00_0000;
const WINDOW: u64 = 0x2_0000_0000;
/// So long nothing happens before a command of those that have slept.
const PAUSE: Duration = Duration::from_millis(2);
/// Longer than a command takes.
const LONG_SPIN: Duration = Duration::from_millis(2);

pub(super) fn run(effort: Effort, report: &mut Report) {
    let sizes = effort.sizes(&SIZES);
    for (situation, spin, pause) in [
        ("back to back", None, None),
        ("spinning", Some(LONG_SPIN), None),
        ("slept", None, Some(PAUSE)),
    ] {
        let machine =
            Machine::builder("bench").grace(|grace| grace.spin = spin.unwrap_or(grace.spin));
        let mut stage = Stage::new(machine.build());
        for n in &sizes {
            stage.fill(*n);
            let rounds = effort.samples() * if pause.is_some() { 3 } else { 8 };
            let seen = stage.measured(rounds, pause);
            for (what, micros) in [("map", seen.maps), ("unmap", seen.unmaps)] {
                let work = Work {
                    group: NAME,
                    work: &format!("{what}, {situation}"),
                    n: *n,
                    unit: Unit::Micros,
                };
                report.figure(&work, "to the reply", micros.summary());
            }
        }
        stage.close();
    }
}

/// A board with a GPU, and its driver.
struct Stage {
    board: Board,
    gpu: qom::Ref<VirtioGpu>,
    driver: Driver,
    /// Blobs that stay: those with the numbers up to this one.
    live: u64,
}

struct Seen {
    maps: Samples,
    unmaps: Samples,
}

impl Stage {
    fn new(machine: Machine) -> Self {
        let board = Board::of(machine);
        let listener = board.space.listen(&board.holder, Counting::default());
        listener.expect("the holder is there");
        let ram = RAM.slice(0, RAM_PART).expect("a part of the RAM");
        let ram = Region::ram("ram", ram).create(board.machine.root());
        board.show(&[(0, ram.expect("a region"))]);
        let most = SIZES[SIZES.len() - 1] + 1;
        let config = GpuConfig {
            limits: Limits {
                resources: usize::try_from(most).expect("memory for them"),
                ..Limits::default()
            },
            window: (2 * most + 2) * PAGE,
            ..GpuConfig::default()
        };
        let bell = Arc::new(Bell::default());
        let gpu = VirtioGpu::builder()
            .config(config)
            .renderer(Pages)
            .memory(&board.space)
            .line(bell.clone())
            .create(&board.machine)
            .expect("a legal configuration");
        let added = board.machine.root().add_child("gpu", &gpu);
        added.expect("a free name");
        let set = gpu.set_property("window-base", WINDOW);
        set.expect("a multiple of the page size");
        gpu.realize().expect("it has its memory");
        for (at, region) in [(REGS, gpu.regs()), (WINDOW, gpu.window())] {
            let added = board.system.add_subregion(Offset(at), region, Priority(0));
            added.expect("it is nowhere");
        }
        let driver = Driver::bring_up(&board.space, REGS, 0, &bell);
        let mut this = Self {
            board,
            gpu,
            driver,
            live: 0,
        };
        // Number 1 is the one that comes and goes.
        this.create(1);
        this
    }

    fn create(&mut self, resource: u32) {
        let blob = CreateBlob {
            resource,
            memory: CreateBlob::HOST3D,
            flags: CreateBlob::MAPPABLE,
            blob_id: u64::from(resource),
            size: PAGE,
            entries: Vec::new(),
        };
        let answer = self.driver.ask(Command::ResourceCreateBlob(blob));
        assert_eq!(answer.response, Response::Ok);
    }

    /// Maps blobs until `n` of them stay, at every other page.
    fn fill(&mut self, n: u64) {
        while self.live < n {
            self.live += 1;
            let resource = u32::try_from(self.live + 1).expect("a small number");
            self.create(resource);
            let offset = self.live * 2 * PAGE;
            let command = Command::ResourceMapBlob { resource, offset };
            let answer = self.driver.ask(command);
            assert!(matches!(answer.response, Response::MapInfo(_)));
        }
        assert_eq!(
            self.gpu.stats().placed_blobs - self.gpu.stats().withdrawn_blobs,
            n
        );
        self.board.settle();
    }

    /// Maps and unmaps, each time between others of the blobs.
    fn measured(&mut self, rounds: usize, pause: Option<Duration>) -> Seen {
        let mut random = crate::random::Random::new(self.live);
        let (mut maps, mut unmaps) = (Vec::new(), Vec::new());
        let resource = 1;
        for round in 0..=rounds {
            let offset = (random.below(self.live + 1) * 2 + 1) * PAGE;
            let map = Command::ResourceMapBlob { resource, offset };
            for (command, micros) in [
                (map, &mut maps),
                (Command::ResourceUnmapBlob { resource }, &mut unmaps),
            ] {
                if let Some(pause) = pause {
                    std::thread::sleep(pause);
                }
                let answer = self.driver.ask(command);
                assert!(matches!(
                    answer.response,
                    Response::Ok | Response::MapInfo(_)
                ));
                // The first is the warm-up.
                if round > 0 {
                    micros.push((answer.answered - answer.asked).as_secs_f64() * 1e6);
                }
            }
        }
        Seen {
            maps: Samples::new(maps),
            unmaps: Samples::new(unmaps),
        }
    }

    fn close(self) {
        let Self {
            board, gpu, driver, ..
        } = self;
        drop(driver);
        let ticket = gpu.unparent().expect("it is there");
        drop(gpu);
        ticket.wait(LONG).expect("nobody holds it");
        board.close();
    }
}
