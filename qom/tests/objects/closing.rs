//! The end of a machine: closed, closed with something left, dropped; alone and beside others.

use crate::probe::{Hooks, LONG, Log, SHORT, plant, probe, probe_with};
use qom::{CreateError, Machine, MachineEvent, ObjectOps, ObjectType, WaitError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn closing_withdraws_everything_below_the_root() {
    let machine = Machine::new("close");
    let log = Log::default();
    let a = plant(&machine, machine.root(), &log, "a");
    plant(&machine, &a, &log, "b");
    drop(a);
    drop(probe(&machine, &log, "loose"));
    let handle = machine.handle().clone();
    machine.close(LONG).map_err(|(_, e)| e).unwrap();
    assert_eq!(log.of("finalize").len(), 3);
    assert_eq!(handle.counters().live_objects, 0);
    let error = handle.create::<qom::Container>().unwrap_err();
    assert!(
        matches!(&error, CreateError::MachineClosed { machine, type_name: "container" } if machine == "close"),
        "{error}"
    );
    assert_eq!(handle.counters().live_objects, 0);
    assert!(handle.resolve("/machine").is_none());
    assert!(handle.reference_graph().nodes.is_empty());
    handle.quiesce(LONG).unwrap();
}

#[test]
fn the_root_is_finalized_after_its_hooks_whoever_holds_it() {
    for round in 0..20 {
        let machine = Machine::new("root order");
        let log = Log::default();
        let seen = log.clone();
        let a = probe_with(
            &machine,
            &log,
            "a",
            Hooks::unparent(move |a| {
                seen.say(format!("hook at {:?}", a.this().path()));
            }),
        );
        machine.root().add_child("a", &a).unwrap();
        drop(a);
        let seen = log.clone();
        let _subscription = machine.subscribe(move |e| match e {
            MachineEvent::Withdrawn { path, .. } if path == "/machine" => {
                seen.say("root withdrawn");
            }
            MachineEvent::Finalized { path, .. } if path == "/machine" => {
                seen.say("root finalized");
            }
            _ => {}
        });
        let held = (round % 2 == 0).then(|| machine.root().get().unwrap());
        std::thread::scope(|scope| {
            scope.spawn(move || drop(held));
            scope.spawn(move || machine.close(LONG).map_err(|(_, e)| e).unwrap());
        });
        assert_eq!(log.of("hook"), ["hook at Some(\"/machine/a\")"]);
        assert_eq!(log.of("root"), ["root withdrawn", "root finalized"]);
    }
}

#[test]
fn closing_with_a_handle_left_returns_the_machine_and_the_holder() {
    let machine = Machine::builder("left").recording(true).build();
    let log = Log::default();
    let line = line!() + 1;
    let kept = probe(&machine, &log, "kept");
    machine.root().add_child("kept", &kept).unwrap();
    let (machine, error) = machine.close(SHORT).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("the end of machine `left` did not happen within"),
        "{text}"
    );
    assert!(text.contains("/machine/kept is alive"), "{text}");
    assert!(text.contains(&format!("at {}:{line}", file!())), "{text}");
    assert_eq!(machine.leftovers().len(), 1);
    assert!(matches!(
        machine.create::<qom::Container>(),
        Err(CreateError::MachineClosed { .. })
    ));
    drop(kept);
    machine.close(LONG).map_err(|(_, e)| e).unwrap();
    assert_eq!(log.count("finalize kept"), 1);
}

#[test]
fn an_object_that_was_never_given_a_parent_is_in_the_way_and_named() {
    let machine = Machine::builder("never parented").recording(true).build();
    let log = Log::default();
    let loose = probe(&machine, &log, "loose");
    let (machine, error) = machine.close(SHORT).unwrap_err();
    assert!(error.to_string().contains(&loose.describe()), "{error}");
    assert!(!loose.object().is_withdrawn());
    drop(loose);
    machine.close(LONG).map_err(|(_, e)| e).unwrap();
}

