//! The executor: no kind of work starves another, and nothing wakes it for nothing.

use crate::probe::{Hooks, LONG, Log, plant, probe, probe_with};
use parking_lot::Mutex;
use qom::{
    ClassInit, Container, Init, Machine, MachineHandle, ObjectImpl, ObjectOps, RootObject, layer,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Retires itself again and again.
struct Restless(MachineHandle, Arc<AtomicBool>);
impl Drop for Restless {
    fn drop(&mut self) {
        if !self.1.load(Ordering::SeqCst) {
            self.0
                .retire(1, "restless", Self(self.0.clone(), self.1.clone()));
        }
    }
}

/// A bottom half that queues itself for as long as nobody stops it.
pub(crate) fn again(machine: &MachineHandle, stop: &Arc<AtomicBool>) {
    let (m, s) = (machine.clone(), stop.clone());
    machine.defer(move || {
        if !s.load(Ordering::SeqCst) {
            again(&m, &s);
        }
    });
}

#[test]
fn teardown_and_finalizers_run_beside_floods_of_everything_else() {
    let machine = Machine::new("flood");
    let stop = Arc::new(AtomicBool::new(false));
    for _ in 0..8 {
        drop(Restless(machine.handle().clone(), stop.clone()));
        again(&machine, &stop);
    }
    let log = Log::default();
    for i in 0..20 {
        let name = format!("o{i}");
        let o = plant(&machine, machine.root(), &log, &name);
        o.unparent_async().unwrap().wait(LONG).unwrap();
        let weak = o.downgrade();
        drop(o);
        machine.wait_finalized(&weak, LONG).unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    assert_eq!(log.of("finalize").len(), 20);
}

#[test]
fn bottom_halves_run_beside_a_flood_of_finalizers() {
    let machine = Machine::builder("order")
        .embedder_driven(Arc::new(|| {}))
        .build();
    let log = Log::default();
    for i in 0..100 {
        drop(probe(&machine, &log, &format!("o{i}")));
    }
    let said = log.clone();
    machine.defer(move || said.say("bottom half"));
    machine.run_pending(8);
    assert_eq!(log.count("bottom half"), 1);
}

#[test]
fn an_idle_machine_is_not_woken() {
    let machine = Machine::new("idle");
    let log = Log::default();
    drop(probe(&machine, &log, "a"));
    machine.quiesce(LONG).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let before = machine.counters().executor_wakeups;
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(machine.counters().executor_wakeups, before);
}

/// An object whose step 1 wakes the executor, which finds nothing that it may do yet.
struct Waker {
    object: RootObject,
}
qom::object_type! { Waker("executor-waker") { object: RootObject }, install |class: &mut ClassInit<'_>| { class.layer(&WAKING); } }
impl ObjectImpl for Waker {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
        }
    }
}
static WAKING: layer::LayerHooks = layer::LayerHooks {
    name: "waking",
    mark: None,
    retract: Some(|machine, batch| {
        machine.defer(|| ());
        // Of different length each time, to meet the executor at each step of its way to sleep.
        for _ in 0..batch[0].id().0 % 64 * 32 {
            std::hint::spin_loop();
        }
    }),
    close: None,
};

#[test]
fn no_wake_up_is_lost_between_the_mark_and_the_end_of_step_one() {
    let machine = Machine::new("wake-ups");
    for round in 0..20_000 {
        let object = machine.create::<Waker>().unwrap();
        machine.root().add_child("waker", &object).unwrap();
        let ticket = object.unparent_async().unwrap();
        let waited = ticket.wait(LONG);
        assert!(waited.is_ok(), "{waited:?} in round {round}");
    }
}

#[test]
fn who_unparents_faster_than_finalizers_run_is_slowed_down_and_never_stopped() {
    const BACKLOG: usize = 4096;
    let machine = Machine::new("backlog");
    let log = Log::default();
    // A finalizer that goes on when it is told to.
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let slow = probe_with(
        &machine,
        &log,
        "slow",
        Hooks::finalize(move |_| {
            assert!(wait.lock().recv().is_err(), "nothing is ever sent");
        }),
    );
    machine.root().add_child("slow", &slow).unwrap();
    slow.unparent().unwrap();
    drop(slow);
    let unplug = |name: &str| {
        let object = machine.create::<Container>().unwrap();
        machine.root().add_child(name, &object).unwrap();
        let start = Instant::now();
        object.unparent().unwrap();
        start.elapsed()
    };
    for _ in 0..BACKLOG {
        unplug("early");
    }
    let late: Vec<_> = (0..5).map(|_| unplug("late")).collect();
    assert!(
        late.iter().all(|t| *t >= Duration::from_millis(1)),
        "{late:?}"
    );
    drop(go_on);
    machine.quiesce(LONG).unwrap();
    assert_eq!(machine.counters().live_objects, 1);
}
