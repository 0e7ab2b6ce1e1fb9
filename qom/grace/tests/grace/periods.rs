//! What grace periods promise, under both engines: who is waited for, in what order things come out, and which errors
//! say who was in the way.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::engines::{LONG, config, eventually, logging};
use qom_grace::{Domain, DomainConfig, EngineKind, GraceError, Published, Retired};

/// Counts how often it is dropped.
struct Tally(Arc<AtomicUsize>);

impl Drop for Tally {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

crate::on_both_engines! {
    fn a_retired_value_waits_for_its_reader(engine) {
        let (domain, log) = logging(config(engine));
        assert_eq!(domain.engine(), engine);
        let cell = Published::new(&domain, Arc::new(1));
        let guard = domain.enter();
        let one = cell.load(&guard);
        cell.store(Arc::new(2), 10);
        domain.retire(5, Box::new(()), "unit");
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!((*one, *cell.load(&guard)), (1, 2));
        assert!(log.names().is_empty());
        assert_eq!(domain.counters().retired_bytes, 15);
        assert_eq!(domain.counters().retired_items, 2);
        drop(guard);
        domain.barrier(Some(LONG)).unwrap();
        assert_eq!(log.names(), ["published value", "unit"]);
        assert_eq!(domain.counters().retired_bytes, 0);
        assert_eq!(domain.counters().retired_items, 0);
    }

    fn a_glance_is_a_section_and_is_not_to_be_had_inside_one(engine) {
        let (domain, log) = logging(config(engine));
        assert!(domain.glance().is_none(), "this thread has not been here");
        drop(domain.enter());
        if engine == EngineKind::Epoch {
            assert!(domain.glance().is_none(), "something has to be done at each exit");
            return;
        }
        let glance = domain.glance().expect("no section is open");
        domain.retire(1, Box::new(()), "it");
        assert!(domain.glance().is_none() && domain.is_entered());
        // Nor does a section inside it end it.
        drop(domain.enter());
        assert!(domain.is_entered());
        std::thread::sleep(Duration::from_millis(30));
        assert!(log.names().is_empty());
        assert_eq!(glance.end(7), 7);
        assert!(!domain.is_entered());
        domain.barrier(Some(LONG)).unwrap();
        assert_eq!(log.names(), ["it"]);

        let outer = domain.enter();
        assert!(domain.glance().is_none() && domain.is_entered());
        drop(outer);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _glance = domain.glance().expect("no section is open");
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(panicked.is_err() && !domain.is_entered());
        let other = logging(config(engine)).0;
        drop(other.enter());
        assert!(domain.glance().is_none(), "another domain was used last");
    }

    fn nested_sections_end_with_the_last_guard_in_whatever_order_they_go(engine) {
        let (domain, log) = logging(config(engine));
        let reader = domain.reader();
        let first = domain.enter();
        let second = reader.enter();
        let third = domain.enter();
        domain.retire(1, Box::new(()), "it");
        drop(first);
        drop(third);
        assert!(domain.is_entered() && reader.is_entered());
        std::thread::sleep(Duration::from_millis(20));
        assert!(log.names().is_empty());
        drop(second);
        assert!(!domain.is_entered() && !reader.is_entered());
        domain.barrier(Some(LONG)).unwrap();
        assert_eq!(log.names(), ["it"]);
    }

    fn a_reader_elsewhere_holds_a_grace_period_up_and_is_named(engine) {
        let (domain, log) = logging(config(engine));
        let (entered, wait_entered) = mpsc::channel();
        let (leave, wait_leave) = mpsc::channel::<()>();
        let slow = {
            let domain = domain.clone();
            std::thread::Builder::new().name("slow-vcpu".into()).spawn(move || {
                let _guard = domain.enter();
                entered.send(()).unwrap();
                let _ = wait_leave.recv();
            }).unwrap()
        };
        wait_entered.recv().unwrap();
        assert_eq!(domain.slowest_reader().unwrap().waited_for, None);
        domain.retire(1, Box::new(()), "it");
        let error = domain.barrier(Some(Duration::from_millis(50))).unwrap_err();
        let GraceError::TimedOut { domain: name, reader: Some(reader), waited } = &error else { panic!("{error:?}") };
        assert_eq!(&**name, "domain");
        assert_eq!(reader.name.as_deref(), Some("slow-vcpu"));
        assert!(reader.waited_for.is_some() && !reader.thread_ended);
        assert!(*waited >= Duration::from_millis(50));
        assert!(error.to_string().contains("slow-vcpu"), "{error}");
        assert!(log.names().is_empty());
        leave.send(()).unwrap();
        slow.join().unwrap();
        domain.barrier(Some(LONG)).unwrap();
        assert_eq!(log.names(), ["it"]);
        assert!(domain.slowest_reader().is_none());
        assert!(domain.counters().longest_grace >= Duration::from_millis(50));
    }

    fn a_busy_reader_does_not_hold_a_grace_period_up(engine) {
        let (domain, _) = logging(config(engine));
        let stop = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let reader = domain.reader();
                    while stop.load(Ordering::Relaxed) == 0 {
                        drop(reader.enter());
                    }
                });
            }
            for _ in 0..20 {
                domain.barrier(Some(LONG)).unwrap();
            }
            stop.store(1, Ordering::Relaxed);
        });
        assert!(domain.counters().grace_periods >= 20);
    }

    fn waiting_inside_a_section_is_refused(engine) {
        let (domain, _) = logging(config(engine));
        let (other, _) = logging(config(engine));
        let guard = domain.enter();
        assert!(matches!(domain.barrier(None), Err(GraceError::InsideGuard { .. })));
        assert!(matches!(domain.shutdown(None), Err(GraceError::InsideGuard { .. })));
        other.barrier(Some(LONG)).unwrap();
        drop(guard);
        domain.barrier(Some(LONG)).unwrap();
    }

    fn waiting_in_the_sink_is_refused(engine) {
        let answers = Arc::new(Mutex::new(Vec::new()));
        let handle = Arc::new(Mutex::new(None::<Domain>));
        let sink = {
            let (answers, handle) = (Arc::clone(&answers), Arc::clone(&handle));
            move |batch: Vec<Retired>| {
                if let Some(domain) = &*handle.lock().unwrap() {
                    answers.lock().unwrap().push(domain.barrier(None));
                }
                drop(batch);
            }
        };
        let domain = Domain::new(config(engine), Arc::new(sink));
        *handle.lock().unwrap() = Some(domain.clone());
        domain.retire(1, Box::new(()), "it");
        domain.barrier(Some(LONG)).unwrap();
        assert!(matches!(answers.lock().unwrap()[..], [Err(GraceError::OnReclaimer { .. })]));
        // The sink holds the domain and the domain its sink; broken here.
        *handle.lock().unwrap() = None;
    }

    fn things_come_out_in_the_order_of_retiring_and_calls_are_called(engine) {
        let (domain, log) = logging(config(engine));
        let called = Arc::new(AtomicUsize::new(0));
        let guard = domain.enter();
        domain.retire(1, Box::new(Tally(Arc::clone(&called))), "a");
        let in_call = Arc::clone(&called);
        domain.retire_call(1, "b", Box::new(move || { in_call.fetch_add(10, Ordering::SeqCst); }));
        domain.retire(1, Box::new(()), "c");
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(called.load(Ordering::SeqCst), 0);
        drop(guard);
        domain.barrier(Some(LONG)).unwrap();
        assert_eq!(log.names(), ["a", "b", "c"]);
        assert_eq!(called.load(Ordering::SeqCst), 11);
    }

    fn bytes_count_until_disposed_of_not_until_handed_on(engine) {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&kept);
        let domain = Domain::new(config(engine), Arc::new(move |batch| keep.lock().unwrap().extend(batch)));
        let called = Arc::new(AtomicUsize::new(0));
        for bytes in [100, 20, 3] {
            let called = Arc::clone(&called);
            domain.retire_call(bytes, "call", Box::new(move || { called.fetch_add(1, Ordering::SeqCst); }));
        }
        domain.barrier(Some(LONG)).unwrap();
        assert_eq!(domain.counters().retired_bytes, 123);
        assert_eq!(kept.lock().unwrap()[0].bytes(), 100);
        kept.lock().unwrap().remove(0).run();
        assert_eq!((domain.counters().retired_bytes, called.load(Ordering::SeqCst)), (23, 1));
        // Dropping disposes of it too.
        kept.lock().unwrap().clear();
        assert_eq!((domain.counters().retired_bytes, called.load(Ordering::SeqCst)), (0, 3));
    }

    fn a_panic_in_the_sink_or_in_an_item_stops_nothing(engine) {
        let domain = Domain::new(config(engine), Arc::new(|batch: Vec<Retired>| {
            assert!(!batch.iter().any(|item| item.what() == "poison"), "as the test wants it");
        }));
        let tally = Arc::new(AtomicUsize::new(0));
        domain.retire(1, Box::new(Tally(Arc::clone(&tally))), "poison");
        domain.barrier(Some(LONG)).unwrap();
        domain.retire_call(7, "panics", Box::new(|| panic!("as the test wants it")));
        domain.retire(1, Box::new(Tally(Arc::clone(&tally))), "after");
        domain.barrier(Some(LONG)).unwrap();
        assert_eq!(tally.load(Ordering::SeqCst), 2);
        assert_eq!(domain.counters().retired_bytes, 0);
    }

    fn an_idle_domain_wakes_nobody(engine) {
        let (domain, _) = logging(config(engine));
        assert!(!domain.is_reclaiming());
        drop(domain.enter());
        assert!(!domain.is_reclaiming(), "readers start no thread");
        domain.retire(1, Box::new(()), "it");
        domain.barrier(Some(LONG)).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let before = domain.counters();
        for _ in 0..1000 {
            drop(domain.enter());
        }
        std::thread::sleep(Duration::from_millis(100));
        let after = domain.counters();
        assert_eq!(before, after);
        domain.retire(1, Box::new(()), "it");
        domain.barrier(Some(LONG)).unwrap();
        assert!(domain.counters().reclaimer_wakeups > before.reclaimer_wakeups);
    }

    fn outside_sections_make_room_waits_and_then_names_the_reader(engine) {
        let (domain, _) = logging(DomainConfig {
            retired_bytes_limit: 100,
            limit_wait: Duration::from_millis(50),
            ..config(engine)
        });
        let (entered, wait_entered) = mpsc::channel();
        let (leave, wait_leave) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| {
                let wait_leave = wait_leave;
                let _guard = domain.enter();
                entered.send(()).unwrap();
                let _ = wait_leave.recv();
            });
            let leave = leave;
            wait_entered.recv().unwrap();
            domain.retire(100, Box::new(()), "fits");
            domain.make_room().unwrap();
            domain.retire(1, Box::new(()), "one too many");
            let begun = Instant::now();
            let error = domain.make_room().unwrap_err();
            assert!(begun.elapsed() >= Duration::from_millis(50));
            assert!(
                matches!(error, GraceError::Overloaded { reader: Some(_), retired_bytes: 101, limit: 100, .. }),
                "{error:?}"
            );
            leave.send(()).unwrap();
            slow.join().unwrap();
            eventually("room", || domain.make_room().is_ok());
        });
    }

    fn inside_a_section_the_outermost_exit_waits_instead(engine) {
        let wait = Duration::from_millis(80);
        let (domain, _) = logging(DomainConfig { retired_bytes_limit: 100, limit_wait: wait, ..config(engine) });
        let (entered, wait_entered) = mpsc::channel();
        let (leave, wait_leave) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let slow = std::thread::Builder::new().name("slow".into());
            slow.spawn_scoped(scope, || {
                let wait_leave = wait_leave;
                let guard = domain.enter();
                entered.send(()).unwrap();
                let _ = wait_leave.recv();
                drop(guard);
            }).unwrap();
            let leave = leave;
            wait_entered.recv().unwrap();
            let outer = domain.enter();
            let inner = domain.enter();
            domain.retire(101, Box::new(()), "big");
            domain.make_room().unwrap();
            let begun = Instant::now();
            drop(inner);
            assert!(begun.elapsed() < wait, "only the outermost waits");
            drop(outer);
            assert!(begun.elapsed() >= wait);
            // It did not help, so the next change inside a section is refused, as often as it is tried.
            let guard = domain.enter();
            let Err(GraceError::Overloaded { reader: Some(reader), .. }) = domain.make_room() else {
                panic!("not refused");
            };
            assert_eq!(reader.name.as_deref(), Some("slow"));
            assert!(matches!(domain.make_room(), Err(GraceError::Overloaded { .. })));
            let begun = Instant::now();
            drop(guard);
            assert!(begun.elapsed() < wait, "who was refused owes nothing");
            leave.send(()).unwrap();
        });
        domain.barrier(Some(LONG)).unwrap();
        let guard = domain.enter();
        domain.make_room().unwrap();
        drop(guard);
        // And the mark is gone: too much again is met with a wait again.
        let guard = domain.enter();
        domain.retire(101, Box::new(()), "big");
        domain.make_room().unwrap();
        drop(guard);
        assert_eq!(domain.counters().retired_bytes, 0, "this exit waited until there was room");
    }

    fn the_thread_of_a_domain_ends(engine) {
        let (domain, log) = logging(config(engine));
        domain.retire(1, Box::new(()), "it");
        domain.shutdown(Some(LONG)).unwrap();
        assert_eq!(log.names(), ["it"]);
        assert!(!domain.is_reclaiming());
        // It starts again when there is work.
        domain.retire(1, Box::new(()), "again");
        assert!(domain.is_reclaiming());
        domain.barrier(Some(LONG)).unwrap();
        assert_eq!(log.names(), ["it", "again"]);
    }

    fn a_dropped_domain_finishes_and_lets_go_of_its_sink(engine) {
        let alive = Arc::new(());
        let tally = Arc::new(AtomicUsize::new(0));
        let in_sink = Arc::clone(&alive);
        let domain = Domain::new(config(engine), Arc::new(move |batch| { let _ = &in_sink; drop(batch); }));
        let other = domain.clone();
        let reader = domain.reader();
        domain.retire(1, Box::new(Tally(Arc::clone(&tally))), "it");
        drop(domain);
        drop(other);
        // By now the reclaimer sleeps; the last handle has to wake it.
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(Arc::strong_count(&alive), 2, "a reader is a handle");
        drop(reader);
        eventually("the sink goes with the thread", || Arc::strong_count(&alive) == 1);
        assert_eq!(tally.load(Ordering::SeqCst), 1);
    }

    fn a_pointer_outlives_its_domain(engine) {
        let alive = Arc::new(());
        let in_sink = Arc::clone(&alive);
        let tally = Arc::new(AtomicUsize::new(0));
        let domain = Domain::new(config(engine), Arc::new(move |batch| { let _ = &in_sink; drop(batch); }));
        let cell = Published::new(&domain, Arc::new(Tally(Arc::clone(&tally))));
        drop(domain);
        cell.store(Arc::new(Tally(Arc::clone(&tally))), 8);
        eventually("retired and disposed of", || tally.load(Ordering::SeqCst) == 1);
        drop(cell);
        assert_eq!(tally.load(Ordering::SeqCst), 2);
        eventually("nothing is left", || Arc::strong_count(&alive) == 1);
    }

    fn a_leaked_guard_holds_its_section_until_the_domain_goes(engine) {
        let (domain, log) = logging(config(engine));
        {
            let domain = domain.clone();
            std::thread::Builder::new().name("leaky".into()).spawn(move || {
                std::mem::forget(domain.enter());
            }).unwrap().join().unwrap();
        }
        domain.retire(1, Box::new(()), "it");
        let error = domain.barrier(Some(Duration::from_millis(40))).unwrap_err();
        let GraceError::TimedOut { reader: Some(reader), .. } = &error else { panic!("{error:?}") };
        assert_eq!(reader.name.as_deref(), Some("leaky"));
        assert!(reader.thread_ended);
        assert!(error.to_string().contains("ended without dropping its guard"), "{error}");
        assert!(log.names().is_empty());
        drop(domain);
        eventually("the last handle ends it", || log.names() == ["it"]);
    }

    fn counts_of_published_values_come_out_even(engine) {
        let (domain, _) = logging(config(engine));
        let tally = Arc::new(AtomicUsize::new(0));
        let make = || Arc::new(Tally(Arc::clone(&tally)));
        let cell = Published::new(&domain, make());
        let kept = cell.load_arc(&domain.enter());
        let swapped = cell.swap(make(), 1);
        assert!(Arc::ptr_eq(&kept, &swapped));
        domain.barrier(Some(LONG)).unwrap();
        assert_eq!(tally.load(Ordering::SeqCst), 0);
        drop((kept, swapped));
        // The caller's count is one of two: dropping it in a section takes nothing from the readers.
        let guard = domain.enter();
        drop(cell.swap(make(), 1));
        assert_eq!(tally.load(Ordering::SeqCst), 1);
        drop(guard);
        domain.barrier(Some(LONG)).unwrap();

        assert_eq!(tally.load(Ordering::SeqCst), 2);
        let last = cell.into_inner();
        assert_eq!(Arc::strong_count(&last), 1);
        drop(last);
        assert_eq!(tally.load(Ordering::SeqCst), 3);
    }

    #[should_panic(expected = "was read with a guard of domain `mine`")]
    fn a_guard_of_another_domain_is_refused(engine) {
        let (mine, _) = logging(DomainConfig { name: "mine".into(), ..config(engine) });
        let (theirs, _) = logging(DomainConfig { name: "theirs".into(), ..config(engine) });
        let cell = Published::new(&theirs, Arc::new(1));
        let _right = theirs.enter();
        let wrong = mine.enter();
        let _ = cell.load(&wrong);
    }

    fn threads_reuse_slots_and_many_domains_do_not_pile_up(engine) {
        let (domain, _) = logging(config(engine));
        for _ in 0..50 {
            std::thread::scope(|scope| { scope.spawn(|| drop(domain.enter())); });
        }
        eventually("ended threads give their slots back", || domain.counters().registered_readers == 0);
        let (a, _) = logging(config(engine));
        let (b, _) = logging(config(engine));
        let in_a = a.enter();
        for _ in 0..10 {
            let in_b = b.enter();
            assert!(a.is_entered() && b.is_entered() && !domain.is_entered());
            drop(in_b);
            assert!(a.is_entered() && !b.is_entered());
        }
        drop(in_a);
        for _ in 0..100 {
            let (short, _) = logging(config(engine));
            drop(short.enter());
        }
        assert_eq!(a.counters().registered_readers, 1);
    }
}
