//! The regions of a device: what it made, and what of it is mapped.

use memory::{Region, RegionApi};
use qom::layer::{Pointer, Target, children_of};
use qom::{Child, Object, ObjectId};

/// The regions that an object owns: its children that are regions, oldest first. A device's withdrawal withdraws exactly these (and those of
/// everything below it) with it.
pub fn regions_of(owner: &(impl Target + ?Sized)) -> Vec<Child<Region>> {
    let Ok(owner) = owner.pointer() else {
        return Vec::new();
    };
    regions(&owner)
        .iter()
        .filter_map(|o| o.instance::<Region>())
        .map(qom::ObjectType::this)
        .collect()
}

fn regions(owner: &Object) -> Vec<Pointer> {
    children_of(owner)
        .into_iter()
        .filter(|c| c.instance::<Region>().is_some())
        .collect()
}

/// Those of a device's regions that are in somebody else's container.
pub(crate) fn mapped(device: &Object) -> Vec<ObjectId> {
    regions(device)
        .iter()
        .filter(|r| foreign_container(device, r).is_some())
        .map(|r| r.id())
        .collect()
}

/// Takes regions out of foreign containers, but for those that were there `before`: a failed realize leaves no trace.
pub(crate) fn take_out(device: &Object, before: &[ObjectId]) {
    for object in regions(device) {
        if before.contains(&object.id()) {
            continue;
        }
        let (Some(container), Some(region)) = (
            foreign_container(device, &object),
            object.instance::<Region>(),
        ) else {
            continue;
        };
        let taken = container.cast::<Region>().map(|c| c.del_subregion(region));
        if let Ok(Err(error)) = taken {
            tracing::error!(region = %object.describe(), %error, "a region stays mapped after a failed realize");
        }
    }
}

fn foreign_container(device: &Object, region: &Object) -> Option<qom::Ref> {
    let info = region.instance::<Region>()?.info().ok()?;
    let container = qom::layer::machine_of(device).resolve(&info.container?)?;
    let owner = container.cast::<Region>().ok()?.owner().id();
    (owner != device.id()).then_some(container)
}
