//! Unmap: a hole at once, the answer when nobody holds the blob any more, and what goes on meanwhile.

use super::board::{Board, Parked, Told, WINDOW, config};
use super::driver::{Driver, LINUX, LONG, SHORT, eventually, fenced, host_blob, map, unmap, unref};
use hw_virtio_gpu::limits::Limits;
use hw_virtio_gpu::renderer::{FenceControl, MemfdRenderer, Timeline};
use hw_virtio_gpu::wire::{Command, ErrorCode, Header, Response};
use memory::{AddressSpace, Snapshot};
use qdev::{Device, DeviceError, DeviceImpl, DeviceOps, RealizeContext};
use qom::{Child, Init, Machine, ObjectImpl, ObjectOps};
use std::sync::{Arc, Mutex};

fn is_alive(d: &mut Driver) -> bool {
    matches!(d.ask(Command::GetDisplayInfo), Response::DisplayInfo(_))
}

#[test]
fn an_unmap_waits_for_a_pin_and_only_what_concerns_it_waits_with_it() {
    let (board, slot, mut d) = Board::running();
    let nic = board.other("nic");
    d.mapped(1, 8192, 0x4000);
    d.mapped(2, 4096, 0x9000);
    let pin = board.pin(&nic, 0x4000);
    let sent = d.send(unmap(1));
    eventually("it is suspended", || {
        slot.gpu.counts().suspended_commands == 1
    });
    assert_eq!(board.word(WINDOW + 0x4000), None, "a hole at once");
    assert!(d.is_silent(sent));
    assert_eq!(slot.log.unmapped(), 0, "the renderer keeps its memory");
    let mut word = [0; 4];
    pin.bytes().read(0, &mut word).unwrap();
    assert_eq!(u32::from_le_bytes(word), MemfdRenderer::first_word(1));

    // Others go on, also with the other blob; what wants the range or the resource waits, in order.
    assert!(is_alive(&mut d));
    assert_eq!(d.ask(unmap(2)), Response::Ok);
    d.ok(host_blob(3, 4096));
    let into_range = d.send(map(3, 0x5000));
    let gone = d.send(unref(1));
    let again = d.send(host_blob(1, 4096));
    assert!(d.is_silent(into_range) && d.is_silent(gone) && d.is_silent(again));
    let counts = slot.gpu.counts();
    assert_eq!((counts.suspended_commands, counts.waiting_commands), (1, 3));
    assert_eq!(board.word(WINDOW + 0x5000), None);

    drop(pin);
    assert_eq!(d.wait(sent).1, Response::Ok);
    assert!(matches!(d.wait(into_range).1, Response::MapInfo(_)));
    assert_eq!(d.wait(gone).1, Response::Ok);
    assert_eq!(d.wait(again).1, Response::Ok);
    assert_eq!(
        board.word(WINDOW + 0x5000),
        Some(MemfdRenderer::first_word(3))
    );
    board.finalized_in_order(&["/machine/gpu0/blob[0]/blob[0]", "/machine/gpu0/blob[0]"]);
    let stats = slot.gpu.stats();
    assert_eq!(
        (stats.commands, stats.dropped_commands),
        (stats.completed_commands, 0)
    );
    assert_eq!(stats.suspended_commands, 2);
    drop((slot, nic));
    board.close();
}

#[test]
fn an_unmap_waits_for_a_reader_that_is_in_the_blob() {
    let (board, slot, mut d) = Board::running();
    d.mapped(5, 4096, 0);
    let reader = Parked::at(&board.memory, WINDOW, 4);
    let sent = d.send(unmap(5));
    eventually("a hole", || board.word(WINDOW).is_none());
    assert!(d.is_silent(sent));
    assert_eq!(
        (slot.gpu.counts().suspended_commands, slot.log.unmapped()),
        (1, 0)
    );
    assert!(is_alive(&mut d));
    let seen = reader.leave();
    assert_eq!(seen, MemfdRenderer::first_word(5).to_le_bytes());
    assert_eq!(d.wait(sent).1, Response::Ok);
    let told = slot.log.all();
    assert!(
        matches!(
            told[..],
            [
                Told::Reset,
                Told::Created(_),
                Told::Mapped(_),
                Told::Unmapped(_)
            ]
        ),
        "{told:?}"
    );
}

#[test]
fn a_fenced_unmap_brings_its_fence_back_when_it_is_done() {
    let (board, slot, mut d) = Board::running();
    let nic = board.other("nic");
    d.mapped(1, 4096, 0);
    let pin = board.pin(&nic, 0);
    let header = Header {
        ctx_id: 6,
        ..fenced(0x1234_5678_9abc)
    };
    let sent = d.send_with(header, unmap(1));
    eventually("it is suspended", || {
        slot.gpu.counts().suspended_commands == 1
    });
    assert!(d.is_silent(sent));
    drop(pin);
    let (header, reply) = d.wait(sent);
    assert_eq!(reply, Response::Ok);
    assert_eq!(
        (header.flags, header.fence_id, header.ctx_id),
        (Header::FENCE, 0x1234_5678_9abc, 6)
    );
}

