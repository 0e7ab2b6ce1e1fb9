//! What stands around the core: guest RAM, the window, the guest that waits for answers. What is wrong is kept until somebody looks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use hw_virtio_gpu::gpu::{Completion, GpuEnv, MappingToken, Placement, WindowError};
use hw_virtio_gpu::guest::{GuestMemory, GuestMemoryError};
use hw_virtio_gpu::renderer::{BlobHandle, MappedBlob};
use hw_virtio_gpu::scanout::Frame;
use hw_virtio_gpu::wire::Rect;
use parking_lot::Mutex;

use super::behind::Known;
use super::replies::Sent;
use super::{Outcome, RAM, Tally, WINDOW};

pub(super) struct Surroundings {
    ram: Vec<u8>,
    /// By offset.
    pub(super) window: BTreeMap<u64, (MappingToken, u64)>,
    /// Placed and not finalized: where, what, and its bytes.
    pub(super) placed: HashMap<MappingToken, (u64, BlobHandle, MappedBlob)>,
    pub(super) withdrawn: Vec<MappingToken>,
    used: BTreeSet<MappingToken>,
    /// Commands that wait for their answer, by head.
    pub(super) open: HashMap<u16, Sent>,
    /// Resets so far.
    pub(super) life: u64,
    pub(super) refuse_placements: bool,
    pub(super) known: Arc<Mutex<Known>>,
    pub(super) tally: Tally,
    wrong: Vec<String>,
}

impl Surroundings {
    pub(super) fn new(known: Arc<Mutex<Known>>) -> Self {
        Self {
            ram: (0..RAM).map(|i| i.to_le_bytes()[0]).collect(),
            window: BTreeMap::new(),
            placed: HashMap::new(),
            withdrawn: Vec::new(),
            used: BTreeSet::new(),
            open: HashMap::new(),
            life: 0,
            refuse_placements: false,
            known,
            tally: Tally::default(),
            wrong: Vec::new(),
        }
    }

    fn check(&mut self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.wrong.push(what());
        }
    }

    /// The first thing that was wrong.
    pub(super) fn verdict(&mut self) -> Outcome {
        let behind = std::mem::take(&mut self.known.lock().wrong);
        let first = std::mem::take(&mut self.wrong).into_iter().chain(behind);
        first.map(Err).next().unwrap_or(Ok(()))
    }

    /// Nobody holds a blob any more.
    pub(super) fn let_go(&mut self, token: MappingToken) {
        if let Some((_, handle, _)) = self.placed.remove(&token)
            && let Some(blob) = self.known.lock().blobs.get_mut(&handle)
        {
            blob.let_go = true;
        }
    }
}

impl GuestMemory for Surroundings {
    fn read_guest(&self, addr: u64, into: &mut [u8]) -> Result<(), GuestMemoryError> {
        let len = into.len() as u64;
        let there = usize::try_from(addr)
            .ok()
            .and_then(|at| self.ram.get(at..)?.get(..into.len()));
        let bytes = there.ok_or(GuestMemoryError { addr, len })?;
        into.copy_from_slice(bytes);
        Ok(())
    }

    fn is_guest_ram(&self, addr: u64, len: u64) -> bool {
        addr.checked_add(len).is_some_and(|end| end <= RAM)
    }
}

impl GpuEnv for Surroundings {
    fn place(&mut self, placement: Placement) -> Result<(), WindowError> {
        let Placement {
            token,
            offset,
            len,
            blob,
            resource,
        } = placement;
        let handle = self.known.lock().handed_out.take();
        self.check(handle.is_some_and(|h| h.resource == resource), || {
            format!("{resource} is placed, the renderer gave {handle:?}")
        });
        let end = offset.checked_add(len);
        let aligned = (offset | len).is_multiple_of(4096);
        let inside = end.is_some_and(|end| end <= WINDOW) && len > 0;
        self.check(inside && aligned, || {
            format!("blob {resource} is placed at {offset:#x}+{len:#x}")
        });
        let end = end.unwrap_or(u64::MAX);
        let there = self.window.iter();
        let overlaps = there
            .clone()
            .any(|(&at, &(_, n))| at < end && offset < at + n);
        let fresh = self.used.insert(token);
        self.check(!overlaps && fresh && blob.backing.len() >= len, || {
            let backing = &blob.backing;
            format!("{token:?} at {offset:#x}: over others {overlaps}, new {fresh}, {backing:?}")
        });
        if self.refuse_placements {
            let mut known = self.known.lock();
            if let Some(blob) = handle.and_then(|h| known.blobs.get_mut(&h)) {
                blob.let_go = true;
            }
            return Err(WindowError {
                reason: "told to".into(),
                source: None,
            });
        }
        self.tally.placed += 1;
        self.window.insert(offset, (token, len));
        if let Some(handle) = handle {
            self.placed.insert(token, (offset, handle, blob));
        }
        Ok(())
    }

    fn withdraw(&mut self, token: MappingToken) {
        let found = self
            .placed
            .get(&token)
            .and_then(|(offset, ..)| self.window.remove(offset));
        self.check(found.is_some_and(|(there, _)| there == token), || {
            format!("{token:?} is withdrawn, there is {found:?}")
        });
        self.withdrawn.push(token);
    }

    fn complete(&mut self, completion: Completion) {
        let Completion {
            queue,
            head,
            generation,
            response,
            ..
        } = completion;
        let life = self.life;
        self.check(generation.0 == life, || {
            format!("command {head} is answered for life {generation:?} in {life}")
        });
        let Some(sent) = self.open.remove(&head) else {
            self.check(false, || {
                format!("command {head} is answered again: {response:?}")
            });
            return;
        };
        let judged = sent.judge(&response);
        match &judged {
            Ok(Some(0x1201)) => self.tally.out_of_room += 1,
            Ok(Some(kind)) if *kind < 0x1200 => self.tally.obeyed += 1,
            _ => {}
        }
        self.check(judged.is_ok() && queue == sent.queue, || {
            format!("command {head}: {judged:?}, {sent:?}")
        });
    }

    fn scanout_changed(&mut self, scanout: u32, frame: Option<&Frame>, damage: Rect) {
        let inside = frame.is_none_or(|f| damage.is_inside(f.width(), f.height()));
        self.check(inside && scanout < 2, || {
            format!("scanout {scanout}: {damage:?} of {frame:?}")
        });
    }
}
