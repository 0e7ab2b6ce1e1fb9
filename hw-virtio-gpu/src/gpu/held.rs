//! Commands that cannot be answered yet, and which later commands have to wait for them.
//!
//! Each command has a *footprint*: the resource, context, scanout and window range it concerns. A command waits if its
//! footprint meets that of a command held before it, suspended or waiting; all others go on. So commands about one thing keep
//! their order, and commands about different things do not delay each other.

use std::ops::Range;

use super::env::{MappingToken, QueueKind, QueuedCommand};
use crate::wire::{Command, MemEntry, Request};

/// What a command concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    pub(crate) resource: Option<u32>,
    pub(crate) context: Option<u32>,
    pub(crate) scanout: Option<u32>,
    pub(crate) cursor: Option<u32>,
    /// In the window.
    pub(crate) range: Option<Range<u64>>,
}

impl Footprint {
    /// What a request concerns as far as the request says; the range is the caller's to add.
    pub(crate) fn of(request: &Request) -> Self {
        let id = |id: u32| (id != 0).then_some(id);
        let context = id(request.header.ctx_id);
        let none = Self::default();
        match &request.command {
            Command::GetDisplayInfo
            | Command::GetCapsetInfo { .. }
            | Command::GetCapset { .. }
            | Command::GetEdid { .. } => none,
            Command::ResourceCreate2d { resource, .. }
            | Command::ResourceUnref { resource }
            | Command::ResourceFlush { resource, .. }
            | Command::TransferToHost2d { resource, .. }
            | Command::ResourceAttachBacking { resource, .. }
            | Command::ResourceDetachBacking { resource }
            | Command::ResourceAssignUuid { resource }
            | Command::ResourceMapBlob { resource, .. }
            | Command::ResourceUnmapBlob { resource } => Self {
                resource: id(*resource),
                ..none
            },
            Command::SetScanout {
                scanout, resource, ..
            } => Self {
                resource: id(*resource),
                scanout: Some(*scanout),
                ..none
            },
            Command::SetScanoutBlob(set) => Self {
                resource: id(set.resource),
                scanout: Some(set.scanout),
                ..none
            },
            Command::ResourceCreateBlob(blob) => Self {
                resource: id(blob.resource),
                context,
                ..none
            },
            Command::ResourceCreate3d(created) => Self {
                resource: id(created.resource),
                context,
                ..none
            },
            Command::TransferToHost3d(t) | Command::TransferFromHost3d(t) => Self {
                resource: id(t.resource),
                context,
                ..none
            },
            Command::CtxAttachResource { resource } | Command::CtxDetachResource { resource } => {
                Self {
                    resource: id(*resource),
                    context,
                    ..none
                }
            }
            Command::CtxCreate { .. } | Command::CtxDestroy | Command::Submit3d { .. } => {
                Self { context, ..none }
            }
            Command::UpdateCursor(c) => Self {
                resource: id(c.resource),
                cursor: Some(c.position.scanout),
                ..none
            },
            Command::MoveCursor(c) => Self {
                cursor: Some(c.position.scanout),
                ..none
            },
        }
    }

    /// Whether two commands concern the same thing.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        fn same(a: Option<u32>, b: Option<u32>) -> bool {
            a.is_some() && a == b
        }
        let ranges = match (&self.range, &other.range) {
            (Some(a), Some(b)) => a.start < b.end && b.start < a.end,
            _ => false,
        };
        ranges
            || same(self.resource, other.resource)
            || same(self.context, other.context)
            || same(self.scanout, other.scanout)
            || same(self.cursor, other.cursor)
    }
}

/// What it takes to answer a command.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) queue: QueueKind,
    pub(crate) head: u16,
    pub(crate) writable: Vec<MemEntry>,
}

impl Ticket {
    pub(crate) fn of(command: &mut QueuedCommand) -> Self {
        Self {
            queue: command.queue,
            head: command.head,
            writable: std::mem::take(&mut command.writable),
        }
    }

    /// Bytes a reply may have.
    pub(crate) fn capacity(&self) -> usize {
        self.writable
            .iter()
            .fold(0, |sum: usize, w| sum.saturating_add(w.len as usize))
    }
}

/// Why a command is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// For a command before it.
    Turn,
    /// For the finalization of a blob that it took out of the window.
    Finalization(MappingToken),
}

/// A command that is held.
#[derive(Debug)]
pub(crate) struct HeldCommand {
    pub(crate) ticket: Ticket,
    pub(crate) request: Request,
    /// What it counts against [`Limits::held_bytes`](crate::limits::Limits::held_bytes).
    pub(crate) bytes: u64,
    pub(crate) footprint: Footprint,
    pub(crate) wait: Wait,
}

/// The held commands, oldest first.
#[derive(Debug, Default)]
pub(crate) struct HeldCommands(Vec<HeldCommand>);

impl HeldCommands {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn suspended(&self) -> usize {
        let waits = |h: &&HeldCommand| matches!(h.wait, Wait::Finalization(_));
        self.0.iter().filter(waits).count()
    }

    pub(crate) fn push(&mut self, held: HeldCommand) {
        self.0.push(held);
    }

    pub(crate) fn insert(&mut self, at: usize, held: HeldCommand) {
        self.0.insert(at, held);
    }

    pub(crate) fn clear(&mut self) {
        self.0 = Vec::new();
    }

    /// Whether a command with this footprint has to wait.
    pub(crate) fn blocks(&self, footprint: &Footprint) -> bool {
        self.0.iter().any(|h| h.footprint.meets(footprint))
    }

    /// Takes out the first command from place `from` on whose turn it is, and says which place it had.
    pub(crate) fn take_ready(&mut self, from: usize) -> Option<(usize, HeldCommand)> {
        let index = (from..self.0.len()).find(|&i| {
            let (before, rest) = self.0.split_at(i);
            rest[0].wait == Wait::Turn
                && !before.iter().any(|h| h.footprint.meets(&rest[0].footprint))
        })?;
        Some((index, self.0.remove(index)))
    }

    /// Takes out the command that waits for this finalization.
    pub(crate) fn take_finalized(&mut self, token: MappingToken) -> Option<HeldCommand> {
        let index = self
            .0
            .iter()
            .position(|h| h.wait == Wait::Finalization(token))?;
        Some(self.0.remove(index))
    }

    /// Where the resource would be mapped, and the size it would have, once the held commands about it are done: the last one
    /// that says so.
    pub(crate) fn future_size(&self, resource: u32) -> Option<u64> {
        self.0.iter().rev().find_map(|h| match &h.request.command {
            Command::ResourceCreateBlob(c) if c.resource == resource => Some(c.size),
            _ => None,
        })
    }
}
