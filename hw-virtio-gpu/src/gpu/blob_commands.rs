//! Commands about blobs: creation, and the way into the window and out of it.

use std::ops::Range;

use super::{GpuCore, GpuEnv, GuestError, Leaving, MappingToken, Outcome, PAGE, Placement};
use crate::{
    guest::{BackingError, GuestBacking},
    renderer::{BlobHandle, BlobSpec},
    resource::{Content, HostBlob, Mapping},
    wire::{Command, CreateBlob, MapCaching, Request, Response, feature},
};

impl GpuCore {
    pub(super) fn create_blob(
        &mut self,
        context: u32,
        blob: &CreateBlob,
        env: &dyn GpuEnv,
    ) -> Result<Response, GuestError> {
        self.check_new_id(blob.resource)?;
        let flags = CreateBlob::MAPPABLE | CreateBlob::SHAREABLE | CreateBlob::CROSS_DEVICE;
        if blob.flags & !flags != 0 {
            return Err(value("blob_flags", u64::from(blob.flags)));
        }
        if blob.size == 0 {
            return Err(value("size", 0));
        }
        let content = match blob.memory {
            CreateBlob::GUEST => self.create_guest_blob(blob, env)?,
            CreateBlob::HOST3D if self.features & feature::VIRGL != 0 => {
                self.create_host_blob(context, blob)?
            }
            other => return Err(value("blob_mem", u64::from(other))),
        };
        self.insert_resource(blob.resource, content);
        Ok(Response::Ok)
    }

    fn create_guest_blob(
        &mut self,
        blob: &CreateBlob,
        env: &dyn GpuEnv,
    ) -> Result<Content, GuestError> {
        let backing = GuestBacking::new(&blob.entries, env)?;
        if blob.size > backing.len() {
            return Err(GuestError::Backing(BackingError::OutOfRange {
                offset: 0,
                len: blob.size,
                total: backing.len(),
            }));
        }
        self.backing_entries.charge(backing.segments() as u64)?;
        Ok(Content::GuestBlob {
            size: blob.size,
            backing,
        })
    }

    fn create_host_blob(&mut self, context: u32, blob: &CreateBlob) -> Result<Content, GuestError> {
        if !blob.entries.is_empty() {
            return Err(value("nr_entries", blob.entries.len() as u64));
        }
        if context != 0 && !self.contexts.contains_key(&context) {
            return Err(GuestError::UnknownContext(context));
        }
        let too_large = || value("size", blob.size);
        let span = blob.size.checked_next_multiple_of(PAGE);
        let span = span.ok_or_else(too_large)?;
        // The renderer's memory and the window have whole pages: thousands of blobs of a byte each are not to cost thousands of pages.
        self.blob_bytes.charge(span)?;
        let handle = BlobHandle {
            generation: self.generation,
            resource: blob.resource,
        };
        let spec = BlobSpec {
            context,
            blob_id: blob.blob_id,
            size: blob.size,
            mappable: blob.flags & CreateBlob::MAPPABLE != 0,
        };
        let made = self
            .renderer
            .ask("create_blob", |r| r.create_blob(handle, &spec));
        if let Err(error) = made {
            self.blob_bytes.release(span);
            return Err(error.into());
        }
        Ok(Content::HostBlob(HostBlob {
            handle,
            size: blob.size,
            span,
            mappable: spec.mappable,
            mapping: None,
        }))
    }

    pub(super) fn map_blob(
        &mut self,
        id: u32,
        offset: u64,
        env: &mut dyn GpuEnv,
    ) -> Result<Response, GuestError> {
        let window = self.config.window;
        let resource = self.resources.get(&id);
        let (handle, span) = match &resource.ok_or(GuestError::UnknownResource(id))?.content {
            Content::HostBlob(blob) if blob.mapping.is_some() => {
                return Err(GuestError::AlreadyMapped(id));
            }
            Content::HostBlob(blob) if blob.mappable => (blob.handle, blob.span),
            _ => {
                return Err(GuestError::WrongKind {
                    resource: id,
                    wanted: "a mappable host blob",
                });
            }
        };
        let end = offset.checked_add(span).filter(|&end| end <= window);
        // The last blob that begins before our end is the only one that can reach into our range.
        let neighbour = self.window.range(..offset.saturating_add(span)).next_back();
        let taken = neighbour.is_some_and(|(&at, &len)| at + len > offset);
        if end.is_none() || taken || !offset.is_multiple_of(PAGE) {
            return Err(GuestError::Range {
                offset,
                len: span,
                window,
            });
        }
        let blob = self.renderer.ask("map_blob", |r| r.map_blob(handle))?;
        let caching: MapCaching = blob.caching;
        let token = MappingToken(self.next_token);
        self.next_token += 1;
        let placement = Placement {
            token,
            resource: id,
            offset,
            len: span,
            blob,
        };
        if let Err(error) = env.place(placement) {
            self.renderer.tell("unmap_blob", |r| r.unmap_blob(handle));
            return Err(error.into());
        }
        self.window.insert(offset, span);
        if let Some(blob) = self.host_blob(id) {
            blob.mapping = Some(Mapping {
                token,
                offset,
                leaving: false,
            });
        }
        Ok(Response::MapInfo(caching))
    }

