//! A renderer that draws nothing and keeps host blobs in memfds: for tests, for trace replay, and for guests that only
//! want shared memory.
//!
//! Each blob's first and last 32-bit word tell which blob it is ([`MemfdRenderer::first_word`]). The memory of a blob is
//! made when it is first mapped or read, so that a blob nobody looks at costs nothing; it then stays until the blob ends.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use memory::Backing;

use super::{
    BlobHandle, BlobSpec, Capset, Fence, FenceSink, FenceState, MappedBlob, Renderer,
    RendererError, Timeline,
};
use crate::wire::MapCaching;

/// Size of a page, in bytes.
const PAGE: u64 = 4096;

/// The renderer. Made with [`MemfdRenderer::builder`].
///
/// ```
/// use hw_virtio_gpu::renderer::{BlobHandle, BlobSpec, Generation, MemfdRenderer, Renderer};
///
/// let mut renderer = MemfdRenderer::builder().build();
/// let blob = BlobHandle { generation: Generation(0), resource: 4 };
/// renderer.create_blob(blob, &BlobSpec { context: 1, blob_id: 7, size: 8192, mappable: true })?;
/// let mapped = renderer.map_blob(blob)?;
/// let mut word = [0; 4];
/// mapped.backing.bytes().read(0, &mut word)?;
/// assert_eq!(u32::from_le_bytes(word), 0x1b00_0007);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MemfdRenderer {
    capsets: Vec<Capset>,
    refused_at_map: HashSet<u64>,
    caching: MapCaching,
    blobs: HashMap<BlobHandle, Blob>,
    fences: Option<Arc<FenceControl>>,
}

struct Blob {
    spec: BlobSpec,
    backing: Option<Backing>,
}

/// How a [`MemfdRenderer`] behaves.
#[derive(Clone, Debug)]
pub struct MemfdRendererBuilder {
    capsets: Vec<Capset>,
    refused_at_map: HashSet<u64>,
    caching: MapCaching,
    fences: Option<Arc<FenceControl>>,
}

impl MemfdRenderer {
    /// A renderer without capsets that refuses nothing, caches everything, and completes fences at once.
    pub fn builder() -> MemfdRendererBuilder {
        MemfdRendererBuilder {
            capsets: Vec::new(),
            refused_at_map: HashSet::new(),
            caching: MapCaching::Cached,
            fences: None,
        }
    }

    /// The first word of a blob's memory, unless its id is 0.
    pub fn first_word(blob_id: u64) -> u32 {
        0x1b00_0000 | low32(blob_id)
    }

    /// The last word of a blob's memory, unless its id is 0.
    pub fn last_word(blob_id: u64) -> u32 {
        0xe0d0_0000 | low32(blob_id)
    }

    /// The memory of a blob, made now if need be.
    fn backing(&mut self, handle: BlobHandle) -> Result<Backing, RendererError> {
        let blob = self
            .blobs
            .get_mut(&handle)
            .ok_or_else(|| RendererError::Refused(format!("{handle} is not a blob")))?;
        if let Some(backing) = &blob.backing {
            return Ok(backing.clone());
        }
        let BlobSpec { blob_id, size, .. } = blob.spec;
        let pages = size.checked_next_multiple_of(PAGE).unwrap_or(size);
        let made = Backing::memfd(&format!("blob-{blob_id:#x}"), pages);
        let backing = made.map_err(|source| RendererError::NoMemory {
            what: format!("{handle}, {size} bytes"),
            source,
        })?;
        if blob_id != 0 && size >= 4 {
            let words = [
                (0, Self::first_word(blob_id)),
                (size - 4, Self::last_word(blob_id)),
            ];
            for (at, word) in words {
                let written = backing.bytes().write(at, &word.to_le_bytes());
                written.map_err(|e| RendererError::Refused(e.to_string()))?;
            }
        }
        blob.backing = Some(backing.clone());
        Ok(backing)
    }
}

