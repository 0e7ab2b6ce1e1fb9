//! One blob in the window: an object that owns the blob's RAM region, so that its end says that nobody reaches the bytes any more.

use super::shared::Shared;
use crate::gpu::MappingToken;
use memory::{Backing, Offset, Priority, Region, RegionApi, RegionError, Size};
use parking_lot::Mutex;
use qom::layer::{Hold, Holder, Reason, Target, create_with, machine_of, parent_of};
use qom::{Child, Init, ObjectImpl, ObjectOps, RootObject};
use std::sync::Arc;

/// A blob on its way out holds its device.
const LEAVING: Reason = Reason("a blob of it is not finalized");

/// One blob in the host-visible window. A child of the device; withdrawn when it is unmapped; finalized when the last view, mapping and pin of its
/// region has gone, and only then the renderer is told.
///
/// What regions do for their owners, a blob does for its device: while it is parented the device keeps it, from its withdrawal to its finalization
/// it keeps the device. So the device's end, and the notification of it, say that nobody reaches any of its memory.
///
/// ```
/// use hw_virtio_gpu::{HostBlob, VirtioGpu};
/// use qom::{Machine, ObjectOps};
///
/// let machine = Machine::new("doc");
/// let gpu = VirtioGpu::builder().create(&machine)?;
/// machine.root().add_child("gpu", &gpu)?;
/// // The blobs that the guest has in its window: `/machine/gpu/blob[n]`. None yet.
/// let blobs = gpu.children().into_iter().filter(|(_, c)| c.get().is_ok_and(|c| c.cast::<HostBlob>().is_ok()));
/// assert_eq!(blobs.count(), gpu.counts().mapped_blobs);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct HostBlob {
    object: RootObject,
    region: Child<Region>,
    /// The device's shared state. It holds no handle to any object.
    shared: Option<Arc<Shared>>,
    token: MappingToken,
    /// The device, from the withdrawal on.
    device: Mutex<Option<Hold>>,
}

qom::object_type! { HostBlob("virtio-gpu-host-blob") { object: RootObject } }

impl ObjectImpl for HostBlob {
    /// A blob made by its type's name alone has no bytes and belongs to no device, as in introspection.
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
            region: Child::default(),
            shared: None,
            token: MappingToken(u64::MAX),
            device: Mutex::default(),
        }
    }

    /// The device still is there: children are closed before their parents, and only then the tree lets go of any of them.
    fn unparent(&self) {
        let Ok(me) = self.pointer() else { return };
        let hold = parent_of(&me).and_then(|gpu| Hold::new(&gpu, LEAVING, Holder::object(&me)));
        *self.device.lock() = hold;
    }

    fn finalize(&self) {
        if let Some(shared) = &self.shared {
            shared.blob_finalized(self.token);
        }
        let hold = self.device.lock().take();
        drop(hold);
    }
}

/// Puts a blob's bytes into the window of `device`, called `blob[n]`.
pub(super) fn place(
    shared: &Arc<Shared>,
    device: &Child<super::VirtioGpu>,
    window: &Child<Region>,
    token: MappingToken,
    offset: u64,
    len: u64,
    backing: &Backing,
) -> Result<Child<HostBlob>, RegionError> {
    let gpu = device.pointer()?;
    let machine = machine_of(&gpu);
    let bytes = backing
        .slice(0, len)
        .map_err(|source| RegionError::Backing {
            region: "blob".into(),
            owner: gpu.describe(),
            source,
        })?;
    let mut made = Ok(());
    let blob = create_with(&machine, None, |cx| {
        let region = Region::ram("blob", bytes).create(cx.object());
        let (region, outcome) = match region {
            Ok(region) => (region, Ok(())),
            Err(error) => (Child::default(), Err(error)),
        };
        made = outcome;
        HostBlob {
            object: cx.parent(),
            region,
            shared: Some(shared.clone()),
            token,
            device: Mutex::default(),
        }
    })?;
    made?;
    gpu.add_child("blob[*]", &blob)?;
    let placed = window.add_subregion(Offset(offset), &blob.region, Priority(1));
    if let Err(error) = placed {
        // Nothing of it may stay: its finalizer finds a token that the core does not know.
        let _ = blob.unparent_async();
        return Err(error);
    }
    debug_assert_eq!(
        blob.region.info().map(|i| i.size).ok(),
        Some(Size::new(len))
    );
    Ok(blob.child())
}
