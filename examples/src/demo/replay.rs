//! Replays one trace: each event as the guest's driver, each reply compared with the recorded one.

mod blobs;
mod commands;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use hw_virtio_gpu::{edid::DisplaySize, scanout::Frame};

use super::{board::Board, failure::DemoError, stage::Stage, tally::Tally, window::Window};
use crate::guest::{CONFIG_CHANGED, Guest, GuestError};
use crate::trace::{Event, Header, Recorded, TraceReader};
use blobs::Blob;
use commands::Awaited;

/// How long a reply may take.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// A replay under way.
pub(super) struct Replay<'a> {
    board: &'a Board,
    window: &'a Window,
    pub(super) guest: Guest,
    header: Header,
    file: PathBuf,
    awaited: HashMap<u64, Awaited>,
    blobs: HashMap<u32, Blob>,
    names: u64,
    pub(super) tally: Tally,
    frames: Vec<Option<Frame>>,
    keep_frames: bool,
}

impl<'a> Replay<'a> {
    pub(super) fn new(
        board: &'a Board,
        window: &'a Window,
        header: &Header,
        file: &Path,
        keep_frames: bool,
    ) -> Self {
        let places = board.places;
        let guest = Guest::new(
            &board.memory,
            places.gpu,
            places.driver,
            header.queues,
            &board.line,
        );
        Self {
            board,
            window,
            guest,
            header: header.clone(),
            file: file.to_owned(),
            awaited: HashMap::new(),
            blobs: HashMap::new(),
            names: 0,
            tally: Tally::default(),
            frames: (0..header.scanouts).map(|_| None).collect(),
            keep_frames,
        }
    }

    fn place(&self, line: u64) -> String {
        format!("{}:{line}", self.file.display())
    }

    fn differs(&self, line: u64, what: impl std::fmt::Display) -> DemoError {
        DemoError::differs(self.place(line), what)
    }

    /// Runs a step of the driver's on behalf of a line.
    fn step<T>(&self, line: u64, done: Result<T, GuestError>) -> Result<T, DemoError> {
        done.map_err(|source| DemoError::Failed {
            step: self.place(line),
            source: Box::new(source),
        })
    }

    /// What the device says of itself before the driver does anything.
    pub(super) fn probe(&self) -> Result<(), DemoError> {
        self.step(1, self.guest.probe())?;
        let offered = self.step(1, self.guest.features())?;
        let missing = self.header.features_accepted & !offered;
        if missing != 0 {
            return Err(self.differs(
                1,
                format_args!("the device does not offer features {missing:#x}"),
            ));
        }
        let own = |features: u64| features & 0x00ff_ffff;
        if own(offered) != own(self.header.features_offered) {
            let what = format!(
                "the device offers {offered:#x} instead of {:#x}",
                self.header.features_offered
            );
            return Err(self.differs(1, what));
        }
        let window = self.step(1, self.guest.window())?;
        let recorded = (self.header.window_base, self.header.window_size);
        if self.header.window_size > 0 && window != recorded {
            return Err(self.differs(
                1,
                format_args!("the window is {window:#x?} instead of {recorded:#x?}"),
            ));
        }
        Ok(())
    }

    /// Replays all events, and collects all replies.
    pub(super) fn run(
        &mut self,
        trace: TraceReader,
        stage: &mut Stage<'_>,
    ) -> Result<(), DemoError> {
        for recorded in trace {
            let recorded = recorded.map_err(|source| DemoError::Failed {
                step: "reading the trace".to_owned(),
                source: Box::new(source),
            })?;
            self.tally.lines = recorded.line;
            let line = recorded.line;
            self.event(recorded)?;
            self.check_readers(line)?;
            stage.progress(|| {
                let t = &self.tally;
                format!(
                    "{} line {line}: {} commands, {} mapped, {} unmapped",
                    self.header.workload, t.commands, t.mapped, t.unmapped
                )
            });
        }
        Ok(())
    }

