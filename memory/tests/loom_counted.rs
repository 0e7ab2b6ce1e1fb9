//! Models of the counted pointers to nodes: whoever drops the last one ends the node, once, after all that others did with it.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p memory --release --test loom_counted`
//!
//! A node is a loom cell that its readers read and its end writes, so that loom reports an end that is not behind every reader. The twin ends
//! its node without waiting for what the others did, and must be found.
#![cfg(loom)]

#[expect(
    dead_code,
    reason = "the file is included whole; the models use what they are about"
)]
#[path = "../src/span_map/counted.rs"]
mod counted;

mod sync {
    //! Where the pointers look for their atomics.
    pub(crate) use loom::sync::atomic::{AtomicUsize, Ordering};
}

use counted::{Counted, Empty};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// What is read and ended, apart from who counts.
#[derive(Default)]
struct Node {
    bytes: Option<Arc<UnsafeCell<u32>>>,
}

impl Empty for Node {
    const EMPTY: Self = Self { bytes: None };
}

impl Node {
    fn cell(&self) -> &UnsafeCell<u32> {
        self.bytes.as_ref().expect("it is filled")
    }

    fn read(&self) {
        self.cell().with(|_| ());
    }

    fn end(&self) {
        self.cell().with_mut(|_| ());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

fn node() -> Counted<Node> {
    Counted::make(|node: &mut Node| node.bytes = Some(Arc::new(UnsafeCell::new(7))))
}

/// Loom's cells are for threads that know what they do; each model checks that.
struct Sent<T>(T);

#[expect(unsafe_code, reason = "loom's cells are no `Sync`")]
mod sent {
    // SAFETY: loom checks every access to the cells, which is what the models are for.
    unsafe impl<T> Send for super::Sent<T> {}
}

impl<T> Sent<T> {
    fn into_inner(self) -> T {
        self.0
    }
}

#[test]
fn a_node_ends_behind_all_its_readers() {
    loom::model(|| {
        let first = node();
        let others = [first.clone(), first.clone()].map(|other| {
            let other = Sent(other);
            thread::spawn(move || {
                let other = other.into_inner();
                other.read();
            })
        });
        first.read();
        drop(first);
        for other in others {
            other.join().unwrap();
        }
    });
}

#[test]
fn a_pointer_made_from_one_that_goes_keeps_the_node() {
    loom::model(|| {
        let first = node();
        let other = Sent(first.clone());
        let other = thread::spawn(move || {
            let other = other.into_inner();
            let third = other.clone();
            drop(other);
            third.read();
        });
        drop(first);
        other.join().unwrap();
    });
}

/// The twin: it ends the node without having seen what the others did.
struct Careless {
    count: AtomicUsize,
    node: std::mem::ManuallyDrop<Node>,
}

fn careless(this: &Careless) {
    if this.count.fetch_sub(1, Ordering::Relaxed) == 1 {
        this.node.end();
    }
}

#[test]
#[should_panic(expected = "Causality violation")]
fn an_end_that_waits_for_nobody_is_found() {
    loom::model(|| {
        let shared = Arc::new(Sent(Careless {
            count: AtomicUsize::new(2),
            node: std::mem::ManuallyDrop::new(Node {
                bytes: Some(Arc::new(UnsafeCell::new(7))),
            }),
        }));
        let other = shared.clone();
        let other = Sent(other);
        let other = thread::spawn(move || {
            let other = other.into_inner();
            other.0.node.read();
            careless(&other.0);
        });
        shared.0.node.read();
        careless(&shared.0);
        other.join().unwrap();
    });
}
