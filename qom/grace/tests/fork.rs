//! A forked child uses domains of its own and of its parent.
#![cfg(all(unix, not(loom)))]
#![expect(unsafe_code, reason = "forks")]

use std::sync::{Arc, mpsc};
use std::time::Duration;

use qom_grace::{Domain, DomainConfig, EngineKind, GraceError, Published};

const LONG: Option<Duration> = Some(Duration::from_secs(10));

/// Runs `child` in a fork of this process, and says whether all of it held.
fn in_child(child: impl FnOnce()) -> bool {
    // SAFETY: the child runs code of this test and of the crate, and leaves without unwinding into the test harness. The threads of the
    // parent are at rest, so no lock is held in the child but for those of the harness, which it does not use.
    match unsafe { libc::fork() } {
        0 => {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(outcome.is_err())) }
        }
        id => {
            assert!(id > 0, "{}", std::io::Error::last_os_error());
            let mut status = 0;
            // SAFETY: waits for the child that was just made, and writes to a local.
            assert_eq!(unsafe { libc::waitpid(id, &raw mut status, 0) }, id);
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
        }
    }
}

fn config(engine: EngineKind) -> DomainConfig {
    DomainConfig {
        engine: Some(engine),
        ..DomainConfig::default()
    }
}

/// A new domain does all it should.
fn a_domain_of_its_own_works(engine: EngineKind) {
    let domain = Domain::new(config(engine), Arc::new(drop));
    let cell = Published::new(&domain, Arc::new(1));
    let guard = domain.enter();
    cell.store(Arc::new(2), 1);
    assert!(matches!(
        domain.barrier(LONG),
        Err(GraceError::InsideGuard { .. })
    ));
    drop(guard);
    domain.barrier(LONG).unwrap();
    assert_eq!(domain.counters().retired_items, 0);
}

/// One test, so that no other test's thread is in the middle of something when the process forks.
#[test]
fn a_forked_child_uses_domains() {
    for engine in [EngineKind::Membarrier, EngineKind::Epoch] {
        let domain = Domain::new(config(engine), Arc::new(drop));
        // The parent's reclaimer runs, and has slept for a while when the process forks.
        domain.retire(1, Box::new(()), "it");
        domain.barrier(LONG).unwrap();
        std::thread::sleep(Duration::from_millis(50));

        let (entered, wait_entered) = mpsc::channel();
        let (leave, wait_leave) = mpsc::channel::<()>();
        let reader = {
            let domain = domain.clone();
            std::thread::spawn(move || {
                let _guard = domain.enter();
                entered.send(()).unwrap();
                let _ = wait_leave.recv();
            })
        };
        wait_entered.recv().unwrap();
        std::thread::sleep(Duration::from_millis(20));

        assert!(
            in_child(|| a_domain_of_its_own_works(engine)),
            "{engine}: a domain of its own"
        );

        // The parent's domain: the reclaimer starts again, and the reader that stayed behind holds nobody up.
        let fine = in_child(|| {
            let cell = Published::new(&domain, Arc::new(1));
            let guard = domain.enter();
            let one = cell.load(&guard);
            cell.store(Arc::new(2), 1);
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!((*one, domain.counters().retired_items), (1, 1));
            drop(guard);
            domain.barrier(LONG).unwrap();
            assert_eq!(domain.counters().retired_items, 0);
            // Threads of the child are readers like any other.
            let other = domain.clone();
            std::thread::spawn(move || std::mem::forget(other.enter()))
                .join()
                .unwrap();
            assert!(matches!(
                domain.barrier(Some(Duration::from_millis(50))),
                Err(GraceError::TimedOut { .. })
            ));
        });
        assert!(fine, "{engine}: the parent's domain");

        // A section that is open across the fork still counts in the child.
        let guard = domain.enter();
        let fine = in_child(|| {
            domain.retire(1, Box::new(()), "it");
            std::thread::sleep(Duration::from_millis(30));
            assert_eq!(domain.counters().retired_items, 1);
            assert!(domain.is_entered());
        });
        assert!(fine, "{engine}: a section across the fork");
        let fine = in_child(|| {
            domain.retire(1, Box::new(()), "it");
            let inner = domain.enter();
            drop(inner);
            drop(guard);
            domain.barrier(LONG).unwrap();
            assert_eq!(domain.counters().retired_items, 0);
            drop(domain.enter());
            domain.barrier(LONG).unwrap();
        });
        assert!(fine, "{engine}: a section that ends in the child");

        // And the parent is as before.
        leave.send(()).unwrap();
        reader.join().unwrap();
        domain.retire(1, Box::new(()), "it");
        domain.barrier(LONG).unwrap();
        assert_eq!(domain.counters().retired_items, 0);
    }
}
