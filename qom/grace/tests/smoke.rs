//! The way of a value from being published to being disposed of, under both engines.
use std::sync::{Arc, Mutex};
use std::time::Duration;

use qom_grace::{Domain, DomainConfig, EngineKind, Published, Retired};

#[test]
fn a_retired_value_waits_for_its_reader() {
    for engine in [EngineKind::Membarrier, EngineKind::Epoch] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = {
            let seen = Arc::clone(&seen);
            Arc::new(move |batch: Vec<Retired>| {
                for item in batch {
                    seen.lock().unwrap().push(item.what());
                    item.run();
                }
            })
        };
        let domain = Domain::new(
            DomainConfig {
                engine: Some(engine),
                ..DomainConfig::default()
            },
            sink,
        );
        assert_eq!(domain.engine(), engine);
        let cell = Published::new(&domain, Arc::new(1));
        let guard = domain.enter();
        let one = cell.load(&guard);
        cell.store(Arc::new(2), 10);
        domain.retire(5, Box::new(()), "unit");
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(*one, 1);
        assert!(seen.lock().unwrap().is_empty(), "{engine}");
        assert_eq!(domain.counters().retired_bytes, 15);
        drop(guard);
        domain.barrier(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(*seen.lock().unwrap(), ["published value", "unit"]);
        assert_eq!(domain.counters().retired_bytes, 0);
    }
}
