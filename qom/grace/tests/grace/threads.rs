//! Threads that end: with guards and readers in their thread-locals, before and after the crate's own.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::time::{Duration, Instant};

use qom_grace::{Domain, DomainConfig, EngineKind, Guard, Published, Reader};

use crate::engines::{LONG, Log, config, eventually, logging};

/// Runs something when its thread's locals are destroyed.
struct AtEnd(Option<Box<dyn FnOnce()>>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

thread_local! {
    static FIRST: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
    static SECOND: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
    static READER: RefCell<Option<Reader>> = const { RefCell::new(None) };
    static GUARD: RefCell<Option<Guard<'static>>> = const { RefCell::new(None) };
}

/// Locals are destroyed in the reverse order of their first use on some systems and in that order on others: one is
/// used before the crate's own and one after, so that one of the two outlives it.
fn around(enter: impl FnOnce(), at_end: impl Fn() + Clone + 'static) {
    let (one, two) = (at_end.clone(), at_end);
    FIRST.with(|slot| *slot.borrow_mut() = Some(AtEnd(Some(Box::new(one)))));
    enter();
    SECOND.with(|slot| *slot.borrow_mut() = Some(AtEnd(Some(Box::new(two)))));
}

/// A domain for ever, for guards that sit in thread-locals.
fn forever(kind: EngineKind) -> &'static (Domain, Log) {
    static MEMBARRIER: LazyLock<(Domain, Log)> =
        LazyLock::new(|| logging(config(EngineKind::Membarrier)));
    static EPOCH: LazyLock<(Domain, Log)> = LazyLock::new(|| logging(config(EngineKind::Epoch)));
    match kind {
        EngineKind::Membarrier => &MEMBARRIER,
        EngineKind::Epoch => &EPOCH,
    }
}

crate::on_both_engines! {
    fn sections_can_be_entered_while_a_thread_ends(engine) {
        let (domain, log) = logging(config(engine));
        let cell = Arc::new(Published::new(&domain, Arc::new(1)));
        let (done, wait_done) = mpsc::channel();
        {
            let domain = domain.clone();
            std::thread::spawn(move || {
                let late = domain.clone();
                around(|| drop(domain.enter()), move || {
                    let outer = late.enter();
                    let inner = late.enter();
                    let value = cell.load(&inner);
                    cell.store(Arc::new(2), 1);
                    drop(outer);
                    assert!(late.is_entered());
                    // The section of a thread that is ending counts like any other.
                    std::thread::sleep(Duration::from_millis(10));
                    done.send((late.counters().retired_items >= 1, late.is_entered() && *value >= 1)).unwrap();
                    drop(inner);
                    let shown = *cell.load(&late.enter());
                    done.send((shown == 2, !late.is_entered())).unwrap();
                });
            }).join().unwrap();
        }
        let answers: Vec<_> = wait_done.iter().collect();
        assert_eq!(answers, [(true, true); 4]);
        domain.barrier(Some(LONG)).unwrap();
        assert_eq!(log.names().len(), 2);
        assert_eq!(domain.counters().registered_readers, 0);
    }

    fn a_reader_in_a_thread_local_keeps_its_slot(engine) {
        let (domain, _) = logging(config(engine));
        {
            let domain = domain.clone();
            std::thread::spawn(move || {
                around(|| READER.with(|slot| *slot.borrow_mut() = Some(domain.reader())), || {
                    let _ = READER.try_with(|slot| {
                        if let Some(reader) = &*slot.borrow() {
                            let outer = reader.enter();
                            assert!(reader.is_entered());
                            drop(outer);
                        }
                    });
                });
            }).join().unwrap();
        }
        domain.barrier(Some(LONG)).unwrap();
        assert_eq!(domain.counters().registered_readers, 0);
    }

    fn a_guard_in_a_thread_local_counts_until_it_is_dropped(engine) {
        static SEEN: AtomicBool = AtomicBool::new(false);
        let (domain, log) = forever(engine);
        let before = log.names().len();
        let (entered, wait_entered) = mpsc::channel();
        let (end, wait_end) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            GUARD.with(|slot| *slot.borrow_mut() = Some(domain.enter()));
            entered.send(()).unwrap();
            let _ = wait_end.recv();
            SEEN.store(true, Ordering::SeqCst);
        });
        wait_entered.recv().unwrap();
        domain.retire(1, Box::new(()), "it");
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(log.names().len(), before);
        end.send(()).unwrap();
        thread.join().unwrap();
        eventually("the guard was dropped with the thread", || log.names().len() == before + 1);
        eventually("and the slot came back", || domain.counters().registered_readers == 0);
    }

    fn an_owed_wait_is_skipped_by_a_panicking_thread(engine) {
        let (domain, _) = logging(DomainConfig {
            retired_bytes_limit: 0,
            limit_wait: LONG,
            ..config(engine)
        });
        let hold = domain.enter();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let outcome = scope.spawn(|| {
                let _guard = domain.enter();
                domain.retire(1, Box::new(()), "it");
                domain.make_room().unwrap();
                panic!("as the test wants it");
            }).join();
            assert!(outcome.is_err());
        });
        assert!(begun.elapsed() < LONG, "it waited while it unwound");
        drop(hold);
        domain.barrier(Some(LONG)).unwrap();
    }
}
