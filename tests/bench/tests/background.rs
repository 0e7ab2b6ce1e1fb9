//! Time of other threads is that of all but one: in a process of its own, as other tests would be such threads.

use holdfast_bench::background::Background;
use holdfast_bench::cpu;
use std::time::Duration;

const BURNT: Duration = Duration::from_millis(50);

/// Uses processor time of the calling thread.
fn burn() {
    let start = cpu::thread_time();
    while cpu::thread_time().saturating_sub(start) < BURNT {
        std::hint::spin_loop();
    }
}

#[test]
fn own_time_does_not_count_and_that_of_others_does() {
    let burnt = BURNT.as_secs_f64() * 1e9;
    let own = Background::default();
    own.of(1, burn);
    assert!(own.nanos().median() < burnt / 2.0, "{:?}", own.nanos());
    let others = Background::default();
    let joined = others.of(1, || std::thread::spawn(burn).join());
    assert!(joined.is_ok());
    assert!(others.nanos().median() >= burnt, "{:?}", others.nanos());
}
