//! Commands about scanouts, frames and cursors.

use super::{GpuCore, GpuEnv, GuestError, pixel_commands, whole};
use crate::{
    edid::edid,
    guest::{BackingError, GuestMemory},
    renderer::Guarded,
    resource::{Content, Resource},
    scanout::{
        CURSOR_BYTES, CURSOR_SIDE, CursorImage, Frame, MIN_SCANOUT_SIDE, Source, frame_bytes, index,
    },
    wire::{DisplayMode, Format, MAX_SCANOUTS, Rect, Response, SetScanoutBlob, UpdateCursor},
};

impl GpuCore {
    pub(super) fn display_info(&self) -> Response {
        let mut modes = Box::new([DisplayMode::default(); MAX_SCANOUTS]);
        for (mode, scanout) in modes.iter_mut().zip(&self.scanouts) {
            *mode = scanout.mode();
        }
        Response::DisplayInfo(modes)
    }

    pub(super) fn edid(&self, scanout: u32) -> Result<Response, GuestError> {
        let found = usize::try_from(scanout)
            .ok()
            .and_then(|i| self.scanouts.get(i));
        let found = found.ok_or(GuestError::Value {
            field: "scanout",
            value: u64::from(scanout),
        })?;
        Ok(Response::Edid(edid(found.preferred()).to_vec()))
    }

    pub(super) fn set_scanout(
        &mut self,
        scanout: u32,
        id: u32,
        rect: Rect,
        env: &mut dyn GpuEnv,
    ) -> Result<Response, GuestError> {
        let place = self.scanout_place(scanout)?;
        if id == 0 {
            self.turn_off(place, env);
            return Ok(Response::Ok);
        }
        let resource = self.resources.get(&id);
        let Content::TwoD(pixels) = &resource.ok_or(GuestError::UnknownResource(id))?.content
        else {
            return Err(pixel_commands::not_2d(id));
        };
        if pixels.backing.is_none() {
            return Err(GuestError::NoBacking(id));
        }
        check_shown(rect, pixels.width, pixels.height)?;
        let source = Source {
            resource: id,
            rect,
            stride: pixels.stride(),
            offset: 0,
        };
        let format = pixels.format;
        self.show(place, source, format, env)
    }

    pub(super) fn set_scanout_blob(
        &mut self,
        set: &SetScanoutBlob,
        env: &mut dyn GpuEnv,
    ) -> Result<Response, GuestError> {
        let place = self.scanout_place(set.scanout)?;
        let id = set.resource;
        if id == 0 {
            self.turn_off(place, env);
            return Ok(Response::Ok);
        }
        let resource = self.resources.get(&id);
        let size = match &resource.ok_or(GuestError::UnknownResource(id))?.content {
            Content::GuestBlob { size, .. } => *size,
            Content::HostBlob(blob) => blob.size,
            Content::TwoD(_) => {
                return Err(GuestError::WrongKind {
                    resource: id,
                    wanted: "a blob",
                });
            }
        };
        let format = pixel_commands::pixel_format(set.format)?;
        check_shown(set.rect, set.width, set.height)?;
        let (stride, offset) = (u64::from(set.stride), u64::from(set.offset));
        let row = u64::from(set.width) * u64::from(Format::BYTES);
        // The product fits 64 bits, the sum may not; the height is not 0 by now.
        let last = stride * u64::from(set.height - 1);
        let end = last.saturating_add(offset).saturating_add(row);
        if stride < row || i32::try_from(set.stride).is_err() || end > size {
            return Err(GuestError::Value {
                field: "stride",
                value: stride,
            });
        }
        let source = Source {
            resource: id,
            rect: set.rect,
            stride,
            offset,
        };
        self.show(place, source, format, env)
    }

