//! Withdrawal: its order, its once, and who may ask for it where.

use crate::probe::{Hooks, LONG, Log, Opened, opened, plant, probe, probe_with};
use parking_lot::Mutex;
use qom::layer::{self, Place};
use qom::{Container, Machine, MachineEvent, ObjectOps, ObjectType};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn children_go_before_parents_and_younger_siblings_first() {
    let machine = Machine::new("order");
    let log = Log::default();
    let top = plant(&machine, machine.root(), &log, "top");
    let old = plant(&machine, &top, &log, "old");
    let young = plant(&machine, &top, &log, "young");
    for (parent, name) in [(&old, "old-1"), (&young, "young-1"), (&old, "old-2")] {
        plant(&machine, parent, &log, name);
    }
    drop((old, young));
    top.unparent().unwrap();
    let order = ["young-1", "young", "old-2", "old-1", "old", "top"];
    assert_eq!(log.of("unparent"), order.map(|n| format!("unparent {n}")));
    drop(top);
    machine.quiesce(LONG).unwrap();
    assert_eq!(log.of("finalize"), order.map(|n| format!("finalize {n}")));
    assert_eq!(machine.counters().live_objects, 1);
}

#[test]
fn handles_are_closed_newest_first_then_the_hook_runs_then_links_are_cut() {
    let machine = Machine::new("handles");
    let log = Log::default();
    let peer = plant(&machine, machine.root(), &log, "peer");
    let (seen, peer_weak) = (log.clone(), peer.downgrade());
    let a = probe_with(
        &machine,
        &log,
        "a",
        Hooks::unparent(move |a| {
            assert_eq!(
                a.this().path().as_deref(),
                Some("/machine/a"),
                "it still has its parent"
            );
            assert!(a.opened().is_empty());
            let linked = a
                .link::<crate::probe::Probe>("peer")
                .map(|p| p.name.clone());
            seen.say(format!("linked to {linked:?}"));
            drop(peer_weak.get());
        }),
    );
    machine.root().add_child("a", &a).unwrap();
    a.set_link("peer", &peer).unwrap();
    for name in ["first", "second", "third"] {
        a.open(opened(&log, name)).unwrap();
    }
    assert_eq!(
        a.opened(),
        ["handle first", "handle second", "handle third"]
    );
    a.unparent().unwrap();
    let mut said = log.all();
    said.retain(|l| !l.starts_with("post-init"));
    assert_eq!(
        said,
        [
            "close third",
            "close second",
            "close first",
            "unparent a",
            "linked to Some(\"peer\")"
        ]
    );
    assert_eq!(peer.object().counts().storage(), 2, "the link is cut");
}

#[test]
fn handles_opened_since_a_mark_can_be_closed_alone() {
    let machine = Machine::new("marks");
    let log = Log::default();
    let a = plant(&machine, machine.root(), &log, "a");
    let pointer = layer::Target::pointer(&a).unwrap();
    a.open(opened(&log, "before")).unwrap();
    let mark = layer::opened_mark(&pointer);
    a.open(opened(&log, "one")).unwrap();
    let two = a.open(opened(&log, "two")).unwrap();
    a.open(opened(&log, "three")).unwrap();
    layer::forget_opened(&pointer, two);
    layer::close_opened_since(&pointer, mark);
    assert_eq!(log.of("close"), ["close three", "close one"]);
    assert_eq!(a.opened(), ["handle before"]);
}

#[test]
fn events_come_once_and_in_order() {
    let machine = Machine::new("events");
    let log = Log::default();
    let a = plant(&machine, machine.root(), &log, "a");
    plant(&machine, &a, &log, "b");
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = events.clone();
    let subscription = machine.subscribe(move |e| sink.lock().push(e.clone()));
    let id = a.object().id();
    a.unparent().unwrap();
    a.unparent().unwrap();
    assert_eq!(
        events
            .lock()
            .iter()
            .filter(|e| matches!(e, MachineEvent::Withdrawn { .. }))
            .count(),
        1,
        "one for the subtree"
    );
    assert!(events.lock().contains(&MachineEvent::Withdrawn {
        id,
        path: "/machine/a".into()
    }));
    drop(a);
    machine.quiesce(LONG).unwrap();
    let finalized: Vec<_> = events
        .lock()
        .iter()
        .filter_map(|e| match e {
            MachineEvent::Finalized {
                path, type_name, ..
            } => Some((path.clone(), *type_name)),
            _ => None,
        })
        .collect();
    assert_eq!(
        finalized,
        [
            ("/machine/a/b".to_owned(), "probe"),
            ("/machine/a".to_owned(), "probe")
        ]
    );
    drop(subscription);
    let before = events.lock().len();
    plant(&machine, machine.root(), &log, "c")
        .unparent()
        .unwrap();
    assert_eq!(events.lock().len(), before, "the subscription is over");
}

