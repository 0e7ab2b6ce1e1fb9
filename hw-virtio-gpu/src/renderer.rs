//! What stands behind the device: the trait of a renderer, which owns contexts' work and the memory of host blobs.
//!
//! The device checks and orders; a renderer is told only of commands that passed the checks. It is called by one thread
//! at a time, under the device's lock, and must not call back into the device from there. A renderer that panics costs
//! the guest an error reply and nothing else.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use memory::{Backing, BackingError};
use thiserror::Error;

use crate::wire::{ErrorCode, MapCaching};

mod memfd;

pub use memfd::{FenceControl, MemfdRenderer, MemfdRendererBuilder};

/// Which of the device's lives, counted by its resets, something belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// A host blob's name towards the renderer: no two live blobs share one, although the guest may use a resource id again
/// right after a reset while the blob of before still is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobHandle {
    /// The life in which it was created.
    pub generation: Generation,
    /// The guest's resource id, never 0.
    pub resource: u32,
}

impl fmt::Display for BlobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "resource {} of life {}",
            self.resource, self.generation.0
        )
    }
}

/// What a guest asks a host blob to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobSpec {
    /// The context it comes from; 0 for none.
    pub context: u32,
    /// The renderer's own name for the memory, from the context's command stream; 0 for fresh memory.
    pub blob_id: u64,
    /// Bytes, not 0.
    pub size: u64,
    /// Whether the guest may map it.
    pub mappable: bool,
}

/// A set of capabilities that user space in the guest asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capset {
    /// Its id; context types are named by it. 1 to 63.
    pub id: u32,
    /// Its newest version.
    pub max_version: u32,
    /// Its content for that version.
    pub data: Vec<u8>,
}

/// The memory of a blob, ready to be put into the guest's address space.
#[derive(Clone, Debug)]
pub struct MappedBlob {
    /// Its bytes: at least as many as the blob has, rounded up to whole pages.
    pub backing: Backing,
    /// How the guest may cache it.
    pub caching: MapCaching,
}

/// A fence of the guest: all work of its timeline up to this command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The life it belongs to; a fence of an earlier one is not reported any more.
    pub generation: Generation,
    /// Where its order counts.
    pub timeline: Timeline,
    /// The guest's name for it; grows along a timeline.
    pub id: u64,
}

/// What orders fences: one timeline for the device, and one for each ring of each context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timeline {
    /// The device's own.
    Device,
    /// A ring of a context.
    Ring {
        /// The context.
        context: u32,
        /// The ring.
        ring: u8,
    },
}

/// Whether a fence's work is done already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceState {
    /// Yes.
    Signaled,
    /// Not yet; the [`FenceSink`] will be called.
    Pending,
}

/// Called by a renderer, from any thread but outside its own calls from the device, when a pending fence's work is done.
/// All earlier fences of the timeline count as done too.
pub type FenceSink = Arc<dyn Fn(Fence) + Send + Sync>;

/// Why a renderer does not do what it was told.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RendererError {
    /// There is no memory, or no file, left.
    #[error("no memory for {what}")]
    NoMemory {
        /// What it is for.
        what: String,
        /// What the system said.
        #[source]
        source: BackingError,
    },
    /// The command makes no sense to it.
    #[error("refused: {0}")]
    Refused(String),
    /// It cannot do such things at all.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// It panicked.
    #[error("the renderer panicked in {0}")]
    Panicked(&'static str),
}

impl RendererError {
    /// What the guest is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NoMemory { .. } => ErrorCode::OutOfMemory,
            Self::Refused(_) => ErrorCode::InvalidParameter,
            Self::Unsupported(_) | Self::Panicked(_) => ErrorCode::Unspecified,
        }
    }
}

/// A renderer. Methods with a default refuse, or have nothing to do.
///
/// Calls come in an order that makes sense: contexts and blobs named in a call exist, a blob is mapped at most once at a
/// time, unmapped only after every reader in the process has let go of its bytes, and destroyed only while not mapped.
#[expect(
    unused_variables,
    reason = "the default methods' parameters are named for the documentation"
)]
pub trait Renderer: Send {
    /// The capsets it offers, in the order of their indices; they never change.
    fn capsets(&self) -> &[Capset] {
        &[]
    }

