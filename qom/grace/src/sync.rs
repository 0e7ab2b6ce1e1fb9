//! The atomics the reader protocol is written with: `std`'s, or loom's when a model is being explored.
//!
//! ORDERING: the one fence here is half of a pair whose proof is the header of `protocol.rs`.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// The reader's half of the asymmetric barrier: it costs no instruction, and keeps the compiler from moving
/// accesses across it. The other half is a `membarrier` call of the reclaimer.
///
/// Loom knows no `membarrier`, so in a model both halves are full fences; what the real pair does is explored by
/// `tests/store_buffer.rs`. A build with `holdfast_plain_atomics` needs neither half.
#[inline]
#[cfg_attr(
    holdfast_plain_atomics,
    expect(
        dead_code,
        reason = "the slot's own accesses are sequentially consistent in this build"
    )
)]
pub(crate) fn light_barrier() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
    #[cfg(not(loom))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
}
