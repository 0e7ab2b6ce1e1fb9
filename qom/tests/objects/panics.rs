//! Panics in every place where user code runs: reported, and nothing else is kept from happening.

use crate::probe::{Hooks, LONG, Log, Opened, Probe, opened, plant, probe_with};
use parking_lot::Mutex;
use qom::{Machine, MachineEvent, ObjectOps};
use std::sync::Arc;

fn panics_of(machine: &Machine) -> (Arc<Mutex<Vec<String>>>, qom::Subscription) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let subscription = machine.subscribe(move |e| {
        if let MachineEvent::Panicked {
            object,
            what,
            message,
        } = e
        {
            sink.lock().push(format!("{what} of {object}: {message}"));
        }
    });
    (seen, subscription)
}

#[test]
fn each_hook_may_panic_and_the_rest_runs() {
    let machine = Machine::new("panics");
    let (panics, _subscription) = panics_of(&machine);
    let log = Log::default();
    let hooks = Hooks {
        unparent: Some(Box::new(|_: &Probe| panic!("in unparent"))),
        finalize: Some(Box::new(|_: &Probe| panic!("in finalize"))),
        dropped: Some(Box::new(|_: &Probe| panic!("in drop"))),
        ..Hooks::default()
    };
    let top = plant(&machine, machine.root(), &log, "top");
    let a = probe_with(&machine, &log, "a", hooks);
    top.add_child("a", &a).unwrap();
    let older = plant(&machine, &a, &log, "child");
    a.open(opened(&log, "one")).unwrap();
    a.open(Arc::new(Opened {
        name: "two",
        log: log.clone(),
        on_close: Some(|| panic!("in close")),
    }))
    .unwrap();
    a.set_link("top", &top).unwrap();
    drop((a, older));
    top.unparent().unwrap();
    drop(top);
    machine.quiesce(LONG).unwrap();
    let mut said = log.all();
    said.retain(|l| !l.starts_with("post-init") && !l.starts_with("drop"));
    assert_eq!(
        said,
        [
            "unparent child",
            "close two",
            "close one",
            "unparent a",
            "unparent top",
            "finalize child",
            "finalize a",
            "finalize top",
        ]
    );
    assert_eq!(
        *panics.lock(),
        [
            "closing a handle of /machine/top/a: in close",
            "unparent hook of /machine/top/a: in unparent",
            "finalizer of /machine/top/a (withdrawn): in finalize",
            "dropping the instance of /machine/top/a: in drop",
        ]
    );
    assert_eq!(machine.counters().live_objects, 1);
}

#[test]
fn a_panicking_drop_of_a_handle_or_of_a_payload_stops_nobody() {
    struct Grumpy(Log);
    impl qom::Handle for Grumpy {
        fn close(&self) {
            // The payload of this panic panics when it is dropped.
            struct Payload;
            impl Drop for Payload {
                fn drop(&mut self) {
                    panic!("a payload");
                }
            }
            std::panic::panic_any(Payload);
        }
        fn describe(&self) -> String {
            "grumpy".into()
        }
    }
    impl Drop for Grumpy {
        fn drop(&mut self) {
            self.0.say("grumpy dropped");
            panic!("grumpy");
        }
    }
    let machine = Machine::new("grumpy");
    let (panics, _subscription) = panics_of(&machine);
    let log = Log::default();
    let a = plant(&machine, machine.root(), &log, "a");
    a.open(Arc::new(Grumpy(log.clone()))).unwrap();
    assert!(a.unparent().unwrap().is_done());
    assert_eq!(
        (log.count("grumpy dropped"), log.count("unparent a")),
        (1, 1)
    );
    assert_eq!(
        *panics.lock(),
        [
            "closing a handle of /machine/a: a panic without a text",
            "dropping a closed handle of /machine/a: grumpy",
        ]
    );
}

#[test]
fn subscribers_retired_things_and_bottom_halves_may_panic() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a bomb");
        }
    }
    let machine = Machine::new("bombs");
    let log = Log::default();
    let _bad = machine.subscribe(|_| panic!("a subscriber"));
    let seen = log.clone();
    let _good = machine.subscribe(move |_| seen.say("event"));
    machine.retire(1, "bomb", Bomb);
    machine.domain().retire(1, Box::new(Bomb), "bomb");
    machine.defer(|| panic!("a bottom half"));
    let later = log.clone();
    machine.defer(move || later.say("later"));
    machine.quiesce(LONG).unwrap();
    let a = plant(&machine, machine.root(), &log, "a");
    a.unparent().unwrap();
    drop(a);
    machine.quiesce(LONG).unwrap();
    assert_eq!(log.count("later"), 1);
    assert_eq!(log.count("event"), 2, "withdrawn and finalized");
    assert_eq!(machine.counters().grace.retired_items, 0);
}