#[test]
fn an_object_without_a_parent_is_withdrawn_alive_when_its_last_handle_goes() {
    let machine = Machine::new("never parented");
    let log = Log::default();
    let a = probe(&machine, &log, "a");
    let (weak, seen) = (a.downgrade(), log.clone());
    let child = probe_with(
        &machine,
        &log,
        "child",
        Hooks::unparent(move |_| {
            let parent = layer::Target::pointer(&weak).expect("the block is there");
            seen.say(format!("parent finalized: {}", parent.is_finalized()));
            assert!(weak.get().is_err(), "no new handles");
        }),
    );
    a.add_child("child", &child).unwrap();
    drop(child);
    a.open(opened(&log, "handle")).unwrap();
    let second = a.clone();
    drop(a);
    machine.quiesce(LONG).unwrap();
    assert!(log.of("unparent").is_empty(), "a handle is left");
    drop(second);
    machine.quiesce(LONG).unwrap();
    let mut said = log.all();
    said.retain(|l| !l.starts_with("post-init") && !l.starts_with("drop"));
    assert_eq!(
        said,
        [
            "unparent child",
            "parent finalized: false",
            "close handle",
            "unparent a",
            "finalize child",
            "finalize a",
        ]
    );
}

#[test]
fn a_child_withdrawn_before_its_parent_ends_before_it() {
    let machine = Machine::builder("queue")
        .embedder_driven(Arc::new(|| {}))
        .build();
    let log = Log::default();
    let a = plant(&machine, machine.root(), &log, "a");
    let b = plant(&machine, &a, &log, "b");
    let c = plant(&machine, &b, &log, "c");
    let first = b.unparent_async().unwrap();
    let second = a.unparent_async().unwrap();
    let third = c.unparent_async().unwrap();
    assert_eq!(machine.run_pending(1), 1);
    assert_eq!(
        (first.is_done(), second.is_done(), third.is_done()),
        (true, false, true)
    );
    assert_eq!(log.of("unparent"), ["unparent c", "unparent b"]);
    second.wait(LONG).unwrap();
    assert_eq!(log.of("unparent").last().unwrap(), "unparent a");
}

#[test]
fn a_waiting_unparent_waits_for_another_threads_withdrawal() {
    let machine = Machine::new("second caller");
    let log = Log::default();
    let (entered, go) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let flags = (entered.clone(), go.clone());
    let a = probe_with(
        &machine,
        &log,
        "a",
        Hooks::unparent(move |_| {
            flags.0.store(true, Ordering::SeqCst);
            while !flags.1.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
        }),
    );
    machine.root().add_child("a", &a).unwrap();
    let b = plant(&machine, &a, &log, "b");
    std::thread::scope(|scope| {
        scope.spawn(|| a.unparent().unwrap());
        while !entered.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let waiter = scope.spawn(|| b.unparent().unwrap().is_done());
        let ticket = b.unparent_async().unwrap();
        assert!(!ticket.is_done());
        go.store(true, Ordering::SeqCst);
        assert!(waiter.join().unwrap(), "it was done when the call returned");
    });
    assert_eq!(log.count("unparent b"), 1);
}

#[test]
fn unparent_inside_hook_finalizer_guard_and_transaction_returns_a_ticket() {
    let machine = Machine::new("places");
    let log = Log::default();
    let victims: Vec<_> = (0..4)
        .map(|i| plant(&machine, machine.root(), &log, &format!("v{i}")))
        .collect();
    let tickets = Arc::new(Mutex::new(Vec::new()));
    let later = |i: usize| {
        let (v, tickets) = (victims[i].downgrade(), tickets.clone());
        move |_: &crate::probe::Probe| {
            let ticket = v.unparent().unwrap();
            assert!(!ticket.is_done(), "the hook is in the way");
            assert!(matches!(
                ticket.wait(LONG),
                Err(qom::WaitError::Forbidden { .. })
            ));
            tickets.lock().push(ticket);
        }
    };
    let a = probe_with(
        &machine,
        &log,
        "a",
        Hooks {
            unparent: Some(Box::new(later(0))),
            finalize: Some(Box::new(later(1))),
            ..Hooks::default()
        },
    );
    machine.root().add_child("a", &a).unwrap();
    a.unparent().unwrap();
    let weak = a.downgrade();
    drop(a);
    machine.wait_finalized(&weak, LONG).unwrap();
    // The executor is kept busy, or it could be through before it is asked.
    let (go_on, told) = std::sync::mpsc::channel::<()>();
    let (here, begun) = std::sync::mpsc::channel();
    machine.defer(move || {
        here.send(()).unwrap();
        told.recv().unwrap();
    });
    begun.recv_timeout(LONG).unwrap();
    let guard = machine.domain().enter();
    let ticket = victims[2].unparent().unwrap();
    assert!(victims[2].object().is_withdrawn(), "marked at once");
    assert!(matches!(
        ticket.wait(LONG),
        Err(qom::WaitError::Forbidden {
            place: Place::Guard,
            ..
        })
    ));
    drop(guard);
    tickets.lock().push(ticket);
    let inside = layer::enter(Place::Transaction);
    let ticket = victims[3].unparent().unwrap();
    assert!(!ticket.is_done());
    tickets.lock().push(ticket);
    drop(inside);
    go_on.send(()).unwrap();
    for ticket in &*tickets.lock() {
        ticket.wait(LONG).unwrap();
    }
    assert_eq!(log.of("unparent v").len(), 4);
}