    /// Sets a scanout to a picture that was checked. If the picture cannot be shown, the scanout is off.
    fn show(
        &mut self,
        place: usize,
        source: Source,
        format: Format,
        env: &mut dyn GpuEnv,
    ) -> Result<Response, GuestError> {
        let old = self.scanouts[place].shows.take().map(|(_, frame)| frame);
        let shown = self.frame_for(old, &source, format).and_then(|mut frame| {
            let filled = self.fill(&mut frame, &source, env);
            if filled.is_err() {
                self.pixel_bytes
                    .release(frame_bytes(frame.width(), frame.height()));
            }
            filled.map(|()| frame)
        });
        match shown {
            Ok(frame) => {
                env.scanout_changed(scanout_number(place), Some(&frame), whole(&frame));
                self.scanouts[place].shows = Some((source, frame));
                Ok(Response::Ok)
            }
            Err(error) => {
                env.scanout_changed(scanout_number(place), None, Rect::default());
                Err(error)
            }
        }
    }

    /// A frame for a source: the old one if it fits, otherwise a new one in its place in the budget.
    fn frame_for(
        &mut self,
        old: Option<Frame>,
        source: &Source,
        format: Format,
    ) -> Result<Frame, GuestError> {
        let (width, height) = (source.rect.width, source.rect.height);
        if let Some(frame) = old {
            if (frame.width(), frame.height(), frame.format()) == (width, height, format) {
                return Ok(frame);
            }
            self.pixel_bytes
                .release(frame_bytes(frame.width(), frame.height()));
        }
        let bytes = frame_bytes(width, height);
        self.pixel_bytes.charge(bytes)?;
        Frame::new(width, height, format).ok_or_else(|| {
            self.pixel_bytes.release(bytes);
            GuestError::HostMemory(bytes)
        })
    }

    /// Copies all of a source's picture into a frame of its size.
    fn fill(
        &mut self,
        frame: &mut Frame,
        source: &Source,
        memory: &dyn GuestMemory,
    ) -> Result<(), GuestError> {
        let id = source.resource;
        let resource = self.resources.get(&id);
        let resource = resource.ok_or(GuestError::UnknownResource(id))?;
        let first = source.byte(source.rect.x, source.rect.y);
        let renderer = &mut self.renderer;
        frame.refresh(whole(frame), first, source.stride, |at, into| {
            read(resource, renderer, memory, at, into)
        })
    }