#[test]
fn a_fenced_unmap_waits_for_the_renderers_fence_too() {
    let control = Arc::<FenceControl>::default();
    let renderer = MemfdRenderer::builder().hold_fences(&control).build();
    let (_board, slot, mut d) = Board::running_with(config(), renderer);
    d.mapped(1, 4096, 0);
    let sent = d.send_with(fenced(7), unmap(1));
    eventually("only the fence is missing", || {
        slot.gpu.counts().fenced_commands == 1
    });
    assert!(d.is_silent(sent));
    assert!(control.signal(Timeline::Device, 7));
    assert_eq!(d.wait(sent).0.fence_id, 7);
}

#[test]
fn unref_of_a_mapped_blob_unmaps_it_first() {
    let (board, slot, mut d) = Board::running();
    let nic = board.other("nic");
    d.mapped(1, 4096, 0);
    let pin = board.pin(&nic, 0);
    let sent = d.send(unref(1));
    eventually("a hole", || board.word(WINDOW).is_none());
    assert!(d.is_silent(sent));
    assert_eq!(slot.log.destroyed(), 0);
    drop(pin);
    assert_eq!(d.wait(sent).1, Response::Ok);
    let told = slot.log.all();
    assert!(
        matches!(told[..], [.., Told::Unmapped(_), Told::Destroyed(_)]),
        "{told:?}"
    );
    assert_eq!(slot.gpu.counts().resources, 0);
}

#[test]
fn held_commands_are_limited() {
    let mut config = config();
    config.limits = Limits {
        held_commands: 2,
        ..Limits::default()
    };
    let (board, slot, mut d) = Board::running_with(config, MemfdRenderer::builder().build());
    let nic = board.other("nic");
    d.mapped(1, 4096, 0);
    d.mapped(2, 4096, 0x1000);
    let pin = board.pin(&nic, 0);
    let first = d.send(unmap(1));
    let second = d.send(unref(1));
    eventually("both are held", || {
        let counts = slot.gpu.counts();
        counts.suspended_commands + counts.waiting_commands == 2
    });
    d.refused(unmap(2), ErrorCode::OutOfMemory);
    assert!(board.word(WINDOW + 0x1000).is_some(), "refused is not done");
    drop(pin);
    assert_eq!(
        (d.wait(first).1, d.wait(second).1),
        (Response::Ok, Response::Ok)
    );
    assert_eq!(d.ask(unmap(2)), Response::Ok);
}

/// The region of the first blob of the first GPU.
fn blob_region(board: &Board) -> Child<memory::Region> {
    let blob = board.machine.resolve("/machine/gpu0/blob[0]").unwrap();
    blob.child_named("blob[0]").unwrap()
}

/// The defect that the design rules out, seeded: the suspended command itself keeps a snapshot of memory, and with it what it waits for.
#[test]
fn a_snapshot_kept_by_the_suspended_command_itself_is_named_as_the_gpus() {
    for seeded in [false, true] {
        let board = Board::new();
        let slot = board.plug_built(0, config(), MemfdRenderer::builder().build(), |builder| {
            if seeded {
                builder.with_snapshots_kept_by_suspended_commands()
            } else {
                builder
            }
        });
        let mut d = board.driver(0);
        d.bring_up(LINUX);
        d.mapped(1, 4096, 0);
        let weak = blob_region(&board).downgrade();
        let region = qom::layer::Target::pointer(&weak).unwrap();
        let sent = d.send(unmap(1));
        if !seeded {
            assert_eq!(d.wait(sent).1, Response::Ok);
            continue;
        }
        eventually("nothing else keeps the blob", || {
            slot.gpu.counts().suspended_commands == 1
                && board.machine.why_alive(&region).paths.len() <= 2
        });
        assert!(d.is_silent(sent), "the command waits for itself");
        let error = board.machine.wait_finalized(&weak, SHORT).unwrap_err();
        for text in [
            error.to_string(),
            board.machine.why_alive(&region).to_string(),
        ] {
            for part in [
                "/machine/gpu0/blob[0]/blob[0]",
                "snapshot by /machine/gpu0",
                "snapshot of a view",
                "shared.rs:",
            ] {
                assert!(text.contains(part), "no {part} in: {text}");
            }
        }
        // A reset drops the command, and all goes.
        d.bring_up(LINUX);
        eventually("the blob ends", || slot.log.destroyed() == 1);
        assert_eq!(slot.gpu.stats().dropped_commands, 1);
        drop((slot, region));
        board.close();
    }
}

/// A device with a defect of the same kind in another place: it keeps a snapshot of memory across the event loop.
struct Hoarder {
    device: Device,
    kept: Mutex<Option<Snapshot>>,
}

