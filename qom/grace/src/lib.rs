//! Read sections, grace periods and published pointers: who may still be looking.
//!
//! A *reader* enters a [`Domain`] and gets a [`Guard`]; what it finds through a [`Published`] pointer while the guard
//! lives stays readable. A *writer* replaces the pointer and *retires* what was there. The domain's *reclaimer* waits until
//! each section that was open at that time has ended, a *grace period*, and gives what was retired to the domain's sink, which has it
//! dropped. This is read-copy-update in user space.
//!
//! What readers pay is the point. Under the membarrier engine a section is two plain memory accesses at its begin and one at its end:
//! no fence, no read-modify-write, no line that readers share for writing, nobody woken. All cost is with the reclaimer, which has the kernel
//! interrupt the other threads instead. Where the kernel or a filter forbids that, crossbeam-epoch does the work ([`EngineKind`]).
//!
//! Nothing here waits without bound unless it was asked to, and whoever gives up says which reader was in the way ([`GraceError`],
//! [`Domain::slowest_reader`]). Retired bytes are bounded by [`Domain::make_room`].
//!
//! # Reading order
//!
//! `sync` and `protocol` are the algorithm and its proof, small enough to be explored by loom and by a store-buffer model; `membarrier` and
//! `engine` are the two ways to a grace period; `slot` and `this_thread` find a reader's word; `guard` and
//! `published` are what readers use; `retired`, `reclaimer` and `domain` are the other side; `lock`, `fork` and `error` are what is left.
//!
//! # Forks
//!
//! A child of `fork` may use the crate. Domains it makes are like any other. A domain of the parent works too: the reclaimer is
//! started again when something is retired, and the sections of threads that stayed behind do not count. What the parent's reclaimer had in
//! hand at that moment is not disposed of in the child, and a fork while another thread is inside a call of this crate may leave a lock
//! held in the child, as with every library.

mod sync;

mod lock;

// Open for the models in `tests/`; not part of the interface.
#[doc(hidden)]
pub mod protocol;

#[cfg(not(holdfast_plain_atomics))]
mod membarrier;

mod engine;

mod slot;

mod this_thread;

mod guard;

mod published;

mod retired;

mod reclaimer;

mod domain;

mod fork;

mod error;

pub use domain::{Domain, DomainConfig, GraceCounters, Sink};
pub use engine::{EngineKind, choose_engine, engine};
pub use error::{EngineError, GraceError, ReaderName};
pub use guard::{Glance, Guard, Reader};
pub use published::Published;
pub use retired::Retired;
