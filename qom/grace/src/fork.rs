//! Notices that the process is a forked child, in which only the forking thread lives on.
//!
//! # Soundness
//!
//! The file is sound because the one C function that it calls, `pthread_atfork`, is declared with its POSIX signature and is given a function
//! that is async-signal-safe: it does nothing but add to an atomic.
#![expect(unsafe_code, reason = "pthread_atfork is a C function")]

use std::sync::atomic::{AtomicU64, Ordering};

/// How many forks lie between this process and the one that first used the crate.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Differs between a process and its forked child.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Has forks counted from now on. Children made by a raw `clone` call are not noticed.
#[cfg(unix)]
pub(crate) fn watch() {
    use std::sync::Once;

    // SAFETY: the signature is POSIX's.
    unsafe extern "C" {
        fn pthread_atfork(
            prepare: Option<unsafe extern "C" fn()>,
            parent: Option<unsafe extern "C" fn()>,
            child: Option<unsafe extern "C" fn()>,
        ) -> libc::c_int;
    }

    /// Runs in the child, in the forking thread's copy, before `fork` returns.
    extern "C" fn in_child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
        crate::this_thread::inherit();
    }

    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        // SAFETY: the handler is a function of this crate that takes no lock and allocates nothing: it changes atomics, and reads
        // thread-local cells that have no destructor. The handler stays valid as long as the crate is loaded.
        let outcome = unsafe { pthread_atfork(None, None, Some(in_child)) };
        if outcome != 0 {
            tracing::warn!(code = outcome, "forks will not be noticed");
        }
    });
}

/// There is no fork here.
#[cfg(not(unix))]
pub(crate) fn watch() {}
