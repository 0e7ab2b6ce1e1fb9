//! Two threads withdraw one object: whoever returns from `unparent` has seen the cut, also while the other is still on its way to it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use qom::layer::{LayerHooks, Pointer};
use qom::{ClassInit, Init, Machine, MachineHandle, ObjectImpl, ObjectOps, RootObject};

struct Box {
    object: RootObject,
}

qom::object_type! { Box("test-slow-cut") { object: RootObject }, install |class: &mut ClassInit<'_>| { class.layer(&LAYER); } }

impl ObjectImpl for Box {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
        }
    }
}

static LAYER: LayerHooks = LayerHooks {
    name: "slow cut",
    mark: None,
    retract: Some(retract),
    close: None,
};

/// How many cuts have begun, and how many are done.
static BEGUN: AtomicU32 = AtomicU32::new(0);
static DONE: AtomicU32 = AtomicU32::new(0);
static FIRST: OnceLock<(Sender<()>, Mutex<Receiver<()>>)> = OnceLock::new();

/// The first to come says that it is here, and does not go on before it is told to.
fn retract(_: &MachineHandle, _: &[Pointer]) {
    if BEGUN.fetch_add(1, Ordering::SeqCst) == 0
        && let Some((here, go_on)) = FIRST.get()
    {
        here.send(()).unwrap();
        go_on.lock().unwrap().recv().unwrap();
    }
    DONE.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn who_comes_second_has_seen_the_cut_when_unparent_returns() {
    let (here, first_is_here) = channel();
    let (go_on, told) = channel();
    assert!(FIRST.set((here, Mutex::new(told))).is_ok());
    let machine = Machine::new("second");
    let object = machine.create::<Box>().unwrap();
    machine.root().add_child("box", &object).unwrap();

    let first = object.clone();
    let first = thread::spawn(move || first.unparent_async().unwrap());
    first_is_here.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(DONE.load(Ordering::SeqCst), 0);

    let second = object.unparent_async().unwrap();
    assert_eq!(DONE.load(Ordering::SeqCst), 1, "the second did it itself");
    assert!(!second.is_done(), "the first is not through");

    go_on.send(()).unwrap();
    first.join().unwrap().wait(Duration::from_secs(10)).unwrap();
    assert!(second.is_done());
    object.unparent_async().unwrap();
    assert_eq!(
        DONE.load(Ordering::SeqCst),
        2,
        "and nobody does it a third time"
    );
}
