//! A renderer that checks what it is told: contexts and blobs exist where they are named, a blob is unmapped once it is finalized and not before, and
//! destroyed while it is not mapped.
//!
//! It also refuses and panics where it is told to, before it does anything.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::Arc;

use hw_virtio_gpu::renderer::{
    BlobHandle, BlobSpec, Capset, Fence, FenceSink, FenceState, MappedBlob, MemfdRenderer,
    Renderer, RendererError,
};
use parking_lot::Mutex;

use crate::random::Random;

/// What it panics with: it panics in its turn.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            resume_unwind(Box::new("dropped"));
        }
    }
}

/// What it knows.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) blobs: BTreeMap<BlobHandle, Blob>,
    pub(super) contexts: BTreeSet<u32>,
    attached: BTreeSet<(u32, BlobHandle)>,
    /// The blob whose memory was handed out last.
    pub(super) handed_out: Option<BlobHandle>,
    pub(super) wrong: Vec<String>,
    /// Refuses so many calls of a hundred, and panics in as many.
    pub(super) moody: u64,
    random: Random,
}

#[derive(Debug)]
pub(super) struct Blob {
    pub(super) size: u64,
    mappable: bool,
    mapped: bool,
    /// Nobody holds its memory any more: it may be unmapped.
    pub(super) let_go: bool,
}

impl Known {
    pub(super) fn new(random: Random) -> Self {
        Self {
            blobs: BTreeMap::new(),
            contexts: BTreeSet::new(),
            attached: BTreeSet::new(),
            handed_out: None,
            wrong: Vec::new(),
            moody: 0,
            random,
        }
    }

    fn check(&mut self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.wrong.push(format!("the renderer is told: {}", what()));
        }
    }

    /// Refuses, panics, or lets the call go on.
    fn mood(&mut self) -> Result<(), RendererError> {
        let drawn = self.random.below(100);
        if drawn < self.moody {
            Err(RendererError::Refused("told to".into()))
        } else if drawn < 2 * self.moody {
            // No message: it is no finding.
            resume_unwind(Box::new(Bomb));
        } else {
            Ok(())
        }
    }
}

/// The renderer: a checked one that keeps blobs in memfds.
pub(super) struct Checked {
    pub(super) inner: MemfdRenderer,
    pub(super) known: Arc<Mutex<Known>>,
}

impl Renderer for Checked {
    fn capsets(&self) -> &[Capset] {
        self.inner.capsets()
    }

    fn connect(&mut self, fences: FenceSink) {
        self.inner.connect(fences);
    }

    fn create_context(&mut self, id: u32, capset: u32, name: &[u8]) -> Result<(), RendererError> {
        let mut known = self.known.lock();
        let right = id != 0 && !known.contexts.contains(&id) && name.len() <= 64;
        known.check(right, || format!("context {id} begins"));
        known.mood()?;
        known.contexts.insert(id);
        self.inner.create_context(id, capset, name)
    }

    fn destroy_context(&mut self, id: u32) {
        let mut known = self.known.lock();
        let right = known.contexts.remove(&id);
        known.check(right, || format!("context {id} ends"));
        known.attached.retain(|(context, _)| *context != id);
        self.inner.destroy_context(id);
    }

    fn attach(&mut self, context: u32, blob: BlobHandle) -> Result<(), RendererError> {
        let mut known = self.known.lock();
        let right = known.contexts.contains(&context)
            && known.blobs.contains_key(&blob)
            && !known.attached.contains(&(context, blob));
        known.check(right, || format!("{blob} is attached to {context}"));
        known.mood()?;
        known.attached.insert((context, blob));
        self.inner.attach(context, blob)
    }

    fn detach(&mut self, context: u32, blob: BlobHandle) {
        let mut known = self.known.lock();
        let right = known.attached.remove(&(context, blob));
        known.check(right, || format!("{blob} is detached from {context}"));
        self.inner.detach(context, blob);
    }

    fn submit(&mut self, context: u32, commands: &[u8]) -> Result<(), RendererError> {
        let mut known = self.known.lock();
        let right = known.contexts.contains(&context);
        known.check(right, || format!("commands of context {context}"));
        known.mood()?;
        self.inner.submit(context, commands)
    }

    fn fence(&mut self, fence: Fence) -> FenceState {
        self.inner.fence(fence)
    }

    fn create_blob(&mut self, blob: BlobHandle, spec: &BlobSpec) -> Result<(), RendererError> {
        let mut known = self.known.lock();
        let context = spec.context == 0 || known.contexts.contains(&spec.context);
        let right = context && spec.size > 0 && !known.blobs.contains_key(&blob);
        known.check(right, || format!("{blob} begins as {spec:?}"));
        known.mood()?;
        let begun = Blob {
            size: spec.size,
            mappable: spec.mappable,
            mapped: false,
            let_go: false,
        };
        known.blobs.insert(blob, begun);
        self.inner.create_blob(blob, spec)
    }

    fn map_blob(&mut self, blob: BlobHandle) -> Result<MappedBlob, RendererError> {
        let mut known = self.known.lock();
        let right = (known.blobs.get(&blob)).is_some_and(|b| b.mappable && !b.mapped);
        known.check(right, || format!("{blob} is mapped"));
        known.mood()?;
        let mapped = self.inner.map_blob(blob)?;
        if let Some(known) = known.blobs.get_mut(&blob) {
            (known.mapped, known.let_go) = (true, false);
        }
        known.handed_out = Some(blob);
        Ok(mapped)
    }

    fn unmap_blob(&mut self, blob: BlobHandle) {
        let mut known = self.known.lock();
        let found = known.blobs.get_mut(&blob);
        let right = found.is_some_and(|b| std::mem::take(&mut b.mapped) && b.let_go);
        known.check(right, || format!("{blob} is unmapped"));
        self.inner.unmap_blob(blob);
    }

    fn destroy_blob(&mut self, blob: BlobHandle) {
        let mut known = self.known.lock();
        let right = known.blobs.remove(&blob).is_some_and(|b| !b.mapped);
        known.check(right, || format!("{blob} ends"));
        known.attached.retain(|(_, attached)| *attached != blob);
        self.inner.destroy_blob(blob);
    }

    fn read_blob(
        &mut self,
        blob: BlobHandle,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), RendererError> {
        let mut known = self.known.lock();
        let size = known.blobs.get(&blob).map(|b| b.size);
        let end = offset.checked_add(into.len() as u64);
        let right = size.zip(end).is_some_and(|(size, end)| end <= size);
        known.check(right, || {
            format!("read {offset:#x} to {end:?} of {blob}, {size:?}")
        });
        known.mood()?;
        self.inner.read_blob(blob, offset, into)
    }

    fn reset(&mut self) {
        let mut known = self.known.lock();
        known.contexts.clear();
        known.attached.clear();
        self.inner.reset();
    }
}