fn low32(blob_id: u64) -> u32 {
    let [a, b, c, d, ..] = blob_id.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

impl MemfdRendererBuilder {
    /// Offers a capset, after those offered so far.
    pub fn capset(mut self, capset: Capset) -> Self {
        self.capsets.push(capset);
        self
    }

    /// Refuses to map blobs with this id; they can be created.
    pub fn refuse_map(mut self, blob_id: u64) -> Self {
        self.refused_at_map.insert(blob_id);
        self
    }

    /// What the guest is told about caching.
    pub fn caching(mut self, caching: MapCaching) -> Self {
        self.caching = caching;
        self
    }

    /// Keeps fences pending until the control says so.
    pub fn hold_fences(mut self, control: &Arc<FenceControl>) -> Self {
        self.fences = Some(Arc::clone(control));
        self
    }

    /// The renderer.
    pub fn build(self) -> MemfdRenderer {
        MemfdRenderer {
            capsets: self.capsets,
            refused_at_map: self.refused_at_map,
            caching: self.caching,
            blobs: HashMap::new(),
            fences: self.fences,
        }
    }
}

/// Holds the fences of a [`MemfdRenderer`] back, as a busy GPU does. May be used from any thread.
///
/// ```
/// use hw_virtio_gpu::renderer::{Fence, FenceControl, FenceState, Generation, MemfdRenderer, Renderer, Timeline};
/// use std::sync::{Arc, Mutex};
///
/// let control = Arc::new(FenceControl::default());
/// let mut renderer = MemfdRenderer::builder().hold_fences(&control).build();
/// let done = Arc::new(Mutex::new(Vec::new()));
/// let sink = done.clone();
/// renderer.connect(Arc::new(move |fence: Fence| sink.lock().unwrap().push(fence.id)));
/// for id in 1..=3 {
///     let fence = Fence { generation: Generation(0), timeline: Timeline::Device, id };
///     assert_eq!(renderer.fence(fence), FenceState::Pending);
/// }
/// assert!(control.signal(Timeline::Device, 2), "and with it all before");
/// assert_eq!(*done.lock().unwrap(), [2]);
/// assert_eq!(control.pending().len(), 1);
/// ```
#[derive(Default)]
pub struct FenceControl {
    state: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    sink: Option<FenceSink>,
    pending: Vec<Fence>,
}

impl std::fmt::Debug for FenceControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FenceControl")
            .field("pending", &self.pending())
            .finish()
    }
}

impl FenceControl {
    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fences held back, in the order in which they came.
    pub fn pending(&self) -> Vec<Fence> {
        self.lock().pending.clone()
    }

    /// Completes the work of a timeline up to fence `id`: reports it if it was held back. Whether it was.
    pub fn signal(&self, timeline: Timeline, id: u64) -> bool {
        let (sink, fence) = {
            let mut held = self.lock();
            let found = held
                .pending
                .iter()
                .position(|f| f.timeline == timeline && f.id == id);
            let Some(index) = found else { return false };
            let fence = held.pending[index];
            held.pending.retain(|f| f.timeline != timeline || f.id > id);
            (held.sink.clone(), fence)
        };
        // Outside the lock: the sink may lead to another call of the renderer.
        if let Some(sink) = sink {
            sink(fence);
        }
        true
    }
}

impl Renderer for MemfdRenderer {
    fn capsets(&self) -> &[Capset] {
        &self.capsets
    }

    fn connect(&mut self, fences: FenceSink) {
        if let Some(control) = &self.fences {
            control.lock().sink = Some(fences);
        }
    }

    fn submit(&mut self, _context: u32, _commands: &[u8]) -> Result<(), RendererError> {
        Ok(())
    }

    fn fence(&mut self, fence: Fence) -> FenceState {
        match &self.fences {
            Some(control) => {
                control.lock().pending.push(fence);
                FenceState::Pending
            }
            None => FenceState::Signaled,
        }
    }

    fn create_blob(&mut self, blob: BlobHandle, spec: &BlobSpec) -> Result<(), RendererError> {
        let made = Blob {
            spec: *spec,
            backing: None,
        };
        self.blobs.insert(blob, made);
        Ok(())
    }

    fn map_blob(&mut self, blob: BlobHandle) -> Result<MappedBlob, RendererError> {
        let blob_id = self.blobs.get(&blob).map(|b| b.spec.blob_id);
        if blob_id.is_some_and(|id| self.refused_at_map.contains(&id)) {
            return Err(RendererError::Refused(format!(
                "{blob} is not to be mapped"
            )));
        }
        Ok(MappedBlob {
            backing: self.backing(blob)?,
            caching: self.caching,
        })
    }

    fn destroy_blob(&mut self, blob: BlobHandle) {
        self.blobs.remove(&blob);
    }

    fn read_blob(
        &mut self,
        blob: BlobHandle,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), RendererError> {
        let backing = self.backing(blob)?;
        let read = backing.bytes().read(offset, into);
        read.map_err(|e| RendererError::Refused(e.to_string()))
    }

    fn reset(&mut self) {
        if let Some(control) = &self.fences {
            control.lock().pending.clear();
        }
    }
}
