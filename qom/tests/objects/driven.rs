//! A machine that the embedder's event loop drives.

use crate::probe::{Hooks, LONG, Log, plant, probe, probe_with};
use parking_lot::Mutex;
use qom::layer::{Hold, Holder};
use qom::{Container, Machine, ObjectOps, Reason};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;

fn driven(name: &str) -> (Machine, Arc<AtomicUsize>) {
    let wakes = Arc::new(AtomicUsize::new(0));
    let count = wakes.clone();
    let machine = Machine::builder(name)
        .embedder_driven(Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }))
        .build();
    (machine, wakes)
}

#[test]
fn nothing_runs_before_the_loop_runs_it() {
    let (machine, wakes) = driven("loop");
    let log = Log::default();
    let a = probe(&machine, &log, "a");
    assert_eq!(wakes.load(Ordering::SeqCst), 0);
    drop(a);
    assert!(wakes.load(Ordering::SeqCst) > 0);
    assert!(log.of("unparent").is_empty());
    assert_eq!(machine.run_pending(1), 1);
    assert_eq!((log.count("unparent a"), log.count("finalize a")), (1, 0));
    assert_eq!(machine.run_pending(100), 1);
    assert_eq!(log.count("finalize a"), 1);
    assert_eq!(machine.run_pending(100), 0);
    assert_eq!(machine.counters().executor_wakeups, 0);
}

#[test]
fn waiting_calls_do_what_they_wait_for() {
    let (machine, _) = driven("helping");
    let log = Log::default();
    let a = plant(&machine, machine.root(), &log, "a");
    let b = plant(&machine, machine.root(), &log, "b");
    let ran = log.clone();
    machine.defer(move || ran.say("bottom half"));
    assert!(a.unparent().unwrap().is_done());
    assert!(
        log.of("bottom half").is_empty(),
        "an unparent runs teardown only"
    );
    b.unparent_async().unwrap().wait(LONG).unwrap();
    let weak = b.downgrade();
    drop((a, b));
    machine.wait_finalized(&weak, LONG).unwrap();
    machine.retire(1, "thing", ());
    machine.quiesce(LONG).unwrap();
    assert_eq!(log.of("finalize").len(), 2);
    assert_eq!(log.count("bottom half"), 1);
    assert!(machine.close(LONG).is_ok());
}

#[test]
fn a_panicking_wake_harms_nobody() {
    let machine = Machine::builder("bad wake")
        .embedder_driven(Arc::new(|| panic!("no")))
        .build();
    let log = Log::default();
    drop(probe(&machine, &log, "a"));
    machine.quiesce(LONG).unwrap();
    assert_eq!(log.count("finalize a"), 1);
}

#[test]
fn a_hook_cannot_run_the_loop_inside_the_loop() {
    let (machine, _) = driven("nested");
    let log = Log::default();
    let (handle, seen) = (machine.handle().clone(), log.clone());
    let a = probe_with(
        &machine,
        &log,
        "a",
        Hooks::unparent(move |_| seen.say(format!("ran {}", handle.run_pending(9)))),
    );
    drop(probe(&machine, &log, "b"));
    drop(a);
    while machine.run_pending(10) > 0 {}
    assert_eq!(log.count("ran 0"), 1);
}

#[test]
fn two_threads_that_run_the_loop_keep_the_order_of_finalizers() {
    let (machine, _) = driven("two loops");
    let log = Log::default();
    for i in 0..50 {
        let parent = plant(&machine, machine.root(), &log, &format!("p{i}"));
        let ended = log.clone();
        let slow = Hooks::finalize(move |c| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            ended.say(format!("ended {}", c.name));
        });
        let child = probe_with(&machine, &log, &format!("c{i}"), slow);
        parent.add_child("child", &child).unwrap();
    }
    for (_, child) in machine.root().children() {
        let _ticket = child.unparent_async().unwrap();
    }
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| machine.quiesce(LONG).unwrap());
        }
    });
    assert_eq!(log.of("finalize").len(), 100);
    let said = log.all();
    for i in 0..50 {
        let at = |what: String| said.iter().position(|l| *l == what).unwrap();
        assert!(at(format!("ended c{i}")) < at(format!("finalize p{i}")));
    }
}

#[test]
fn a_driven_machine_that_is_dropped_ends_by_itself() {
    let (machine, _) = driven("dropped");
    let log = Log::default();
    plant(&machine, machine.root(), &log, "a");
    let (done, wait) = std::sync::mpsc::channel();
    let done = parking_lot::Mutex::new(done);
    let b = probe_with(
        &machine,
        &log,
        "b",
        Hooks::finalize(move |_| done.lock().send(()).unwrap()),
    );
    machine.root().add_child("b", &b).unwrap();
    drop(machine);
    drop(b);
    wait.recv_timeout(LONG).unwrap();
    assert_eq!(log.count("unparent a"), 1);
}

/// Whether what the wake function below has captured is dropped.
static GONE: AtomicBool = AtomicBool::new(false);

struct Captured;

impl Drop for Captured {
    fn drop(&mut self) {
        GONE.store(true, Ordering::SeqCst);
    }
}

thread_local! {
    static WAITS: Cell<bool> = const { Cell::new(false) };
}

#[test]
fn the_last_hold_keeps_the_machine_until_it_has_called_the_wake_function() {
    let captured = Captured;
    let (here, is_here) = channel();
    let (go_on, told) = channel();
    let told = Mutex::new(told);
    let machine = Machine::builder("late wake")
        .embedder_driven(Arc::new(move || {
            let _kept = &captured;
            if WAITS.get() {
                here.send(()).unwrap();
                let _ = told.lock().recv_timeout(LONG);
                assert!(!GONE.load(Ordering::SeqCst), "dropped while it is called");
            }
        }))
        .build();
    let object = machine.create::<Container>().unwrap();
    machine.root().add_child("object", &object).unwrap();
    let hold = Hold::new(object.object(), Reason("an I/O"), Holder::Outside).unwrap();
    object.unparent().unwrap();
    drop(object);
    let worker = std::thread::spawn(move || {
        WAITS.set(true);
        drop(hold);
    });
    is_here.recv_timeout(LONG).unwrap();
    machine.close(LONG).map_err(|(_, error)| error).unwrap();
    assert!(!GONE.load(Ordering::SeqCst), "somebody is in it");
    go_on.send(()).unwrap();
    worker.join().unwrap();
    assert!(GONE.load(Ordering::SeqCst));
}
