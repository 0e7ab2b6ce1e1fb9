//! Commands about 2D resources and backings, and what resources of all kinds have in common.

use std::{collections::BTreeSet, hash::BuildHasher};

use super::{GpuCore, GpuEnv, GuestError, Outcome};
use crate::{
    guest::GuestBacking,
    limits::LimitReached,
    resource::{Content, Resource, TwoD},
    scanout::frame_bytes,
    wire::{Format, MemEntry, Rect, Response},
};

impl GpuCore {
    pub(super) fn create_2d(
        &mut self,
        id: u32,
        format: u32,
        width: u32,
        height: u32,
    ) -> Result<Response, GuestError> {
        self.check_new_id(id)?;
        let format = pixel_format(format)?;
        for (field, side) in [("width", width), ("height", height)] {
            if side == 0 {
                return Err(GuestError::Value { field, value: 0 });
            }
        }
        let bytes = frame_bytes(width, height);
        self.pixel_bytes.charge(bytes)?;
        let Some(pixels) = TwoD::new(format, width, height) else {
            self.pixel_bytes.release(bytes);
            return Err(GuestError::HostMemory(bytes));
        };
        self.insert_resource(id, Content::TwoD(pixels));
        Ok(Response::Ok)
    }

    pub(super) fn attach_backing(
        &mut self,
        id: u32,
        entries: &[MemEntry],
        env: &dyn GpuEnv,
    ) -> Result<Response, GuestError> {
        let resource = self.resources.get(&id);
        match &resource.ok_or(GuestError::UnknownResource(id))?.content {
            Content::TwoD(TwoD { backing: None, .. }) => {}
            Content::TwoD(_) | Content::GuestBlob { .. } => return Err(GuestError::HasBacking(id)),
            Content::HostBlob(_) => return Err(not_2d(id)),
        }
        let attached = GuestBacking::new(entries, env)?;
        self.backing_entries.charge(attached.segments() as u64)?;
        if let Some(Content::TwoD(pixels)) = self.resources.get_mut(&id).map(|r| &mut r.content) {
            pixels.backing = Some(attached);
        }
        Ok(Response::Ok)
    }

    pub(super) fn detach_backing(&mut self, id: u32) -> Result<Response, GuestError> {
        let resource = self.resources.get_mut(&id);
        let resource = resource.ok_or(GuestError::UnknownResource(id))?;
        let Content::TwoD(pixels) = &mut resource.content else {
            return Err(not_2d(id));
        };
        let detached = pixels.backing.take().ok_or(GuestError::NoBacking(id))?;
        self.backing_entries.release(detached.segments() as u64);
        Ok(Response::Ok)
    }

    pub(super) fn transfer_to_host(
        &mut self,
        id: u32,
        rect: Rect,
        offset: u64,
        env: &dyn GpuEnv,
    ) -> Result<Response, GuestError> {
        let resource = self.resources.get_mut(&id);
        match &mut resource.ok_or(GuestError::UnknownResource(id))?.content {
            Content::TwoD(pixels) => {
                if pixels.backing.is_none() {
                    return Err(GuestError::NoBacking(id));
                }
                if !rect.is_inside(pixels.width, pixels.height) {
                    return Err(GuestError::Rectangle);
                }
                pixels.transfer(env, rect, offset)?;
            }
            // A blob's memory is seen by both sides as it is: the stock driver sends this all the same.
            Content::GuestBlob { .. } | Content::HostBlob(_) => {}
        }
        Ok(Response::Ok)
    }

    pub(super) fn assign_uuid(&mut self, id: u32) -> Result<Response, GuestError> {
        let generation = self.generation;
        let seed = &self.uuid_seed;
        let resource = self.resources.get_mut(&id);
        let resource = resource.ok_or(GuestError::UnknownResource(id))?;
        let uuid = *resource.uuid.get_or_insert_with(|| {
            let mut bytes = [0; 16];
            for (half, place) in bytes.chunks_exact_mut(8).enumerate() {
                place.copy_from_slice(&seed.hash_one((generation, id, half)).to_le_bytes());
            }
            // RFC 9562: version 4, variant 10.
            bytes[6] = bytes[6] & 0x0f | 0x40;
            bytes[8] = bytes[8] & 0x3f | 0x80;
            bytes
        });
        Ok(Response::ResourceUuid(uuid))
    }

