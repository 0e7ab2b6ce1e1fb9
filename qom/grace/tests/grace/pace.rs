//! Grace periods that rest: who hastens them, and that nothing is forgotten.

use qom_grace::{Domain, DomainConfig, Published};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A domain that rests for ever, with one grace period behind it; a cell; and how many of its values have been dropped.
fn resting() -> (Domain, Published<Counted>, Arc<AtomicUsize>) {
    let config = DomainConfig {
        pace: Duration::from_hours(1),
        retired_bytes_limit: 100,
        limit_wait: Duration::from_secs(10),
        ..DomainConfig::default()
    };
    let domain = Domain::new(config, Arc::new(drop));
    let dropped = Arc::<AtomicUsize>::default();
    let shown = Published::new(&domain, Arc::new(Counted(dropped.clone())));
    shown.swap_inert(Arc::new(Counted(dropped.clone())), 1);
    wait_for(&dropped, 1);
    (domain, shown, dropped)
}

fn wait_for(dropped: &AtomicUsize, wanted: usize) {
    let begun = Instant::now();
    while dropped.load(Ordering::SeqCst) < wanted {
        assert!(begun.elapsed() < Duration::from_secs(20), "not dropped");
        std::thread::sleep(Duration::from_micros(200));
    }
    assert_eq!(dropped.load(Ordering::SeqCst), wanted);
}

/// Retires one more, which stays until somebody is in a hurry.
fn one_that_stays(shown: &Published<Counted>, dropped: &Arc<AtomicUsize>, bytes: u64) {
    let before = dropped.load(Ordering::SeqCst);
    shown.swap_inert(Arc::new(Counted(dropped.clone())), bytes);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(dropped.load(Ordering::SeqCst), before, "it rests");
}

#[test]
fn what_is_inert_waits_for_the_next_period() {
    let (domain, shown, dropped) = resting();
    one_that_stays(&shown, &dropped, 1);
    assert_eq!(domain.counters().retired_items, 1);
    assert_eq!(domain.counters().grace_periods, 1);
}

#[test]
fn a_hurry_ends_the_rest_and_lasts_until_it_is_over() {
    let (domain, shown, dropped) = resting();
    one_that_stays(&shown, &dropped, 1);
    domain.hurry(2);
    wait_for(&dropped, 2);
    domain.relax(1);
    shown.swap_inert(Arc::new(Counted(dropped.clone())), 1);
    wait_for(&dropped, 3);
    domain.relax(1);
    one_that_stays(&shown, &dropped, 1);
}

#[test]
fn whoever_waits_is_not_kept_waiting() {
    let (domain, shown, dropped) = resting();
    one_that_stays(&shown, &dropped, 1);
    domain.barrier(Some(Duration::from_secs(10))).unwrap();
    wait_for(&dropped, 2);
    one_that_stays(&shown, &dropped, 1000);
    domain.make_room().unwrap();
    wait_for(&dropped, 3);
}

#[test]
fn what_is_not_inert_does_not_wait_and_takes_the_rest_along() {
    let (domain, shown, dropped) = resting();
    one_that_stays(&shown, &dropped, 1);
    domain.retire(1, Box::new(Counted(dropped.clone())), "a thing");
    wait_for(&dropped, 3);
    one_that_stays(&shown, &dropped, 1);
    shown.store(Arc::new(Counted(dropped.clone())), 1);
    wait_for(&dropped, 5);
}

#[test]
fn a_domain_that_ends_does_not_rest() {
    let (domain, shown, dropped) = resting();
    one_that_stays(&shown, &dropped, 1);
    drop(domain);
    wait_for(&dropped, 2);
    drop(shown);
    wait_for(&dropped, 3);
}
