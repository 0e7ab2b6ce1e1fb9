//! Reads of 32 bits that are answered by callbacks, in 1 to 16,384 regions, another one each time.
//!
//! The devices have one register. Where none of them takes a lock, what is measured is the way to the callback; where all do, what such
//! devices usually cost.

use crate::contest::{Contest, Effort, thread};
use crate::ours::{Board, Locked, PAGE, Plain};
use crate::peers::bus::Bus;
use crate::peers::vm_device;
use crate::random::{Pool, Random};
use crate::report::{Report, Unit, Work};
use ::vm_device::bus::MmioAddress;
use ::vm_device::device_manager::{IoManager, MmioManager};
use memory::{Attrs, Gpa};
use std::hint::black_box;
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// The group's name.
pub(super) const NAME: &str = "mmio";
/// Numbers of regions.
const SIZES: [u64; 4] = [1, 64, 1024, 16_384];
const PAIRS: [(&str, &str); 4] = [
    ("vm-device", "ours, guard each"),
    ("vm-device in RwLock", "ours, guard each"),
    ("Mutex<BTreeMap> bus", "ours, guard each"),
    ("vm-device, device lock", "ours, device lock"),
];

pub(super) fn run(effort: Effort, report: &mut Report) {
    for n in effort.sizes(&SIZES) {
        for (work, each) in [("read, one owner", false), ("read, an owner each", true)] {
            let board = Board::with_cards::<Plain>(n, each);
            let locking = Board::with_cards::<Locked>(n, each);
            // To make one takes quadratic time, so the bare one is this one with the lock taken beforehand.
            let shared = RwLock::new(vm_device::manager(n, each, vm_device::plain));
            let locked = vm_device::manager(n, each, vm_device::locked);
            let bus = bus(n, each);
            let addresses = addresses(n);
            let mut contest = Contest::new();
            contest
                .add("ours, guard each", ours(&board, &addresses))
                .add("ours, guard held", held(&board, &addresses))
                .add("vm-device", |rounds| {
                    let manager = shared.read().expect("nobody panics under it");
                    ask(rounds, &addresses, &manager)
                })
                .add("vm-device in RwLock", |rounds| {
                    thread(|| {
                        addresses.each(0, rounds, |addr| {
                            let manager = shared.read().expect("nobody panics under it");
                            peer_read(&manager, addr);
                        });
                    })
                })
                .add("Mutex<BTreeMap> bus", |rounds| {
                    thread(|| {
                        addresses.each(0, rounds, |addr| {
                            let mut data = [0; 4];
                            assert!(bus.read(addr, &mut data), "somebody is there");
                            black_box(u32::from_le_bytes(data));
                        });
                    })
                })
                .add("ours, device lock", ours(&locking, &addresses))
                .add("vm-device, device lock", |rounds| {
                    ask(rounds, &addresses, &locked)
                });
            let outcomes = contest.run_alone(effort);
            drop(contest);
            let work = Work {
                group: NAME,
                work,
                n,
                unit: Unit::Nanos,
            };
            report.outcomes(&work, &PAIRS, outcomes);
            board.close();
            locking.close();
        }
    }
}

/// The register of a random region, each time.
fn addresses(n: u64) -> Pool {
    let mut random = Random::new(n);
    Pool::of(|| random.below(n) * PAGE + 8)
}

fn ours<'a>(board: &'a Board, addresses: &'a Pool) -> impl FnMut(u64) -> Duration + 'a {
    move |rounds| {
        thread(|| {
            addresses.each(0, rounds, |addr| {
                let read = board.space.load::<u32>(Gpa(addr), Attrs::default());
                black_box(read.expect("somebody is there"));
            });
        })
    }
}

fn held<'a>(board: &'a Board, addresses: &'a Pool) -> impl FnMut(u64) -> Duration + 'a {
    move |rounds| {
        thread(|| {
            let guard = board.space.enter();
            addresses.each(0, rounds, |addr| {
                let read = guard.load::<u32>(Gpa(addr), Attrs::default());
                black_box(read.expect("somebody is there"));
            });
        })
    }
}

fn ask(rounds: u64, addresses: &Pool, manager: &IoManager) -> Duration {
    thread(|| addresses.each(0, rounds, |addr| peer_read(manager, addr)))
}

#[inline]
fn peer_read(manager: &IoManager, addr: u64) {
    let mut data = [0; 4];
    let read = manager.mmio_read(MmioAddress(addr), &mut data);
    read.expect("somebody is there");
    black_box(u32::from_le_bytes(data));
}

fn bus(n: u64, a_device_each: bool) -> Bus {
    let bus = Bus::default();
    let mut one = Arc::new(vm_device::Plain::default());
    for i in 0..n {
        if a_device_each && i > 0 {
            one = Arc::default();
        }
        assert!(bus.insert(i * PAGE, PAGE, one.clone()), "a free range");
    }
    bus
}
