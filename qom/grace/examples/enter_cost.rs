//! Measures what a read section costs: an outermost enter and exit, by thread-local and by reader, and one
//! with a published pointer followed, under both engines.
//!
//! Run it with `cargo run --release -p qom-grace --example enter_cost`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use qom_grace::{Domain, DomainConfig, EngineKind, Published};

const ROUNDS: u32 = 20_000_000;

/// Nanoseconds per call: the best of five runs, which leaves out what other processes took.
fn best(mut f: impl FnMut()) -> f64 {
    (0..5)
        .map(|_| {
            let begun = Instant::now();
            for _ in 0..ROUNDS {
                f();
            }
            begun.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
        })
        .fold(f64::INFINITY, f64::min)
}

fn main() {
    println!(
        "{:<12}{:>10}{:>10}{:>10}{:>14}{:>14}",
        "engine", "tls", "reader", "nested", "tls + load", "reader + load"
    );
    for engine in [EngineKind::Membarrier, EngineKind::Epoch] {
        let domain = Domain::new(
            DomainConfig {
                engine: Some(engine),
                ..DomainConfig::default()
            },
            Arc::new(drop),
        );
        let cell = Published::new(&domain, Arc::new(7_u64));
        let reader = domain.reader();
        let tls = best(|| drop(black_box(&domain).enter()));
        let explicit = best(|| drop(black_box(&reader).enter()));
        let nested = {
            let _outer = domain.enter();
            best(|| drop(black_box(&domain).enter()))
        };
        let tls_load = best(|| {
            let guard = black_box(&domain).enter();
            black_box(*black_box(&cell).load(&guard));
        });
        let reader_load = best(|| {
            let guard = black_box(&reader).enter();
            black_box(*black_box(&cell).load(&guard));
        });
        println!(
            "{:<12}{tls:>10.2}{explicit:>10.2}{nested:>10.2}{tls_load:>14.2}{reader_load:>14.2}",
            domain.engine().to_string()
        );
        let begun = Instant::now();
        let graces = 2_000_u32;
        for _ in 0..graces {
            if let Err(error) = domain.barrier(None) {
                println!("{error}");
            }
        }
        println!(
            "  a barrier with no reader in the way: {:?}",
            begun.elapsed() / graces
        );
    }
}