#[test]
fn a_last_handle_dropped_in_a_listener_is_marked_at_once_and_retracted_elsewhere() {
    let machine = Machine::new("listener");
    let log = Log::default();
    let a = probe(&machine, &log, "a");
    let pointer = layer::Target::pointer(&a).unwrap();
    let listener = layer::enter(Place::Listener);
    drop(a);
    assert!(pointer.is_withdrawn());
    drop(listener);
    machine.quiesce(LONG).unwrap();
    assert_eq!((log.count("unparent a"), log.count("finalize a")), (1, 1));
}

#[test]
fn a_subscriber_may_unparent_and_is_not_made_to_wait() {
    let machine = Machine::new("subscriber");
    let log = Log::default();
    let a = plant(&machine, machine.root(), &log, "a");
    let b = plant(&machine, machine.root(), &log, "b");
    let weak = b.downgrade();
    let _subscription = machine.subscribe(move |e| {
        if matches!(e, MachineEvent::Withdrawn { path, .. } if path == "/machine/a") {
            assert!(!weak.unparent().unwrap().is_done());
        }
    });
    a.unparent().unwrap();
    machine.quiesce(LONG).unwrap();
    assert_eq!(log.count("unparent b"), 1);
}

#[test]
fn a_handle_may_ask_the_tree_while_it_is_refused_and_while_it_is_dropped() {
    struct Nosy(qom::WeakRef<Container>, Log);
    impl qom::Handle for Nosy {
        fn close(&self) {}
        fn describe(&self) -> String {
            self.0.describe()
        }
    }
    impl Drop for Nosy {
        fn drop(&mut self) {
            self.1.say(format!(
                "dropped with {:?} in {:?}",
                self.0.children().len(),
                layer::innermost()
            ));
        }
    }
    let machine = Machine::new("nosy");
    let log = Log::default();
    let a = machine.create::<Container>().unwrap();
    machine.root().add_child("a", &a).unwrap();
    a.open(Arc::new(Nosy(a.downgrade(), log.clone()))).unwrap();
    assert_eq!(a.opened(), ["/machine/a"]);
    a.unparent().unwrap();
    assert_eq!(log.all(), ["dropped with 0 in Some(Hook)"]);
    let error = a
        .open(Arc::new(Nosy(a.downgrade(), log.clone())))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("takes no `/machine/a (withdrawn)`"),
        "{error}"
    );
}

#[test]
fn threads_that_withdraw_parents_children_and_last_handles_do_it_once() {
    for round in 0..30 {
        let machine = Machine::new("storm");
        let log = Log::default();
        let top = plant(&machine, machine.root(), &log, "top");
        let middle = plant(&machine, &top, &log, "middle");
        let leaf = plant(&machine, &middle, &log, "leaf");
        let loose = probe(&machine, &log, "loose");
        let under = plant(&machine, &loose, &log, "under");
        leaf.open(Arc::new(Opened {
            name: "h",
            log: log.clone(),
            on_close: None,
        }))
        .unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| top.unparent().unwrap());
            scope.spawn(|| middle.unparent().unwrap());
            scope.spawn(|| leaf.unparent().unwrap());
            scope.spawn(|| {
                for _ in 0..20 {
                    drop(leaf.downgrade().get());
                    let _ = loose.add_child("x[*]", &probe(&machine, &log, "extra"));
                }
            });
            scope.spawn(|| under.unparent().unwrap());
        });
        drop((top, middle, leaf, under));
        let weak = loose.downgrade();
        std::thread::scope(|scope| {
            scope.spawn(move || drop(loose));
            scope.spawn(|| drop(weak.get()));
            scope.spawn(|| weak.unparent().map(|t| t.wait(LONG)));
        });
        machine.quiesce(LONG).unwrap();
        assert_eq!(machine.counters().live_objects, 1, "round {round}");
        for name in ["top", "middle", "leaf", "loose", "under"] {
            assert_eq!(
                log.count(&format!("unparent {name}")),
                1,
                "{name} in round {round}"
            );
            assert_eq!(
                log.count(&format!("finalize {name}")),
                1,
                "{name} in round {round}"
            );
        }
        assert_eq!(log.count("close h"), 1);
        assert_eq!(log.count("unparent extra"), log.count("finalize extra"));
    }
}