    fn check_readers(&self, line: u64) -> Result<(), DemoError> {
        let wrong = self.window.found.wrong.lock();
        match wrong.unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(text) => Err(self.differs(line, text)),
            None => Ok(()),
        }
    }

    fn event(&mut self, recorded: Recorded) -> Result<(), DemoError> {
        let line = recorded.line;
        match recorded.event {
            Event::Status {
                value,
                features_accepted,
                resources_live,
                blobs_mapped,
            } => {
                self.drain(line)?;
                self.check_counts(line, resources_live, blobs_mapped)?;
                self.status(line, value, features_accepted)
            }
            Event::ConfigRead { offset, data } => {
                let read = self.step(line, self.guest.read_config(offset, data.len()))?;
                if read == data {
                    return Ok(());
                }
                Err(self.differs(
                    line,
                    format_args!(
                        "the config space at {offset} reads {read:02x?} instead of {data:02x?}"
                    ),
                ))
            }
            Event::ConfigWrite { offset, data } => {
                self.step(line, self.guest.write_config(offset, &data))
            }
            Event::Display { events_read, size } => self.display(line, events_read, size),
            Event::Command(command) => self.command(line, command),
            Event::GuestRam(page) => {
                // Commands before it may read it as it was.
                self.drain(line)?;
                self.tally.pages += 1;
                self.step(line, self.guest.fill(page.gpa, &page.bytes))
            }
            Event::End {
                resources_live,
                blobs_mapped,
                ..
            } => {
                self.drain(line)?;
                self.keep_frames();
                self.check_counts(line, resources_live, blobs_mapped)
            }
        }
    }

    /// Compares the device's own numbers with the recorded ones; nothing is with the device.
    fn check_counts(&self, line: u64, resources: u64, mapped: u64) -> Result<(), DemoError> {
        let gpu = &self.board.gpu;
        let counts = gpu.counts();
        let now = (counts.resources as u64, counts.mapped_blobs as u64);
        if now == (resources, mapped) {
            return Ok(());
        }
        let what = format!(
            "the device has {} resources, {} of them mapped, instead of {resources} and {mapped}",
            now.0, now.1
        );
        Err(self.differs(line, what))
    }

    /// Writes the status; 0 is a reset, from which on there is nothing in the window.
    pub(super) fn status(
        &mut self,
        line: u64,
        value: u8,
        features: Option<u64>,
    ) -> Result<(), DemoError> {
        let reset = value == 0;
        if reset {
            self.keep_frames();
            self.window.all_uncertain();
        }
        let lost = self.guest.set_status(value, features);
        let lost = self.step(line, lost)?;
        if !reset {
            return Ok(());
        }
        self.tally.resets += 1;
        self.window.empty();
        self.lose(line, &lost)
    }

    /// Takes note of commands that get no reply any more, and of all that the device forgot.
    fn lose(&mut self, line: u64, lost: &[u64]) -> Result<(), DemoError> {
        for number in lost {
            let Some(awaited) = self.awaited.remove(number) else {
                return Err(self.differs(line, "a command is dropped that was answered"));
            };
            self.tally.dropped += 1;
            self.tally.taken_out += u64::from(awaited.mapping.is_some());
        }
        let mapped = self
            .blobs
            .drain()
            .filter(|(_, blob)| blob.mapped.is_some())
            .count();
        self.tally.taken_out += mapped as u64;
        Ok(())
    }

    /// Unplugs the device; whatever was with it is dropped, and nothing of it can be reached.
    pub(super) fn unplug(&mut self) -> Result<(), DemoError> {
        let line = self.tally.lines;
        self.keep_frames();
        self.window.all_uncertain();
        self.board.unplug_gpu()?;
        self.window.empty();
        if self.guest.probe().is_ok() {
            return Err(self.differs(line, "the registers of an unplugged device can be read"));
        }
        let lost: Vec<u64> = self.awaited.keys().copied().collect();
        self.lose(line, &lost)
    }

    /// Compares what the device says it did with what came of it.
    pub(super) fn check_stats(&self) -> Result<(), DemoError> {
        let stats = self.board.gpu.stats();
        let device = (
            stats.commands,
            stats.completed_commands,
            stats.dropped_commands,
        );
        let driver = (self.tally.commands, self.tally.replies, self.tally.dropped);
        if device == driver && driver.0 == driver.1 + driver.2 {
            return Ok(());
        }
        let what = format!(
            "commands, replies and drops: {device:?} says the device, {driver:?} the driver"
        );
        Err(self.differs(self.tally.lines, what))
    }

    fn display(&mut self, line: u64, events: u32, size: (u32, u32)) -> Result<(), DemoError> {
        let gpu = &self.board.gpu;
        let size = match size {
            (0, 0) => None,
            (w, h) => Some(DisplaySize::new(w, h).map_err(|error| self.differs(line, error))?),
        };
        self.step(line, self.guest.acknowledge())?;
        let set = |size| {
            gpu.set_display(0, size)
                .map_err(|error| self.differs(line, error))
        };
        if !set(size)? {
            // The same size again is an event, too: unplugged and plugged.
            set(if size.is_some() {
                None
            } else {
                Some(DisplaySize::default())
            })?;
            set(size)?;
        }
        let reasons = self.step(line, self.guest.acknowledge())?;
        if reasons & CONFIG_CHANGED == 0 {
            return Err(self.differs(line, "no interrupt says that the configuration changed"));
        }
        let read = self.step(line, self.guest.read_config(0, 4))?;
        if read != events.to_le_bytes() {
            return Err(self.differs(
                line,
                format_args!("events_read is {read:02x?} instead of {events:#x}"),
            ));
        }
        Ok(())
    }

    fn keep_frames(&mut self) {
        if !self.keep_frames {
            return;
        }
        for (scanout, kept) in (0..).zip(&mut self.frames) {
            if let Some(frame) = self.board.gpu.frame(scanout) {
                *kept = Some(frame);
            }
        }
    }

    /// What each scanout showed last.
    pub(super) fn frames(&self) -> &[Option<Frame>] {
        &self.frames
    }
}
