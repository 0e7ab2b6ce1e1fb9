//! Commands of a replay: sent through the rings, collected in whatever order they are done, and compared.

use std::time::{Duration, Instant};

use hw_virtio_gpu::wire::{Command, Request, Response};

use super::{LIMIT, Replay, blobs::Mapped};
use crate::demo::{failure::DemoError, patience::Patience};
use crate::guest::Reply;
use crate::trace::{CommandEvent, Queue, compare};

/// How long the driver waits for a reply before it goes on with the next command, as drivers do with commands whose reply they do not need.
const PATIENCE: Duration = Duration::from_millis(2);
/// How many commands may be waited for at once.
const AT_ONCE: usize = 24;

/// What is to come for a command.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) line: u64,
    command: CommandEvent,
    request: Option<Request>,
    /// The mapping that the command makes or ends.
    pub(super) mapping: Option<Mapped>,
}

impl Replay<'_> {
    /// Sends a recorded command as it was recorded, and waits a little for its reply.
    pub(super) fn command(&mut self, line: u64, command: CommandEvent) -> Result<(), DemoError> {
        while self.guest.room(command.queue) <= command.descriptors.len()
            || self.awaited.len() >= AT_ONCE
        {
            let left = self.awaited.len();
            self.await_that(line, |replay| replay.awaited.len() < left)?;
        }
        let request = Request::parse(&command.request).ok();
        let mapping = request
            .as_ref()
            .and_then(|request| self.announce(&request.command));
        if matches!(
            request.as_ref().map(|r| &r.command),
            Some(Command::SetScanout { resource: 0, .. })
        ) {
            self.keep_frames();
        }
        let submitted = self.guest.submit(
            command.queue,
            &command.request,
            &command.descriptors,
            command.indirect,
        );
        let number = self.step(line, submitted)?;
        self.tally.commands += 1;
        let maps = matches!(
            request.as_ref().map(|r| &r.command),
            Some(Command::ResourceMapBlob { .. })
        );
        let awaited = Awaited {
            line,
            command,
            request,
            mapping,
        };
        self.awaited.insert(number, awaited);
        let answered = move |replay: &Self| !replay.awaited.contains_key(&number);
        if maps {
            // What the driver does next depends on where the blob is.
            return self.await_that(line, answered);
        }
        // Where the reply takes longer it is collected later.
        self.collect(line, PATIENCE, answered)?;
        Ok(())
    }

    /// Sends a command of the driver's own, to be answered like that.
    pub(in crate::demo) fn send(
        &mut self,
        request: &Request,
        reply: &Response,
    ) -> Result<(), DemoError> {
        let bytes = request.encode();
        let response = reply.encode(&request.header);
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let command = CommandEvent {
            queue: Queue::Control,
            name: format!("{:?}", request.command.kind()),
            descriptors: vec![(length(&bytes), false), (length(&response), true)],
            request: bytes,
            response,
            indirect: true,
        };
        let line = self.tally.lines;
        self.command(line, command)
    }

    /// Collects replies until `enough`; false: that did not come within `limit`.
    fn collect(
        &mut self,
        line: u64,
        limit: Duration,
        enough: impl Fn(&Self) -> bool,
    ) -> Result<bool, DemoError> {
        let mut patience = Patience::new(limit);
        loop {
            self.step(line, self.guest.acknowledge())?;
            let reply = self.guest.poll();
            if let Some(reply) = self.step(line, reply)? {
                self.reply(line, &reply)?;
                continue;
            }
            if enough(self) {
                return Ok(true);
            }
            if !patience.wait() {
                return Ok(false);
            }
        }
    }

    /// Collects replies until `enough`, which has to come.
    fn await_that(&mut self, line: u64, enough: impl Fn(&Self) -> bool) -> Result<(), DemoError> {
        if self.collect(line, LIMIT, enough)? {
            return Ok(());
        }
        let broken = self.board.gpu.broken();
        let broken = broken.map_or_else(String::new, |why| {
            format!("; the device needs a reset: {why}")
        });
        let oldest = self.awaited.iter().min_by_key(|(number, _)| **number);
        let (line, name) = oldest.map_or((line, "the device"), |(_, a)| {
            (a.line, a.command.name.as_str())
        });
        Err(self.differs(
            line,
            format_args!("{name}: no reply within {LIMIT:?}{broken}"),
        ))
    }

    /// Collects all replies.
    pub(in crate::demo) fn drain(&mut self, line: u64) -> Result<(), DemoError> {
        if self.awaited.is_empty() {
            return Ok(());
        }
        self.await_that(line, |replay| replay.awaited.is_empty())
    }

    /// Collects replies until all but `left` commands have one, and then for some `time` more: no other may come.
    pub(in crate::demo) fn settle(&mut self, left: usize, time: Duration) -> Result<(), DemoError> {
        let line = self.tally.lines;
        self.await_that(line, |replay| replay.awaited.len() <= left)?;
        let start = Instant::now();
        self.await_that(line, |_| start.elapsed() >= time)?;
        if self.awaited.len() == left {
            return Ok(());
        }
        let now = self.awaited.len();
        Err(self.differs(
            line,
            format_args!(
                "{now} commands wait instead of {left}: a blob that is pinned was given back"
            ),
        ))
    }

    fn reply(&mut self, line: u64, reply: &Reply) -> Result<(), DemoError> {
        let Some(awaited) = self.awaited.remove(&reply.number) else {
            return Err(self.differs(line, "a command is answered twice"));
        };
        let name = &awaited.command.name;
        if reply.queue != awaited.command.queue {
            return Err(self.differs(
                awaited.line,
                format_args!("{name} is answered on the other queue"),
            ));
        }
        if let Err(mismatch) = compare(&awaited.command.response, &reply.bytes) {
            return Err(self.differs(awaited.line, format_args!("{name}: {mismatch}")));
        }
        self.tally.replies += 1;
        let earlier = |(number, a): (&u64, &Awaited)| {
            *number < reply.number && a.command.queue == reply.queue
        };
        let overtaken = self.awaited.iter().any(earlier);
        self.tally.overtaken += u64::from(overtaken);
        let Some(Request { command, .. }) = &awaited.request else {
            return Ok(());
        };
        let fine =
            Response::parse(&reply.bytes).is_ok_and(|(_, r)| !matches!(r, Response::Error(_)));
        match command {
            Command::ResourceCreate2d { .. } | Command::ResourceCreate3d(_) => {
                self.tally.created += u64::from(fine);
            }
            Command::ResourceCreateBlob(blob) => {
                self.tally.created += u64::from(fine);
                if !fine {
                    self.blobs.remove(&blob.resource);
                }
            }
            Command::ResourceMapBlob { resource, .. } => {
                return self.map_replied(awaited.line, *resource, awaited.mapping, fine);
            }
            Command::ResourceUnmapBlob { .. } if fine => {
                self.tally.unmapped += 1;
                self.tally.unmap_times.push(reply.took);
            }
            _ => {}
        }
        if let Some(mapped) = awaited.mapping {
            self.window.gone(mapped.name);
            if matches!(command, Command::ResourceUnref { .. }) && fine {
                self.tally.unmapped += 1;
                self.tally.unmap_times.push(reply.took);
            }
            if fine {
                self.check_hole(awaited.line, mapped)?;
            }
        }
        Ok(())
    }
}
