//! Unplug and the machine's end, with blobs mapped, pinned and on their way out, and readers at work.

use super::board::{Board, Parked, REGS, WINDOW, config};
use super::driver::{LINUX, LONG, SHORT, eventually, reg, unmap, unref};
use hw_virtio_gpu::renderer::MemfdRenderer;
use memory::{Attrs, Gpa};
use qom::ObjectOps;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Threads that read and write everything that a guest can reach, until they are stopped.
struct Hammer {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Hammer {
    fn on(board: &Board) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let threads = (0..2_u32)
            .map(|n| {
                let (memory, stop) = (board.memory.clone(), stop.clone());
                std::thread::spawn(move || {
                    let plain = Attrs::default();
                    while !stop.load(Ordering::Relaxed) {
                        for page in 0..4 {
                            let at = Gpa(WINDOW + page * 4096);
                            if let Ok(word) = memory.load::<u32>(at, plain) {
                                assert_eq!(word & 0xffff_0000, 0x1b00_0000, "{word:#x}");
                            }
                            let _ = memory.store(Gpa(at.0 + 64), n, plain);
                        }
                        let _ = memory.load::<u32>(Gpa(REGS + reg::STATUS), plain);
                        let _ = memory.store(Gpa(REGS + reg::NOTIFY), n, plain);
                        let _ = memory.load::<u64>(Gpa(REGS + reg::CONFIG), plain);
                    }
                })
            })
            .collect();
        Self { stop, threads }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

#[test]
fn unplug_with_blobs_mapped_pinned_and_suspended() {
    let board = Board::new();
    let objects = board.machine.counters().live_objects;
    let slot = board.plug(0, config(), MemfdRenderer::builder().build());
    let nic = board.other("nic");
    let mut d = board.driver(0);
    d.bring_up(LINUX);
    let deleted = Arc::<Mutex<Vec<String>>>::default();
    let sink = deleted.clone();
    let _told = qdev::on_deleted(&board.machine, move |gone| {
        sink.lock().unwrap().push(gone.path.clone());
    });
    for i in 0..4 {
        d.mapped(i + 1, 4096, u64::from(i) * 4096);
    }
    let hammer = Hammer::on(&board);
    // 1 is mapped, 2 is mapped and pinned, 3 is pinned and on its way out, 4 is being read.
    let pins = [board.pin(&nic, 0x1000), board.pin(&nic, 0x2000)];
    let reader = Parked::at(&board.memory, WINDOW + 0x3000, 4);
    d.send(unmap(3));
    d.send(unref(3));
    eventually("they are held", || slot.gpu.counts().waiting_commands == 1);
    let answered = d.used(0);

    slot.gpu.unparent().unwrap().wait(LONG).unwrap();
    assert!((0..4).all(|page| board.word(WINDOW + page * 4096).is_none()));
    assert_eq!(board.word(REGS), None);
    assert!(!slot.line.level(), "the line is low");
    let stats = slot.gpu.stats();
    assert_eq!((stats.dropped_commands, stats.resets), (2, 2));
    assert_eq!(slot.gpu.counts().suspended_commands, 0);
    let (gpu, log) = (slot.gpu.downgrade(), slot.log.clone());
    drop(slot);
    std::thread::sleep(SHORT);
    assert!(
        board.machine.wait_finalized(&gpu, SHORT).is_err(),
        "pins keep the device"
    );
    assert!(deleted.lock().unwrap().is_empty());
    assert_eq!(
        log.unmapped(),
        0,
        "the reader's section covers all that left with it"
    );
    assert_eq!(reader.leave(), MemfdRenderer::first_word(4).to_le_bytes());
    eventually("what nobody holds goes back", || log.destroyed() == 2);
    let [one, two] = pins;
    drop(one);
    eventually("the next", || log.destroyed() == 3);
    assert!(deleted.lock().unwrap().is_empty());
    drop(two);
    board.machine.wait_finalized(&gpu, LONG).unwrap();
    hammer.stop();
    board.machine.quiesce(LONG).unwrap();
    assert_eq!((log.unmapped(), log.destroyed()), (4, 4));
    assert_eq!(d.used(0), answered, "a dropped command gets no used entry");
    assert_eq!(*deleted.lock().unwrap(), ["/machine/gpu0"]);
    for n in 0..4 {
        let blob = format!("/machine/gpu0/blob[{n}]");
        board.finalized_in_order(&[&format!("{blob}/blob[0]"), &blob, "/machine/gpu0"]);
    }
    assert_eq!(
        board.machine.counters().live_objects,
        objects + 1,
        "the NIC is left"
    );
    assert_eq!(memory::counters(&board.machine).live_pins, 0);
    drop(nic);
    board.close();
}

#[test]
fn the_machine_is_closed_over_a_running_device() {
    let (board, slot, mut d) = Board::running();
    let nic = board.other("nic");
    for i in 0..4 {
        d.mapped(i + 1, 4096, u64::from(i) * 4096);
    }
    let hammer = Hammer::on(&board);
    let pin = board.pin(&nic, 0x1000);
    d.send(unmap(2));
    eventually("it is suspended", || {
        slot.gpu.counts().suspended_commands == 1
    });
    let log = slot.log.clone();
    drop((slot, nic));
    let Err((machine, error)) = board.machine.close(std::time::Duration::from_millis(200)) else {
        panic!("a pin is there");
    };
    assert!(error.to_string().contains("pin"), "{error}");
    assert_eq!(log.destroyed(), 3);
    drop(pin);
    hammer.stop();
    if let Err((_, error)) = machine.close(LONG) {
        panic!("{error}");
    }
    assert_eq!((log.unmapped(), log.destroyed()), (4, 4));
}

#[test]
fn the_machine_is_dropped_over_a_running_device_with_a_pin_that_stays() {
    let (board, slot, mut d) = Board::running();
    let nic = board.other("nic");
    d.mapped(1, 4096, 0);
    d.mapped(2, 4096, 0x1000);
    let pin = board.pin(&nic, 0);
    d.send(unmap(1));
    let log = slot.log.clone();
    drop((slot, nic));
    drop(board);
    eventually("what is not pinned goes", || log.destroyed() == 1);
    std::thread::sleep(SHORT);
    assert_eq!(log.destroyed(), 1);
    drop(pin);
    eventually("then the rest", || log.destroyed() == 2);
}

#[test]
fn plugged_and_unplugged_under_fire() {
    let board = Board::new();
    let objects = board.machine.counters().live_objects;
    let hammer = Hammer::on(&board);
    let mut logs = Vec::new();
    for _ in 0..10 {
        let slot = board.plug(0, config(), MemfdRenderer::builder().build());
        let mut d = board.driver(0);
        d.bring_up(LINUX);
        for i in 0..4 {
            d.mapped(i + 1, 4096, u64::from(i) * 4096);
        }
        d.send(unmap(1));
        d.send(unref(2));
        slot.gpu.unparent().unwrap().wait(LONG).unwrap();
        logs.push(slot.log.clone());
    }
    hammer.stop();
    board.machine.quiesce(LONG).unwrap();
    for log in logs {
        assert_eq!((log.unmapped(), log.destroyed()), (4, 4));
    }
    assert_eq!(board.machine.counters().live_objects, objects);
    board.close();
}
