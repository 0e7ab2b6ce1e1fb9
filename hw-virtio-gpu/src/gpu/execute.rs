//! From a command to the code that does it: features, queues, and the part of a command that is left after a suspension.

use super::{GpuCore, GpuEnv, GuestError, Outcome, QueueKind};
use crate::wire::{Command, CommandKind, Request, Response, feature};

/// The feature a command needs; 0 for none.
fn needed_feature(kind: CommandKind) -> u64 {
    match kind {
        CommandKind::GetDisplayInfo
        | CommandKind::ResourceCreate2d
        | CommandKind::ResourceUnref
        | CommandKind::SetScanout
        | CommandKind::ResourceFlush
        | CommandKind::TransferToHost2d
        | CommandKind::ResourceAttachBacking
        | CommandKind::ResourceDetachBacking
        | CommandKind::UpdateCursor
        | CommandKind::MoveCursor => 0,
        CommandKind::GetEdid => feature::EDID,
        CommandKind::ResourceAssignUuid => feature::RESOURCE_UUID,
        CommandKind::ResourceCreateBlob
        | CommandKind::SetScanoutBlob
        | CommandKind::ResourceMapBlob
        | CommandKind::ResourceUnmapBlob => feature::RESOURCE_BLOB,
        CommandKind::GetCapsetInfo
        | CommandKind::GetCapset
        | CommandKind::CtxCreate
        | CommandKind::CtxDestroy
        | CommandKind::CtxAttachResource
        | CommandKind::CtxDetachResource
        | CommandKind::ResourceCreate3d
        | CommandKind::TransferToHost3d
        | CommandKind::TransferFromHost3d
        | CommandKind::Submit3d => feature::VIRGL,
    }
}

impl GpuCore {
    /// Checks what does not depend on any state: the queue and the negotiated features.
    pub(super) fn check(&self, request: &Request, queue: QueueKind) -> Result<(), GuestError> {
        let kind = request.command.kind();
        let cursor = matches!(kind, CommandKind::UpdateCursor | CommandKind::MoveCursor);
        if cursor != (queue == QueueKind::Cursor) {
            return Err(GuestError::WrongQueue(kind));
        }
        let needed = needed_feature(kind);
        if self.features & needed == needed {
            Ok(())
        } else {
            Err(GuestError::Feature(kind))
        }
    }

    /// Executes a command whose turn it is.
    pub(super) fn execute(
        &mut self,
        request: &Request,
        env: &mut dyn GpuEnv,
    ) -> Result<Outcome, GuestError> {
        let header = &request.header;
        let reply = match &request.command {
            Command::ResourceUnref { resource } => return self.unref(*resource, env),
            Command::ResourceUnmapBlob { resource } => return self.unmap_blob(*resource, env),
            Command::GetDisplayInfo => self.display_info(),
            Command::GetEdid { scanout } => self.edid(*scanout)?,
            Command::GetCapsetInfo { index } => self.capset_info(*index),
            Command::GetCapset { id, version } => self.capset(*id, *version)?,
            Command::ResourceCreate2d {
                resource,
                format,
                width,
                height,
            } => self.create_2d(*resource, *format, *width, *height)?,
            Command::ResourceAttachBacking { resource, entries } => {
                self.attach_backing(*resource, entries, env)?
            }
            Command::ResourceDetachBacking { resource } => self.detach_backing(*resource)?,
            Command::TransferToHost2d {
                rect,
                offset,
                resource,
            } => self.transfer_to_host(*resource, *rect, *offset, env)?,
            Command::SetScanout {
                rect,
                scanout,
                resource,
            } => self.set_scanout(*scanout, *resource, *rect, env)?,
            Command::SetScanoutBlob(set) => self.set_scanout_blob(set, env)?,
            Command::ResourceFlush { rect, resource } => self.flush(*resource, *rect, env)?,
            Command::ResourceAssignUuid { resource } => self.assign_uuid(*resource)?,
            Command::ResourceCreateBlob(blob) => self.create_blob(header.ctx_id, blob, env)?,
            Command::ResourceMapBlob { resource, offset } => {
                self.map_blob(*resource, *offset, env)?
            }
            Command::CtxCreate { init, name } => self.create_context(header.ctx_id, *init, name)?,
            Command::CtxDestroy => self.destroy_context(header.ctx_id, env)?,
            Command::CtxAttachResource { resource } => {
                self.attach_resource(header.ctx_id, *resource)?
            }
            Command::CtxDetachResource { resource } => {
                self.detach_resource(header.ctx_id, *resource)?
            }
            Command::Submit3d { commands } => self.submit_3d(header.ctx_id, commands)?,
            Command::ResourceCreate3d(_)
            | Command::TransferToHost3d(_)
            | Command::TransferFromHost3d(_) => {
                return Err(GuestError::NotOffered(request.command.kind()));
            }
            Command::UpdateCursor(update) => self.update_cursor(update, env)?,
            Command::MoveCursor(update) => self.move_cursor(update, env)?,
        };
        Ok(Outcome::Reply(reply))
    }

    /// What is left of a suspended command once its blob is finalized and no longer mapped.
    pub(super) fn resume(
        &mut self,
        request: &Request,
        env: &mut dyn GpuEnv,
    ) -> Result<Response, GuestError> {
        if let Command::ResourceUnref { resource } = &request.command {
            self.remove_resource(*resource, env)?;
        }
        Ok(Response::Ok)
    }
}
