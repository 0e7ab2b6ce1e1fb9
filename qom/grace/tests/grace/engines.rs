//! Runs one test body under each engine, and what such bodies share.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use qom_grace::{Domain, DomainConfig, EngineKind, Retired};

/// Long enough that only a hang reaches it.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Makes two tests of each function: one per engine.
#[macro_export]
macro_rules! on_both_engines {
    ($($(#[$note:meta])* fn $name:ident($engine:ident) $body:block)*) => {$(
        mod $name {
            use super::*;
            fn body($engine: qom_grace::EngineKind) $body
            $(#[$note])*
            #[test]
            fn membarrier() {
                body(qom_grace::EngineKind::Membarrier);
            }
            $(#[$note])*
            #[test]
            fn epoch() {
                body(qom_grace::EngineKind::Epoch);
            }
        }
    )*};
}

/// What a sink was given, by name, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    /// The names so far.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

/// A domain that writes down what its sink is given, and disposes of it at once.
pub(crate) fn logging(config: DomainConfig) -> (Domain, Log) {
    let log = Log::default();
    let names = Arc::clone(&log.0);
    let sink = move |batch: Vec<Retired>| {
        for item in batch {
            names.lock().unwrap().push(item.what());
            item.run();
        }
    };
    (Domain::new(config, Arc::new(sink)), log)
}

/// The defaults, with that engine.
pub(crate) fn config(engine: EngineKind) -> DomainConfig {
    DomainConfig {
        engine: Some(engine),
        ..DomainConfig::default()
    }
}

/// Waits until the condition holds.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