    pub(super) fn flush(
        &mut self,
        id: u32,
        rect: Rect,
        env: &mut dyn GpuEnv,
    ) -> Result<Response, GuestError> {
        let resource = self.resources.get(&id);
        let resource = resource.ok_or(GuestError::UnknownResource(id))?;
        if let Content::TwoD(pixels) = &resource.content
            && !rect.is_inside(pixels.width, pixels.height)
        {
            return Err(GuestError::Rectangle);
        }
        let mut result = Ok(Response::Ok);
        for (place, scanout) in self.scanouts.iter_mut().enumerate() {
            let Some((source, frame)) = &mut scanout.shows else {
                continue;
            };
            let Some(part) = rect
                .intersection(&source.rect)
                .filter(|_| source.resource == id)
            else {
                continue;
            };
            let at = Rect {
                x: part.x - source.rect.x,
                y: part.y - source.rect.y,
                ..part
            };
            let renderer = &mut self.renderer;
            let first = source.byte(part.x, part.y);
            let refreshed = frame.refresh(at, first, source.stride, |at, into| {
                read(resource, renderer, env, at, into)
            });
            match refreshed {
                Ok(()) => env.scanout_changed(scanout_number(place), Some(frame), at),
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Turns a scanout off.
    pub(super) fn turn_off(&mut self, place: usize, env: &mut dyn GpuEnv) {
        if let Some((_, frame)) = self.scanouts[place].shows.take() {
            self.pixel_bytes
                .release(frame_bytes(frame.width(), frame.height()));
            env.scanout_changed(scanout_number(place), None, Rect::default());
        }
    }

    pub(super) fn update_cursor(
        &mut self,
        update: &UpdateCursor,
        env: &mut dyn GpuEnv,
    ) -> Result<Response, GuestError> {
        let place = self.scanout_place(update.position.scanout)?;
        if update.resource == 0 {
            self.hide_cursor(place, env);
            return self.move_cursor(update, env);
        }
        let id = update.resource;
        let resource = self.resources.get(&id);
        let resource = resource.ok_or(GuestError::UnknownResource(id))?;
        let format = match &resource.content {
            Content::TwoD(p) if (p.width, p.height) == (CURSOR_SIDE, CURSOR_SIDE) => p.format,
            Content::GuestBlob { size, .. } if *size >= CURSOR_BYTES as u64 => Format::B8G8R8A8,
            Content::HostBlob(blob) if blob.size >= CURSOR_BYTES as u64 => Format::B8G8R8A8,
            _ => {
                return Err(GuestError::WrongKind {
                    resource: id,
                    wanted: "a cursor of 64 by 64 pixels",
                });
            }
        };
        let mut pixels = vec![0; CURSOR_BYTES];
        read(resource, &mut self.renderer, env, 0, &mut pixels)?;
        if self.scanouts[place].cursor.image.is_none() {
            self.pixel_bytes.charge(CURSOR_BYTES as u64)?;
        }
        let cursor = &mut self.scanouts[place].cursor;
        cursor.resource = id;
        cursor.image = Some(CursorImage {
            pixels,
            format,
            hot_x: update.hot_x,
            hot_y: update.hot_y,
        });
        self.move_cursor(update, env)
    }

    pub(super) fn move_cursor(
        &mut self,
        update: &UpdateCursor,
        env: &mut dyn GpuEnv,
    ) -> Result<Response, GuestError> {
        let place = self.scanout_place(update.position.scanout)?;
        let cursor = &mut self.scanouts[place].cursor;
        (cursor.x, cursor.y) = (update.position.x, update.position.y);
        env.cursor_changed(update.position, cursor.image.as_ref());
        Ok(Response::Ok)
    }

    /// Takes a cursor's picture away.
    pub(super) fn hide_cursor(&mut self, place: usize, env: &mut dyn GpuEnv) {
        let cursor = &mut self.scanouts[place].cursor;
        cursor.resource = 0;
        if cursor.image.take().is_some() {
            self.pixel_bytes.release(CURSOR_BYTES as u64);
            let position = crate::wire::CursorPosition {
                scanout: scanout_number(place),
                x: cursor.x,
                y: cursor.y,
            };
            env.cursor_changed(position, None);
        }
    }

    fn scanout_place(&self, scanout: u32) -> Result<usize, GuestError> {
        let place = usize::try_from(scanout).ok();
        place
            .filter(|&place| place < self.scanouts.len())
            .ok_or(GuestError::UnknownScanout(scanout))
    }
}

/// Reads bytes of a resource as a scanout sees them.
fn read(
    resource: &Resource,
    renderer: &mut Guarded,
    memory: &dyn GuestMemory,
    at: u64,
    into: &mut [u8],
) -> Result<(), GuestError> {
    match &resource.content {
        Content::TwoD(pixels) => {
            let begin = index(at);
            let source = pixels.pixels.get(begin..begin.saturating_add(into.len()));
            into.copy_from_slice(source.ok_or(BackingError::OutOfRange {
                offset: at,
                len: into.len() as u64,
                total: pixels.pixels.len() as u64,
            })?);
        }
        Content::GuestBlob { backing, .. } => backing.read(memory, at, into)?,
        Content::HostBlob(blob) => {
            renderer.ask("read_blob", |r| r.read_blob(blob.handle, at, into))?;
        }
    }
    Ok(())
}

/// Whether a scanout can show `rect` of a picture of this size.
fn check_shown(rect: Rect, width: u32, height: u32) -> Result<(), GuestError> {
    let large = rect.width >= MIN_SCANOUT_SIDE && rect.height >= MIN_SCANOUT_SIDE;
    if large && rect.is_inside(width, height) {
        Ok(())
    } else {
        Err(GuestError::Rectangle)
    }
}

/// A scanout's number; there are at most 16.
fn scanout_number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
