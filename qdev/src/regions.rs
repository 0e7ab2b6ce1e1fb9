//! The regions of a device: what it made, and what of it is mapped.

use memory::{Region, RegionApi};
use qom::layer::{Pointer, Target, children_of, parent_of};
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

/// The regions of a device and of everything below it.
fn regions_below(device: &Object) -> Vec<Pointer> {
    let mut found = Vec::new();
    let mut above = children_of(device);
    while let Some(object) = above.pop() {
        above.extend(children_of(&object));
        if object.instance::<Region>().is_some() {
            found.push(object);
        }
    }
    found
}

/// Which regions of a device and of what is below it are in which containers of others.
pub(crate) fn mapped(device: &Object) -> Vec<(ObjectId, ObjectId)> {
    regions_below(device)
        .iter()
        .filter_map(|region| {
            let container = foreign_container(device, region)?;
            Some((region.id(), container.id()))
        })
        .collect()
}

/// Takes regions out of foreign containers, but for those that were there `before`: a failed realize leaves no trace.
pub(crate) fn take_out(device: &Object, before: &[(ObjectId, ObjectId)]) {
    for object in regions_below(device) {
        let Some(container) = foreign_container(device, &object) else {
            continue;
        };
        if before.contains(&(object.id(), container.id())) {
            continue;
        }
        if let (Some(from), Some(region)) =
            (container.instance::<Region>(), object.instance::<Region>())
            && let Err(error) = from.del_subregion(region)
        {
            tracing::error!(region = %object.describe(), %error, "a region stays mapped after a failed realize");
        }
    }
}

/// The container of a region, where it belongs to nobody at or below the device.
fn foreign_container(device: &Object, region: &Object) -> Option<Pointer> {
    let container = region.instance::<Region>()?.contained_in().ok()??;
    let container = container.pointer().ok()?;
    let mut above = container.instance::<Region>()?.owner().pointer().ok();
    while let Some(object) = above {
        if object.id() == device.id() {
            return None;
        }
        above = parent_of(&object);
    }
    Some(container)
}