    pub(super) fn unmap_blob(
        &mut self,
        id: u32,
        env: &mut dyn GpuEnv,
    ) -> Result<Outcome, GuestError> {
        if !self.resources.contains_key(&id) {
            return Err(GuestError::UnknownResource(id));
        }
        let token = self.start_unmap(id, env);
        token.map(Outcome::Suspend).ok_or(GuestError::NotMapped(id))
    }

    /// Takes a mapped blob out of the window. None if it is not mapped. Commands on a blob that is on its way out wait, so that this is called once for each mapping.
    pub(super) fn start_unmap(&mut self, id: u32, env: &mut dyn GpuEnv) -> Option<MappingToken> {
        let blob = self.host_blob(id)?;
        let (handle, span) = (blob.handle, blob.span);
        let mapping = blob.mapping.as_mut().filter(|m| !m.leaving)?;
        mapping.leaving = true;
        let token = mapping.token;
        let leaving = Leaving {
            handle,
            span,
            orphan: false,
        };
        self.leaving.insert(token, leaving);
        env.withdraw(token);
        Some(token)
    }

    /// The blob is finalized: its range is free, and it may be mapped again.
    pub(super) fn forget_mapping(&mut self, id: u32) {
        let mapping = self.host_blob(id).and_then(|blob| blob.mapping.take());
        if let Some(mapping) = mapping {
            self.window.remove(&mapping.offset);
        }
    }

    /// Whether a command that is executed now would be suspended.
    pub(super) fn suspends(&self, request: &Request) -> bool {
        let (Command::ResourceUnref { resource } | Command::ResourceUnmapBlob { resource }) =
            &request.command
        else {
            return false;
        };
        let content = self.resources.get(resource).map(|r| &r.content);
        matches!(content, Some(Content::HostBlob(blob)) if blob.mapping.is_some())
    }

    /// The part of the window that a command concerns.
    pub(super) fn range(&self, request: &Request) -> Option<Range<u64>> {
        let blob = |id: &u32| match &self.resources.get(id)?.content {
            Content::HostBlob(blob) => Some(blob),
            _ => None,
        };
        match &request.command {
            Command::ResourceMapBlob { resource, offset } => {
                // Behind a command that creates the blob, its size is the one that command says.
                let size = self.held.future_size(*resource);
                let size = size.or_else(|| blob(resource).map(|b| b.size))?;
                let span = size.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
                Some(*offset..offset.saturating_add(span))
            }
            Command::ResourceUnmapBlob { resource } | Command::ResourceUnref { resource } => {
                let blob = blob(resource)?;
                let offset = blob.mapping?.offset;
                Some(offset..offset.saturating_add(blob.span))
            }
            _ => None,
        }
    }

    /// Forgets all resources at a reset. Blobs in the window leave it; those that are held end when they are finalized.
    pub(super) fn abandon_resources(&mut self, env: &mut dyn GpuEnv) {
        let abandoned = std::mem::take(&mut self.resources);
        for resource in abandoned.into_values() {
            self.release_content(&resource.content);
            let Content::HostBlob(blob) = resource.content else {
                continue;
            };
            let (handle, span) = (blob.handle, blob.span);
            match blob.mapping {
                Some(mapping) if mapping.leaving => {}
                Some(mapping) => {
                    let leaving = Leaving {
                        handle,
                        span,
                        orphan: true,
                    };
                    self.leaving.insert(mapping.token, leaving);
                    env.withdraw(mapping.token);
                }
                None => {
                    self.renderer
                        .tell("destroy_blob", |r| r.destroy_blob(handle));
                    self.blob_bytes.release(span);
                }
            }
        }
    }

    fn host_blob(&mut self, id: u32) -> Option<&mut HostBlob> {
        match &mut self.resources.get_mut(&id)?.content {
            Content::HostBlob(blob) => Some(blob),
            _ => None,
        }
    }
}

fn value(field: &'static str, value: u64) -> GuestError {
    GuestError::Value { field, value }
}
