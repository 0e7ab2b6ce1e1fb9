//! Commands about contexts and capsets.

use super::{GpuCore, GpuEnv, GuestError};
use crate::{
    context::Context,
    limits::LimitReached,
    resource::Content,
    wire::{Response, feature},
};

/// The part of a context's `context_init` that names its capset.
const CAPSET_MASK: u32 = 0xff;

impl GpuCore {
    /// An index that names no capset gives a reply of zeros, as in QEMU.
    pub(super) fn capset_info(&self, index: u32) -> Response {
        let capset = usize::try_from(index)
            .ok()
            .and_then(|i| self.capsets.get(i));
        capset.map_or(
            Response::CapsetInfo {
                id: 0,
                max_version: 0,
                max_size: 0,
            },
            |c| Response::CapsetInfo {
                id: c.id,
                max_version: c.max_version,
                max_size: u32::try_from(c.data.len()).unwrap_or(u32::MAX),
            },
        )
    }

    pub(super) fn capset(&self, id: u32, version: u32) -> Result<Response, GuestError> {
        let capset = self.capsets.iter().find(|c| c.id == id);
        let capset = capset.filter(|c| !c.data.is_empty());
        let capset = capset.ok_or(GuestError::Value {
            field: "capset_id",
            value: u64::from(id),
        })?;
        if version > capset.max_version {
            return Err(GuestError::Value {
                field: "capset_version",
                value: u64::from(version),
            });
        }
        Ok(Response::Capset(capset.data.clone()))
    }

    pub(super) fn create_context(
        &mut self,
        id: u32,
        init: u32,
        name: &[u8],
    ) -> Result<Response, GuestError> {
        if id == 0 || self.contexts.contains_key(&id) {
            return Err(GuestError::ContextId(id));
        }
        let used = self.contexts.len();
        let limit = self.config.limits.contexts;
        if used >= limit {
            return Err(GuestError::Limit(LimitReached {
                what: "contexts",
                asked: 1,
                used: used as u64,
                limit: limit as u64,
            }));
        }
        let negotiated = self.features & feature::CONTEXT_INIT != 0;
        let capset = if negotiated { init & CAPSET_MASK } else { 0 };
        if capset != 0 && !self.capsets.iter().any(|c| c.id == capset) {
            return Err(GuestError::Value {
                field: "context_init",
                value: u64::from(init),
            });
        }
        self.renderer
            .ask("create_context", |r| r.create_context(id, capset, name))?;
        let name = String::from_utf8_lossy(name).into_owned();
        tracing::debug!(id, capset, name, "context created");
        self.contexts.insert(id, Context::default());
        Ok(Response::Ok)
    }

    pub(super) fn destroy_context(
        &mut self,
        id: u32,
        env: &mut dyn GpuEnv,
    ) -> Result<Response, GuestError> {
        let context = self.contexts.remove(&id);
        let context = context.ok_or(GuestError::UnknownContext(id))?;
        self.attachments.release(context.resources.len() as u64);
        for resource in context.resources {
            if let Some(found) = self.resources.get_mut(&resource) {
                found.contexts.remove(&id);
            }
        }
        self.renderer
            .tell("destroy_context", |r| r.destroy_context(id));
        self.end_fences_of(id, env);
        Ok(Response::Ok)
    }

    pub(super) fn attach_resource(
        &mut self,
        context: u32,
        resource: u32,
    ) -> Result<Response, GuestError> {
        let found = self.contexts.get_mut(&context);
        let found_context = found.ok_or(GuestError::UnknownContext(context))?;
        let found = self.resources.get_mut(&resource);
        let found_resource = found.ok_or(GuestError::UnknownResource(resource))?;
        if found_context.resources.contains(&resource) {
            return Ok(Response::Ok);
        }
        self.attachments.charge(1)?;
        if let Content::HostBlob(blob) = &found_resource.content {
            let attached = self
                .renderer
                .ask("attach", |r| r.attach(context, blob.handle));
            if let Err(error) = attached {
                self.attachments.release(1);
                return Err(error.into());
            }
        }
        found_context.resources.insert(resource);
        found_resource.contexts.insert(context);
        Ok(Response::Ok)
    }

    /// Detaching what is not attached is OK.
    pub(super) fn detach_resource(
        &mut self,
        context: u32,
        resource: u32,
    ) -> Result<Response, GuestError> {
        let found = self.contexts.get_mut(&context);
        let found_context = found.ok_or(GuestError::UnknownContext(context))?;
        let found = self.resources.get_mut(&resource);
        let found_resource = found.ok_or(GuestError::UnknownResource(resource))?;
        if found_context.resources.remove(&resource) {
            found_resource.contexts.remove(&context);
            self.attachments.release(1);
            if let Content::HostBlob(blob) = &found_resource.content {
                self.renderer
                    .tell("detach", |r| r.detach(context, blob.handle));
            }
        }
        Ok(Response::Ok)
    }

    pub(super) fn submit_3d(
        &mut self,
        context: u32,
        commands: &[u8],
    ) -> Result<Response, GuestError> {
        if !self.contexts.contains_key(&context) {
            return Err(GuestError::UnknownContext(context));
        }
        self.renderer
            .ask("submit", |r| r.submit(context, commands))?;
        Ok(Response::Ok)
    }
}
