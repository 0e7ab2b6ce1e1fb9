//! Tickets: polled, awaited, waited for.

use crate::probe::{Hooks, LONG, Log, SHORT, plant, probe_with};
use qom::{Machine, ObjectOps, WaitError};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

#[derive(Default)]
struct Woken(AtomicUsize);
impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Rude;
impl Wake for Rude {
    fn wake(self: Arc<Self>) {
        panic!("a rude waker");
    }
}

#[test]
fn a_ticket_is_a_future_that_wakes_everybody() {
    let machine = Machine::builder("future")
        .embedder_driven(Arc::new(|| {}))
        .build();
    let log = Log::default();
    let a = plant(&machine, machine.root(), &log, "a");
    let ticket = a.unparent_async().unwrap();
    assert!(format!("{ticket:?}").contains("/machine/a, done: false"));
    let (one, two) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
    let rude = Waker::from(Arc::new(Rude));
    let wakers = [rude, Waker::from(one.clone()), Waker::from(two.clone())];
    for waker in &wakers {
        let future = pin!(ticket.clone());
        assert_eq!(future.poll(&mut Context::from_waker(waker)), Poll::Pending);
        let again = pin!(ticket.clone());
        assert_eq!(again.poll(&mut Context::from_waker(waker)), Poll::Pending);
    }
    assert_eq!(
        machine.run_pending(1),
        1,
        "a panicking waker is nobody else's business"
    );
    assert_eq!(
        (one.0.load(Ordering::SeqCst), two.0.load(Ordering::SeqCst)),
        (1, 1)
    );
    let future = pin!(ticket.clone());
    assert_eq!(
        future.poll(&mut Context::from_waker(&wakers[1])),
        Poll::Ready(())
    );
    assert!(ticket.is_done());
    let b = plant(&machine, machine.root(), &log, "b");
    assert!(
        b.unparent().unwrap().is_done(),
        "the next withdrawal is not in anybody's way"
    );
}

#[test]
fn unparent_returns_done_and_unparent_async_does_not_run_hooks_in_the_caller() {
    let machine = Machine::new("sync and async");
    let log = Log::default();
    let thread = Log::default();
    let make = |name: &str| {
        let thread = thread.clone();
        let o = probe_with(
            &machine,
            &log,
            name,
            Hooks::unparent(move |p| {
                let here = std::thread::current().name().unwrap_or_default().to_owned();
                thread.say(format!("{} on {here}", p.name));
            }),
        );
        machine.root().add_child(name, &o).unwrap();
        o
    };
    let here = std::thread::current().name().unwrap().to_owned();
    assert!(make("a").unparent().unwrap().is_done());
    make("b").unparent_async().unwrap().wait(LONG).unwrap();
    let said = thread.all();
    assert!(
        said[0] == format!("a on {here}") || said[0].starts_with("a on qom-exec"),
        "{said:?}"
    );
    assert_eq!(said[1], "b on qom-exec:sync and async");
}

#[test]
fn nothing_to_do_is_done_at_once() {
    let machine = Machine::new("nothing");
    let log = Log::default();
    let loose = crate::probe::probe(&machine, &log, "loose");
    let ticket = loose.unparent().unwrap();
    assert!(ticket.is_done());
    ticket.wait(LONG).unwrap();
    assert!(!loose.object().is_withdrawn(), "no parent: a no-op");
    let root = machine.root().unparent().unwrap();
    assert!(root.is_done() && machine.root().get().is_ok());
}

#[test]
fn a_wait_that_runs_out_names_the_teardown_in_the_way() {
    let machine = Machine::new("stuck");
    let log = Log::default();
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = parking_lot::Mutex::new(gate);
    let slow = probe_with(
        &machine,
        &log,
        "slow",
        Hooks::unparent(move |_| {
            let _ = gate.lock().recv();
        }),
    );
    machine.root().add_child("slow", &slow).unwrap();
    let a = plant(&machine, machine.root(), &log, "a");
    let first = slow.unparent_async().unwrap();
    let second = a.unparent_async().unwrap();
    let error = second.wait(SHORT).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(&error, WaitError::TimedOut { holder, .. } if holder == "the teardown of /machine/slow"),
        "{text}"
    );
    assert!(
        text.starts_with("the withdrawal of /machine/a did not happen within"),
        "{text}"
    );
    go.send(()).unwrap();
    second.wait(std::time::Duration::MAX).unwrap();
    assert!(first.is_done());
}