    pub(super) fn unref(&mut self, id: u32, env: &mut dyn GpuEnv) -> Result<Outcome, GuestError> {
        if !self.resources.contains_key(&id) {
            return Err(GuestError::UnknownResource(id));
        }
        if let Some(token) = self.start_unmap(id, env) {
            return Ok(Outcome::Suspend(token));
        }
        self.remove_resource(id, env)?;
        Ok(Outcome::Reply(Response::Ok))
    }

    /// Removes a resource that is not mapped, and turns off what shows it.
    pub(super) fn remove_resource(
        &mut self,
        id: u32,
        env: &mut dyn GpuEnv,
    ) -> Result<(), GuestError> {
        let removed = self.resources.remove(&id);
        let Resource {
            content, contexts, ..
        } = removed.ok_or(GuestError::UnknownResource(id))?;
        for index in 0..self.scanouts.len() {
            if self.scanouts[index].is_fed_by(id) {
                self.turn_off(index, env);
            }
            if self.scanouts[index].cursor.resource == id {
                self.hide_cursor(index, env);
            }
        }
        self.attachments.release(contexts.len() as u64);
        for context in contexts {
            if let Some(found) = self.contexts.get_mut(&context) {
                found.resources.remove(&id);
                if let Content::HostBlob(blob) = &content {
                    self.renderer
                        .tell("detach", |r| r.detach(context, blob.handle));
                }
            }
        }
        self.release_content(&content);
        if let Content::HostBlob(blob) = content {
            self.blob_bytes.release(blob.span);
            self.renderer
                .tell("destroy_blob", |r| r.destroy_blob(blob.handle));
        }
        Ok(())
    }

    /// Gives back what a resource took from the budgets for pixels and backings.
    pub(super) fn release_content(&mut self, content: &Content) {
        match content {
            Content::TwoD(pixels) => {
                self.pixel_bytes
                    .release(frame_bytes(pixels.width, pixels.height));
                let entries = pixels.backing.as_ref().map_or(0, GuestBacking::segments);
                self.backing_entries.release(entries as u64);
            }
            Content::GuestBlob { backing, .. } => {
                self.backing_entries.release(backing.segments() as u64);
            }
            Content::HostBlob(_) => {}
        }
    }

    /// Whether a new resource may have this id, and whether there may be one more at all.
    pub(super) fn check_new_id(&self, id: u32) -> Result<(), GuestError> {
        if id == 0 || self.resources.contains_key(&id) {
            return Err(GuestError::ResourceId(id));
        }
        let orphans = self.leaving.values().filter(|l| l.orphan).count();
        let used = self.resources.len() + orphans;
        let limit = self.config.limits.resources;
        if used >= limit {
            return Err(GuestError::Limit(LimitReached {
                what: "resources",
                asked: 1,
                used: used as u64,
                limit: limit as u64,
            }));
        }
        Ok(())
    }

    pub(super) fn insert_resource(&mut self, id: u32, content: Content) {
        let resource = Resource {
            content,
            contexts: BTreeSet::new(),
            uuid: None,
        };
        self.resources.insert(id, resource);
    }
}

/// The pixel format with this number.
pub(super) fn pixel_format(number: u32) -> Result<Format, GuestError> {
    Format::from_number(number).ok_or(GuestError::Value {
        field: "format",
        value: u64::from(number),
    })
}

pub(super) fn not_2d(resource: u32) -> GuestError {
    GuestError::WrongKind {
        resource,
        wanted: "a 2D resource",
    }
}
