//! A few hundred random cases of accesses, compared with memory byte by byte; `cargo xtask fuzz fuzz_memory` plays more of them.

use holdfast_tests::access_case;
use holdfast_tests::random::Random;
use holdfast_tests::rig::LONG;
use qom::Machine;

/// Cases from one seed, on machines of some cases each, so that they stand beside what earlier ones left behind.
#[test]
fn random_accesses_find_what_the_model_finds() {
    let mut seeds = Random::new(0x5eed);
    let mut accesses = 0;
    for _ in 0..10 {
        let machine = Machine::builder("cases").recording(false).build();
        for _ in 0..40 {
            let seed = seeds.next();
            match access_case::play(&machine, seed) {
                Ok(made) => accesses += made,
                Err(what) => panic!("fuzz_memory --seconds 0 --seed {seed}: {what}"),
            }
        }
        machine.close(LONG).map_err(|(_, error)| error).unwrap();
    }
    // Each case makes 12 in each of 4 rounds or more.
    assert!(accesses >= 400 * 48, "{accesses} accesses");
}