#[test]
fn closing_names_a_reader_that_does_not_leave() {
    let machine = Machine::new("reader");
    let (ready, wait_ready) = std::sync::mpsc::channel();
    let (go, wait_go) = std::sync::mpsc::channel::<()>();
    let handle = machine.handle().clone();
    let reader = std::thread::Builder::new()
        .name("late reader".into())
        .spawn(move || {
            let guard = handle.domain().enter();
            ready.send(()).unwrap();
            let _ = wait_go.recv();
            drop(guard);
        })
        .unwrap();
    wait_ready.recv().unwrap();
    machine.retire(1, "thing", ());
    let (machine, error) = machine.close(SHORT).unwrap_err();
    assert!(
        matches!(&error, WaitError::TimedOut { holder, .. } if holder.contains("late reader")),
        "{error}"
    );
    go.send(()).unwrap();
    reader.join().unwrap();
    machine.close(LONG).map_err(|(_, e)| e).unwrap();
}

#[test]
fn a_dropped_machine_closes_in_the_background() {
    let machine = Machine::new("dropped");
    let log = Log::default();
    let (done, wait) = std::sync::mpsc::channel();
    let done = parking_lot::Mutex::new(done);
    let kept = probe_with(
        &machine,
        &log,
        "kept",
        Hooks::finalize(move |_| done.lock().send(()).unwrap()),
    );
    machine.root().add_child("kept", &kept).unwrap();
    let handle = machine.handle().clone();
    drop(machine);
    assert!(kept.object().is_withdrawn(), "marked at once");
    assert!(wait.recv_timeout(SHORT).is_err(), "a handle is left");
    drop(kept);
    wait.recv_timeout(LONG).unwrap();
    while handle.counters().live_objects > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn handles_to_the_root_that_go_while_the_machine_closes_withdraw_it_once() {
    for _ in 0..100 {
        let machine = Machine::new("root race");
        let log = Log::default();
        plant(&machine, machine.root(), &log, "a");
        let withdrawn = Arc::new(AtomicUsize::new(0));
        let count = withdrawn.clone();
        let _subscription = machine.subscribe(move |e| {
            if matches!(e, MachineEvent::Withdrawn { path, .. } if path == "/machine") {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let root = machine.root().get().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || drop(root));
            scope.spawn(move || machine.close(LONG).map_err(|(_, e)| e).unwrap());
        });
        assert_eq!(withdrawn.load(Ordering::SeqCst), 1);
        assert_eq!(log.count("unparent a"), 1);
    }
}

#[test]
fn objects_made_while_the_machine_closes_are_refused_or_finalized() {
    for _ in 0..50 {
        let machine = Machine::new("create race");
        let handle = machine.handle().clone();
        let log = Log::default();
        std::thread::scope(|scope| {
            scope.spawn(|| while handle.create::<qom::Container>().is_ok() {});
            scope.spawn(move || machine.close(LONG).map_err(|(_, e)| e).unwrap());
        });
        assert_eq!(handle.counters().live_objects, 0);
        assert!(log.all().is_empty());
    }
}

#[test]
fn what_comes_after_the_end_is_dropped_here_and_now() {
    struct Noted(Log);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.say("dropped");
        }
    }
    let machine = Machine::new("after");
    let handle = machine.handle().clone();
    machine.close(LONG).map_err(|(_, e)| e).unwrap();
    let log = Log::default();
    let item = Noted(log.clone());
    handle.defer(move || drop(item));
    assert_eq!(log.count("dropped"), 1, "undone");
    handle.retire(1, "late", Noted(log.clone()));
    handle.quiesce(LONG).unwrap();
    assert_eq!(log.count("dropped"), 2);
}

#[test]
fn machines_live_side_by_side() {
    let threads: Vec<_> = (0..4)
        .map(|i| {
            std::thread::spawn(move || {
                let machine = Machine::new(&format!("side {i}"));
                let log = Log::default();
                for n in 0..50 {
                    let a = plant(&machine, machine.root(), &log, &format!("a{n}"));
                    let b = plant(&machine, &a, &log, "b");
                    b.set_link("back", &a).unwrap();
                    a.unparent().unwrap();
                }
                machine.close(LONG).map_err(|(_, e)| e).unwrap();
                log.of("finalize").len()
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), 100);
    }
}
