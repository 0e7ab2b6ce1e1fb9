//! Waiting calls: where they are refused, what they wait for, whom they name.

use crate::probe::{Hooks, LONG, Log, Probe, SHORT, plant, probe, probe_with};
use qom::layer::{self, Hold, Holder, Place, Reason};
use qom::{Machine, MachineEvent, ObjectOps, WaitError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

fn place_of(result: Result<(), WaitError>) -> Place {
    match result {
        Err(WaitError::Forbidden { place, .. }) => place,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn waiting_is_refused_wherever_it_could_wait_for_itself() {
    let machine = Machine::new("forbidden");
    let log = Log::default();
    let a = plant(&machine, machine.root(), &log, "a");
    let weak = a.downgrade();
    for place in [
        Place::Hook,
        Place::Finalizer,
        Place::Executor,
        Place::Transaction,
        Place::Listener,
        Place::Subscriber,
    ] {
        let inside = layer::enter(place);
        assert_eq!(machine.waiting_forbidden(), Some(place));
        assert_eq!(place_of(machine.quiesce(LONG)), place);
        assert_eq!(place_of(machine.wait_finalized(&weak, LONG)), place);
        assert_eq!(machine.run_pending(1), 0);
        drop(inside);
    }
    let guard = machine.domain().enter();
    let error = machine.quiesce(LONG).unwrap_err();
    assert_eq!(
        error.to_string(),
        "waiting for the quiescence of machine `forbidden` inside a read section"
    );
    assert_eq!(place_of(machine.wait_finalized(&weak, LONG)), Place::Guard);
    drop(guard);
    machine.quiesce(LONG).unwrap();
}

#[test]
fn a_subscriber_may_not_wait_wherever_it_is_told() {
    let machine = Machine::new("told");
    let log = Log::default();
    let (handle, seen) = (machine.handle().clone(), log.clone());
    let _subscription = machine.subscribe(move |_| {
        seen.say(format!("{:?}", handle.waiting_forbidden()));
    });
    machine.report_panic("an object".into(), "its hook".into(), "oh".into());
    assert_eq!(log.all(), ["Some(Subscriber)"]);
}

#[test]
fn close_is_refused_inside_a_hook_and_can_be_asked_again() {
    let machine = Machine::new("close inside");
    let inside = layer::enter(Place::Hook);
    let (machine, error) = machine.close(LONG).unwrap_err();
    assert!(
        matches!(
            error,
            WaitError::Forbidden {
                place: Place::Hook,
                ..
            }
        ),
        "{error}"
    );
    drop(inside);
    assert!(machine.close(LONG).is_ok());
}

#[test]
fn quiesce_follows_view_to_region_to_owner() {
    struct View(#[expect(dead_code, reason = "held, not read")] Hold);
    let machine = Machine::new("chain");
    let log = Log::default();
    let owner = plant(&machine, machine.root(), &log, "owner");
    let pointer = layer::Target::pointer(&owner).unwrap();
    let region = probe_with(&machine, &log, "region", Hooks::default());
    machine.root().add_child("region", &region).unwrap();
    let view = View(
        Hold::new(
            &layer::Target::pointer(&region).unwrap(),
            Reason("view"),
            Holder::named("view"),
        )
        .unwrap(),
    );
    let late = Hold::new(&pointer, Reason("owner"), Holder::object(region.object())).unwrap();
    machine.retire(1, "view", (view, late));
    region.unparent().unwrap();
    owner.unparent().unwrap();
    drop((region, owner, pointer));
    machine.quiesce(LONG).unwrap();
    assert_eq!(
        (log.count("finalize region"), log.count("finalize owner")),
        (1, 1)
    );
    assert_eq!(machine.counters().grace.retired_items, 0);
}

#[test]
fn quiesce_waits_for_what_was_retired_in_the_domain_itself() {
    struct Slow(Arc<AtomicBool>);
    impl Drop for Slow {
        fn drop(&mut self) {
            std::thread::sleep(Duration::from_millis(30));
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let machine = Machine::new("domain");
    let dropped = Arc::new(AtomicBool::new(false));
    machine
        .domain()
        .retire(8, Box::new(Slow(dropped.clone())), "slow");
    machine.quiesce(LONG).unwrap();
    assert!(dropped.load(Ordering::SeqCst));
}

#[test]
fn quiesce_names_the_reader_that_holds_it_up() {
    let machine = Machine::new("reader");
    let (ready, wait_ready) = std::sync::mpsc::channel();
    let (go, wait_go) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let machine = &machine;
        std::thread::Builder::new()
            .name("sleepy reader".into())
            .spawn_scoped(scope, move || {
                let guard = machine.domain().enter();
                ready.send(()).unwrap();
                let _ = wait_go.recv();
                drop(guard);
            })
            .unwrap();
        wait_ready.recv().unwrap();
        machine.retire(1, "thing", ());
        let error = machine.quiesce(SHORT).unwrap_err();
        assert!(error.to_string().contains("sleepy reader"), "{error}");
        go.send(()).unwrap();
    });
    machine.quiesce(LONG).unwrap();
}

#[test]
fn quiesce_waits_for_bottom_halves_but_not_for_ever() {
    let machine = Machine::new("bottom halves");
    let ran = Arc::new(AtomicBool::new(false));
    let flag = ran.clone();
    machine.defer(move || {
        std::thread::sleep(Duration::from_millis(20));
        flag.store(true, Ordering::SeqCst);
    });
    machine.quiesce(LONG).unwrap();
    assert!(ran.load(Ordering::SeqCst));
    let stop = Arc::new(AtomicBool::new(false));
    crate::executor::again(&machine, &stop);
    machine.quiesce(LONG).unwrap();
    stop.store(true, Ordering::SeqCst);
}

#[test]
fn quiesce_waits_for_what_is_pending_elsewhere() {
    let machine = Machine::new("pending");
    let pending = machine.pending();
    let log = Log::default();
    let error = machine.quiesce(SHORT).unwrap_err();
    assert!(matches!(error, WaitError::TimedOut { .. }), "{error}");
    let a = probe(&machine, &log, "a");
    pending.during(|| drop(a));
    drop(pending);
    machine.quiesce(LONG).unwrap();
    assert_eq!(log.count("finalize a"), 1);
}

#[test]
fn wait_finalized_waits_for_the_end_of_the_finalizer() {
    let machine = Machine::new("slow finalizer");
    let log = Log::default();
    let seen = log.clone();
    let a = probe_with(
        &machine,
        &log,
        "a",
        Hooks::finalize(move |_| {
            std::thread::sleep(Duration::from_millis(60));
            seen.say("slept");
        }),
    );
    let weak = a.downgrade();
    drop(a);
    machine.wait_finalized(&weak, LONG).unwrap();
    assert_eq!(log.count("slept"), 1);
    machine.wait_finalized(&weak, LONG).unwrap();
}

/// Whoever asks before the end and whoever asks while it is being told, hear of it when the fields are gone, the event is told and all is counted.
#[test]
fn wait_finalized_waits_until_the_fields_are_gone_and_all_is_told() {
    let machine = Machine::new("slow fields");
    let log = Log::default();
    let (began, begun) = mpsc::channel();
    let seen = log.clone();
    let _told = machine.subscribe(move |event| {
        if let MachineEvent::Finalized { .. } = event {
            std::thread::sleep(SHORT);
            seen.say("told");
        }
    });
    let seen = log.clone();
    let hooks = Hooks {
        dropped: Some(Box::new(move |_| {
            began.send(()).unwrap();
            std::thread::sleep(SHORT);
            seen.say("dropped");
        })),
        ..Hooks::default()
    };
    let a = probe_with(&machine, &log, "a", hooks);
    let weak = a.downgrade();
    let before = machine.counters().finalized;
    let wait = || {
        machine.wait_finalized(&weak, LONG).unwrap();
        let counters = machine.counters();
        let said = ["dropped", "told"].map(|what| log.count(what));
        (said, counters.finalized - before, counters.live_objects)
    };
    let others = machine.counters().live_objects - 1;
    std::thread::scope(|scope| {
        let early = scope.spawn(wait);
        drop(a);
        begun.recv_timeout(LONG).unwrap();
        let late = scope.spawn(wait);
        let later = scope.spawn(|| {
            while log.count("dropped") == 0 {
                std::thread::yield_now();
            }
            wait()
        });
        for waited in [early, late, later] {
            assert_eq!(waited.join().unwrap(), ([1, 1], 1, others));
        }
    });
    machine.wait_finalized(&weak, Duration::ZERO).unwrap();
}

#[test]
fn wait_finalized_names_the_holder_with_its_source_line() {
    let machine = Machine::builder("holder").recording(true).build();
    let log = Log::default();
    let a = plant(&machine, machine.root(), &log, "a");
    let line = line!() + 1;
    let kept = a.clone();
    a.unparent().unwrap();
    let weak = a.downgrade();
    drop(a);
    let error = machine.wait_finalized(&weak, SHORT).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("the finalization of /machine/a (withdrawn) did not happen within"),
        "{text}"
    );
    assert!(
        text.contains(&format!("[user handle] at {}:{line}", file!())),
        "{text}"
    );
    drop(kept);
    machine.wait_finalized(&weak, LONG).unwrap();
}

#[test]
fn a_hook_that_waits_for_the_waiters_lock_runs_into_the_time_out() {
    let machine = Machine::new("lock");
    let log = Log::default();
    let lock = Arc::new(parking_lot::Mutex::new(()));
    let taken = lock.clone();
    let a = probe_with(
        &machine,
        &log,
        "a",
        Hooks::unparent(move |_| drop(taken.lock())),
    );
    machine.root().add_child("a", &a).unwrap();
    let held = lock.lock();
    let ticket = a.unparent_async().unwrap();
    assert!(
        matches!(ticket.wait(SHORT), Err(WaitError::TimedOut { .. })),
        "and not for ever"
    );
    drop(held);
    ticket.wait(LONG).unwrap();
}

#[test]
fn the_instance_is_dropped_on_the_executor_wherever_the_last_pointer_goes() {
    let machine = Machine::new("last pointer");
    let log = Log::default();
    let thread = Log::default();
    let said = thread.clone();
    let hooks = Hooks {
        dropped: Some(Box::new(move |_: &Probe| {
            said.say(std::thread::current().name().unwrap_or_default());
        })),
        ..Hooks::default()
    };
    let a = probe_with(&machine, &log, "a", hooks);
    let (weak, pointer) = (a.downgrade(), layer::Target::pointer(&a).unwrap());
    drop(a);
    machine.wait_finalized(&weak, LONG).unwrap();
    assert!(log.of("drop").is_empty(), "the block is still there");
    drop(pointer);
    machine.quiesce(LONG).unwrap();
    assert_eq!(thread.all(), ["qom-exec:last pointer"]);
}