    /// Hands over where to report fences. Called once, before anything else.
    fn connect(&mut self, fences: FenceSink) {}

    /// A context begins. `capset` is the context's type, 0 for the default; `name` is for people.
    ///
    /// # Errors
    /// Any; the context then does not exist.
    fn create_context(
        &mut self,
        context: u32,
        capset: u32,
        name: &[u8],
    ) -> Result<(), RendererError> {
        Ok(())
    }

    /// A context ends, and with it the fences of its rings.
    fn destroy_context(&mut self, context: u32) {}

    /// A context may use a blob from now on.
    ///
    /// # Errors
    /// Any; the blob then is not attached.
    fn attach(&mut self, context: u32, blob: BlobHandle) -> Result<(), RendererError> {
        Ok(())
    }

    /// A context may not use a blob any longer.
    fn detach(&mut self, context: u32, blob: BlobHandle) {}

    /// A context's commands.
    ///
    /// # Errors
    /// Any.
    fn submit(&mut self, context: u32, commands: &[u8]) -> Result<(), RendererError> {
        Err(RendererError::Unsupported("SUBMIT_3D"))
    }

    /// Whether all work of the fence's timeline handed over so far is done.
    fn fence(&mut self, fence: Fence) -> FenceState {
        FenceState::Signaled
    }

    /// A host blob begins.
    ///
    /// # Errors
    /// Any; the blob then does not exist.
    fn create_blob(&mut self, blob: BlobHandle, spec: &BlobSpec) -> Result<(), RendererError> {
        Err(RendererError::Unsupported("host blob"))
    }

    /// The memory of a blob, to be mapped by the guest.
    ///
    /// # Errors
    /// Any; the blob then is not mapped.
    fn map_blob(&mut self, blob: BlobHandle) -> Result<MappedBlob, RendererError> {
        Err(RendererError::Unsupported("mapping of a blob"))
    }

    /// Nobody reaches the memory of the blob through its mapping any longer.
    fn unmap_blob(&mut self, blob: BlobHandle) {}

    /// A blob ends.
    fn destroy_blob(&mut self, blob: BlobHandle) {}

    /// Reads a blob's bytes, for a scanout or a cursor that shows it.
    ///
    /// # Errors
    /// Any; what is shown is then unspecified.
    fn read_blob(
        &mut self,
        blob: BlobHandle,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), RendererError> {
        Err(RendererError::Unsupported("reading of a blob"))
    }

    /// The device was reset: contexts and fences are gone. Blobs are ended one by one, mapped ones when their last
    /// reader is gone.
    fn reset(&mut self) {}
}

/// A renderer whose panics are errors.
pub(crate) struct Guarded(Box<dyn Renderer>);

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded(..)")
    }
}

impl Guarded {
    pub(crate) fn new(renderer: Box<dyn Renderer>) -> Self {
        Self(renderer)
    }

    /// Calls `f` for something that may fail.
    pub(crate) fn ask<T>(
        &mut self,
        what: &'static str,
        f: impl FnOnce(&mut dyn Renderer) -> Result<T, RendererError>,
    ) -> Result<T, RendererError> {
        let renderer = self.0.as_mut();
        // What a panic leaves half done is the renderer's own; the device's state is not touched inside.
        catch_unwind(AssertUnwindSafe(|| f(renderer))).unwrap_or_else(|panic| {
            let message = qom::layer::message_of(panic);
            tracing::error!(what, message, "the renderer panicked");
            Err(RendererError::Panicked(what))
        })
    }

    /// Calls `f` for something that it can only take note of.
    pub(crate) fn tell<T: Default>(
        &mut self,
        what: &'static str,
        f: impl FnOnce(&mut dyn Renderer) -> T,
    ) -> T {
        self.ask(what, |r| Ok(f(r))).unwrap_or_default()
    }
}
