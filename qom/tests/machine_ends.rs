//! Machines that end leave nothing behind: no thread, no memory. In a program of its own, as it counts the threads of the process.

use qom::{Container, Init, Machine, MachineHandle, ObjectImpl, ObjectOps, RootObject, layer};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);

/// An object that knows its machine, as objects of layers do.
struct Knowing {
    object: RootObject,
    _machine: MachineHandle,
    _witness: Arc<()>,
}
qom::object_type! { Knowing("knowing") { object: RootObject } }
impl ObjectImpl for Knowing {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            _machine: layer::machine_of(cx.object()),
            object: cx.parent(),
            _witness: Arc::default(),
        }
    }
}

/// A layer's state that knows its machine, too.
struct State {
    _machine: MachineHandle,
    _witness: Arc<()>,
}

/// The names of the threads of this process.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .collect()
}

/// Builds a machine with every kind of edge back to itself; the witness dies when all of them are gone.
fn built(i: usize) -> (Machine, Weak<()>) {
    let witness = Arc::new(());
    let mut builder = Machine::builder(&format!("m{i}"));
    if i % 3 == 2 {
        builder = builder.embedder_driven(Arc::new(|| {}));
    }
    let machine = builder.build();
    let handle = machine.handle().clone();
    let (state_handle, state_witness) = (handle.clone(), witness.clone());
    let state = machine.extension(move || State {
        _machine: state_handle,
        _witness: state_witness,
    });
    assert!(Arc::ptr_eq(
        &state,
        &machine.extension::<State>(|| unreachable!("made once"))
    ));
    let (event_handle, event_witness) = (handle.clone(), witness.clone());
    // The subscription is never dropped: the machine's end ends it.
    std::mem::forget(machine.subscribe(move |_| {
        let _ = (&event_handle, &event_witness);
    }));
    let known = witness.clone();
    let knowing = layer::create_with(&handle, None, |cx| Knowing {
        _machine: layer::machine_of(cx.object()),
        object: cx.parent(),
        _witness: known,
    })
    .unwrap();
    machine.root().add_child("knowing", &knowing).unwrap();
    knowing.set_link("root", machine.root()).unwrap();
    let loose = machine.create::<Container>().unwrap();
    loose.set_link("self", &loose).unwrap();
    machine.retire(1, "retired", (handle.clone(), witness.clone()));
    let late = (handle.clone(), witness.clone());
    machine.defer(move || drop(late));
    (machine, Arc::downgrade(&witness))
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn machines_leave_nothing_behind() {
    // One after the other: they count threads.
    two_hundred_machines_leave_no_thread_and_no_memory();
    a_machine_dropped_with_a_handle_out_ends_with_the_handle();
}

fn two_hundred_machines_leave_no_thread_and_no_memory() {
    let before = threads();
    let mut witnesses = Vec::new();
    let mut kept = Vec::new();
    for i in 0..200 {
        let (machine, witness) = built(i);
        if i % 5 == 0 {
            kept.push(machine.handle().clone());
        }
        if i % 2 == 0 {
            machine.close(LONG).map_err(|(_, e)| e).unwrap();
            assert!(
                witness.upgrade().is_none(),
                "machine {i} is closed and something keeps it"
            );
        } else {
            drop(machine);
        }
        witnesses.push(witness);
    }
    wait_until("a dropped machine is kept by something", || {
        witnesses.iter().all(|w| w.upgrade().is_none())
    });
    let start = Instant::now();
    while threads().len() > before.len() {
        assert!(start.elapsed() < LONG, "{:?} are left", threads());
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(kept.iter().all(|m| m.counters().live_objects == 0));
}

fn a_machine_dropped_with_a_handle_out_ends_with_the_handle() {
    let (machine, witness) = built(0);
    let kept = machine.create::<Container>().unwrap();
    machine.root().add_child("kept", &kept).unwrap();
    drop(machine);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(kept.object().counts().users(), 1);
    drop(kept);
    wait_until("something keeps it", || witness.upgrade().is_none());
}