qdev::device_type! { Hoarder("hoarder") { device: Device } }

impl ObjectImpl for Hoarder {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            device: cx.parent(),
            kept: Mutex::default(),
        }
    }
}

impl DeviceImpl for Hoarder {
    fn realize(&self, _cx: &RealizeContext<'_>) -> Result<(), DeviceError> {
        Ok(())
    }
}

impl Hoarder {
    /// Takes a snapshot, and says in which line.
    fn hoard(&self, memory: &AddressSpace) -> u32 {
        let (snapshot, line) = (memory.snapshot(self).unwrap(), line!());
        *self.kept.lock().unwrap() = Some(snapshot);
        line
    }
}

#[test]
fn a_snapshot_kept_across_the_event_loop_holds_the_unmap_and_the_ledger_names_it() {
    let (board, slot, mut d) = Board::running();
    let hoarder = board.machine.create::<Hoarder>().unwrap();
    board.machine.root().add_child("hoarder", &hoarder).unwrap();
    hoarder.realize().unwrap();
    d.mapped(1, 4096, 0);
    let region = blob_region(&board);
    let region = qom::layer::Target::pointer(&region).unwrap();
    let line = hoarder.hoard(&board.memory);

    let sent = d.send(unmap(1));
    eventually("it is suspended", || {
        slot.gpu.counts().suspended_commands == 1
    });
    assert!(d.is_silent(sent), "a snapshot shows the blob");
    // Everything else that was pending is gone: the snapshot alone keeps it.
    eventually("nothing else keeps the blob", || {
        board.machine.why_alive(&region).paths.len() <= 2
    });
    assert!(d.is_silent(sent));
    let why = board.machine.why_alive(&region).to_string();
    assert!(why.contains("snapshot by /machine/hoarder"), "{why}");
    let place = format!("suspension.rs:{line}");
    assert!(why.contains(&place), "{place} is not in {why}");
    let left = board.machine.leftovers();
    assert!(
        left.iter()
            .any(|w| w.object.starts_with("/machine/gpu0/blob[0]")),
        "{left:?}"
    );

    let snapshot = hoarder.kept.lock().unwrap().take();
    drop(snapshot);
    assert_eq!(d.wait(sent).1, Response::Ok);
    drop((slot, hoarder, region));
    board.close();
}

#[test]
fn readers_never_see_anything_but_their_blob_or_a_hole() {
    let (board, slot, mut d) = Board::running();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                let reader = board.memory.reader();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let guard = reader.enter();
                    for page in 0..4_u32 {
                        let at = memory::Gpa(WINDOW + u64::from(page) * 4096);
                        if let Ok(word) = guard.load::<u32>(at, memory::Attrs::default()) {
                            assert_eq!(word, MemfdRenderer::first_word(u64::from(page + 1)));
                        }
                    }
                }
            });
        }
        for _ in 0..25 {
            for page in 0..4 {
                d.mapped(page + 1, 4096, u64::from(page) * 4096);
            }
            for page in 0..4 {
                d.ok(unref(page + 1));
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(slot.gpu.stats().finalized_blobs, 100);
    board.machine.quiesce(LONG).unwrap();
    assert_eq!(slot.gpu.counts(), hw_virtio_gpu::gpu::Counts::default());
}

#[test]
fn with_too_much_retired_commands_go_on_and_a_reset_still_empties_the_window() {
    let machine = Machine::builder("full")
        .grace(|grace| {
            grace.retired_bytes_limit = 1;
            // Longer than a busy machine keeps the reclaimer from its work while the board is built.
            grace.limit_wait = 10 * SHORT;
        })
        .build();
    let board = Board::of(machine);
    let slot = board.plug(0, config(), MemfdRenderer::builder().build());
    let mut d = board.driver(0);
    d.bring_up(LINUX);
    d.mapped(9, 4096, 0);
    board.machine.quiesce(LONG).unwrap();
    let reader = Parked::at(&board.memory, WINDOW, 4);
    // The first reset has the guest's thread wait for a moment; from the second on it may begin nothing new, and takes out all the same.
    for _ in 0..3 {
        for resource in 1..=4 {
            d.mapped(resource, 4096, u64::from(resource) * 4096);
        }
        let sent = d.send(unmap(4));
        assert!(d.is_silent(sent));
        d.bring_up(LINUX);
        let hole = |page: u64| board.word(WINDOW + page * 4096).is_none();
        assert!((0..5).all(hole));
    }
    assert_eq!(slot.log.unmapped(), 0);
    assert_eq!(slot.gpu.counts().leaving_blobs, 13);
    assert_eq!(reader.leave(), MemfdRenderer::first_word(9).to_le_bytes());
    eventually("all go back", || slot.log.destroyed() == 13);
    d.mapped(1, 4096, 0);
    drop(slot);
    board.close();
}
