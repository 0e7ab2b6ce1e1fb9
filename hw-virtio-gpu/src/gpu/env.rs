//! What the core needs of its surroundings, and what it hands to them.

use thiserror::Error;

use crate::{
    guest::GuestMemory,
    renderer::{Generation, MappedBlob},
    scanout::{CursorImage, Frame},
    wire::{CursorPosition, MemEntry, Rect},
};

/// Which queue a command came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueKind {
    /// Queue 0.
    Control,
    /// Queue 1.
    Cursor,
}

/// A command as taken from a ring: all of it copied, so that holding it holds nothing of the guest's memory.
#[derive(Clone, Debug)]
pub struct QueuedCommand {
    /// Its queue.
    pub queue: QueueKind,
    /// The index of its first descriptor, for the used ring.
    pub head: u16,
    /// Where the reply goes: its device-writable descriptors, in chain order.
    pub writable: Vec<MemEntry>,
    /// Its device-readable bytes, joined.
    pub request: Vec<u8>,
}

/// A command that is done and wants its used entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Its queue.
    pub queue: QueueKind,
    /// The index of its first descriptor.
    pub head: u16,
    /// The life it belongs to; always the present one.
    pub generation: Generation,
    /// Where the reply goes.
    pub writable: Vec<MemEntry>,
    /// The reply, never longer than what `writable` holds. Empty on the cursor queue. Its length is the used length.
    pub response: Vec<u8>,
}

/// One placement of one blob in the window. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MappingToken(pub u64);

/// A blob to be put into the window.
#[derive(Debug)]
pub struct Placement {
    /// Its name from now on.
    pub token: MappingToken,
    /// The guest's resource id, for people.
    pub resource: u32,
    /// Where in the window: a multiple of the page size.
    pub offset: u64,
    /// Its length: a multiple of the page size, not 0. It lies inside the window and nothing that the guest knows of is there.
    pub len: u64,
    /// Its memory, of at least `len` bytes.
    pub blob: MappedBlob,
}

/// Why a blob cannot be put into the window.
#[derive(Debug, Error)]
#[error("a blob cannot be placed in the window: {reason}")]
pub struct WindowError {
    /// What went wrong.
    pub reason: String,
    /// The error behind it, if there is one.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The surroundings of the core: guest memory, the window, the used rings, the screens. Called with the device's lock
/// held; must not call the core.
///
/// ```
/// use hw_virtio_gpu::{gpu::*, guest::*, renderer::MemfdRenderer, wire::{Command, CreateBlob, Header, MemEntry, Request}};
///
/// /// A window that is a list, and no guest memory.
/// #[derive(Default)]
/// struct Window { shown: Vec<Placement>, leaving: Vec<MappingToken>, replies: usize }
/// impl GuestMemory for Window {
///     fn read_guest(&self, addr: u64, into: &mut [u8]) -> Result<(), GuestMemoryError> {
///         Err(GuestMemoryError { addr, len: into.len() as u64 })
///     }
///     fn is_guest_ram(&self, _: u64, _: u64) -> bool { false }
/// }
/// impl GpuEnv for Window {
///     fn place(&mut self, placement: Placement) -> Result<(), WindowError> {
///         self.shown.push(placement);
///         Ok(())
///     }
///     fn withdraw(&mut self, token: MappingToken) {
///         self.shown.retain(|p| p.token != token);
///         self.leaving.push(token);             // somebody may still be reading it
///     }
///     fn complete(&mut self, _: Completion) { self.replies += 1 }
/// }
///
/// let mut gpu = GpuCore::new(GpuConfig::default(), Box::new(MemfdRenderer::builder().build()))?;
/// let mut env = Window::default();
/// let mut send = |command, env: &mut Window| gpu.submit(QueuedCommand {
///     queue: QueueKind::Control, head: 0, writable: vec![MemEntry { addr: 0, len: 64 }],
///     request: Request::new(Header::default(), command).encode(),
/// }, env);
/// let blob = CreateBlob {
///     resource: 1, memory: CreateBlob::HOST3D, flags: CreateBlob::MAPPABLE, blob_id: 7, size: 0x1000, entries: vec![],
/// };
/// send(Command::ResourceCreateBlob(blob), &mut env);
/// send(Command::ResourceMapBlob { resource: 1, offset: 0x2000 }, &mut env);
/// assert_eq!((env.shown[0].offset, env.replies), (0x2000, 2));
/// // An unmap is answered once the last reader has gone.
/// assert_eq!(send(Command::ResourceUnmapBlob { resource: 1 }, &mut env), Disposition::Suspended);
/// assert!(env.shown.is_empty() && env.replies == 2);
/// gpu.blob_finalized(env.leaving[0], &mut env);
/// assert_eq!(env.replies, 3);
/// # Ok::<(), ConfigError>(())
/// ```
pub trait GpuEnv: GuestMemory {
    /// Puts a blob into the window, so that the guest reaches it when this returns.
    ///
    /// # Errors
    /// [`WindowError`]; nothing is in the window then.
    fn place(&mut self, placement: Placement) -> Result<(), WindowError>;

    /// Takes a blob out of the window: no new access reaches it when this returns. When the last reader has let go, the
    /// surroundings call [`GpuCore::blob_finalized`](super::GpuCore::blob_finalized), later and from outside the core. Called once for each placement.
    fn withdraw(&mut self, token: MappingToken);

    /// Writes the reply and the used entry.
    fn complete(&mut self, completion: Completion);

    /// A scanout shows something else: `damage` of its frame changed; no frame means that it was turned off.
    fn scanout_changed(&mut self, scanout: u32, frame: Option<&Frame>, damage: Rect) {
        let _ = (scanout, frame, damage);
    }

    /// A cursor looks different, or went (no image), or moved (same image).
    fn cursor_changed(&mut self, position: CursorPosition, image: Option<&CursorImage>) {
        let _ = (position, image);
    }
}
