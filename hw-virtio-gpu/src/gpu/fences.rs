//! Answers, and the fences they may have to wait for.
//!
//! A fenced command is answered when its work is done. A guest takes a fence for all earlier ones of the same timeline, so a
//! reply never overtakes one that waits for the renderer there. It does overtake commands that are suspended: what those wait for
//! is not the renderer's work, and may take as long as a reader likes.

use super::{Completion, Disposition, GpuCore, GpuEnv, GuestError, QueueKind, held::Ticket};
use crate::{
    renderer::{Fence, FenceState, Generation, Timeline},
    wire::{Header, Response},
};

/// A reply that waits for its fence, or for an earlier fence of its timeline.
#[derive(Debug)]
pub(super) struct FencedReply {
    ticket: Ticket,
    response: Vec<u8>,
    fence: Fence,
    ready: bool,
}

impl GpuCore {
    /// Takes note that the work of a fence is done, and of all earlier ones of its timeline.
    pub fn fence_reached(&mut self, fence: Fence, env: &mut dyn GpuEnv) {
        if fence.generation != self.generation {
            return;
        }
        let of_timeline = |f: &FencedReply| f.fence.timeline == fence.timeline;
        for reply in self.fenced.iter_mut().filter(|f| of_timeline(f)) {
            reply.ready |= reply.fence.id <= fence.id;
        }
        // A guest takes a fence for all earlier ones of its timeline, so none overtakes another there.
        let mut blocked = false;
        let done = self.fenced.extract_if(.., |f| {
            blocked |= f.fence.timeline == fence.timeline && !f.ready;
            f.fence.timeline == fence.timeline && !blocked
        });
        for reply in done {
            complete(reply.ticket, reply.response, self.generation, env);
        }
    }

    /// Answers a command, or keeps the answer until its fence is reached.
    pub(super) fn answer(
        &mut self,
        ticket: Ticket,
        header: &Header,
        result: Result<Response, GuestError>,
        env: &mut dyn GpuEnv,
    ) -> Disposition {
        let failed = result.is_err();
        let response = result.unwrap_or_else(|error| {
            let (kind, queue) = (header.kind, ticket.queue);
            tracing::warn!(
                kind,
                ?queue,
                error = &error as &dyn std::error::Error,
                "command refused"
            );
            Response::Error(error.code())
        });
        let mut response = match ticket.queue {
            QueueKind::Control => response.encode(header),
            QueueKind::Cursor => Vec::new(),
        };
        response.truncate(ticket.capacity());
        if header.is_fenced() && ticket.queue == QueueKind::Control {
            let fence = self.fence(header);
            // A refused command did nothing that could still be going on.
            let ready = failed || self.fence_state(fence) == FenceState::Signaled;
            let behind = self
                .fenced
                .iter()
                .any(|f| f.fence.timeline == fence.timeline);
            // A refusal is never kept beyond the limit: whoever floods the device loses the order of fences, not the host's memory.
            let room = self.held_len() < self.config.limits.held_commands;
            if !ready || behind && room {
                let reply = FencedReply {
                    ticket,
                    response,
                    fence,
                    ready,
                };
                self.fenced.push(reply);
                return Disposition::Fenced;
            }
        }
        complete(ticket, response, self.generation, env);
        Disposition::Answered
    }

    fn fence(&self, header: &Header) -> Fence {
        let timeline = match header.ring() {
            Some(ring) => Timeline::Ring {
                context: header.ctx_id,
                ring,
            },
            None => Timeline::Device,
        };
        Fence {
            generation: self.generation,
            timeline,
            id: header.fence_id,
        }
    }

    /// Commands that are held for any reason.
    pub(super) fn held_len(&self) -> usize {
        self.held.len() + self.fenced.len()
    }

    /// The rings of a context end with it: what waits for their fences is answered.
    pub(super) fn end_fences_of(&mut self, gone: u32, env: &mut dyn GpuEnv) {
        let ended = self.fenced.extract_if(
            ..,
            |f| matches!(f.fence.timeline, Timeline::Ring { context, .. } if context == gone),
        );
        for reply in ended {
            complete(reply.ticket, reply.response, self.generation, env);
        }
    }

    fn fence_state(&mut self, fence: Fence) -> FenceState {
        let asked = self.renderer.ask("fence", |r| Ok(r.fence(fence)));
        asked.unwrap_or(FenceState::Signaled)
    }
}

fn complete(ticket: Ticket, response: Vec<u8>, generation: Generation, env: &mut dyn GpuEnv) {
    env.complete(Completion {
        queue: ticket.queue,
        head: ticket.head,
        generation,
        writable: ticket.writable,
        response,
    });
}
