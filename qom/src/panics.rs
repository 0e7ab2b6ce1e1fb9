//! Catching panics of user code: one misbehaving hook must not keep the others from running.
//!
//! In a program built with `panic = "abort"` nothing can be caught: a panic in a hook ends the process, as it would
//! anywhere else; no structure of ours is left half-changed for anybody to see.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs user code. Unwind safety is ours to argue: no lock of ours is held and no structure is half-changed while
/// user code runs, so there is nothing of ours that a panic could leave broken.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(f))
}

/// The text of a panic that was caught. Its payload is dropped here, and may panic in its turn: that goes no further either.
///
/// ```
/// let panic = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new("no paper"))).unwrap_err();
/// assert_eq!(qom::layer::message_of(panic), "no paper");
/// ```
pub fn message_of(panic: Box<dyn Any + Send>) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned());
    if let Err(again) = catch(|| drop(panic)) {
        // A payload that panics while it is dropped, twice: leaking the second one ends it.
        std::mem::forget(again);
    }
    text
}
