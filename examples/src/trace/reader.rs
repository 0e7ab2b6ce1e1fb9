//! Reads a trace file, line by line, and accepts nothing that is not in the format.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use serde_json::{Map, Value};
use thiserror::Error;

use super::event::{
    CommandEvent, Event, GuestPage, Header, PAGE_BYTES, Queue, Recorded, Transport,
};

/// Longest line that is read, in bytes. The longest request a device takes is far shorter.
const LINE_BYTES: u64 = 16 << 20;

/// Why a file is not a trace.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TraceError {
    /// It cannot be read.
    #[error("{}: cannot be read", file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be read further, or decompressed.
    #[error("{}:{line}: cannot be read", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The line.
        line: u64,
        /// What the system or the decompressor said.
        source: io::Error,
    },
    /// A line is not JSON.
    #[error("{}:{line}: not JSON", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// The line.
        line: u64,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A line is not in the format.
    #[error("{}:{line}: {problem}", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// The line.
        line: u64,
        /// What is wrong.
        problem: String,
    },
}

/// A trace file that is being read: an iterator over its events, in order, the header apart. After an error it ends.
///
/// ```no_run
/// use holdfast_examples::trace::{Event, TraceReader};
///
/// let reader = TraceReader::open("linux-6.1.192-mmio-reset.jsonl.gz".as_ref())?;
/// println!("{}", reader.header().kernel);
/// for recorded in reader {
///     if let Event::Command(command) = recorded?.event {
///         println!("{} {} bytes", command.name, command.request.len());
///     }
/// }
/// # Ok::<(), holdfast_examples::trace::TraceError>(())
/// ```
pub struct TraceReader {
    lines: Lines,
    header: Header,
    last_us: u64,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Open,
    /// The `end` line was read.
    Ended,
    /// Nothing more is to come.
    Done,
}

impl std::fmt::Debug for TraceReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TraceReader")
            .field("file", &self.lines.file)
            .field("line", &self.lines.line)
            .finish_non_exhaustive()
    }
}

struct Lines {
    file: PathBuf,
    line: u64,
    input: Box<dyn BufRead + Send>,
}

impl Lines {
    /// The next line as an object; none at the end.
    fn next(&mut self) -> Result<Option<Fields>, TraceError> {
        self.line += 1;
        let mut text = Vec::new();
        let read = self
            .input
            .by_ref()
            .take(LINE_BYTES)
            .read_until(b'\n', &mut text);
        let (file, line) = (self.file.clone(), self.line);
        match read {
            Err(source) => return Err(TraceError::Read { file, line, source }),
            Ok(0) => return Ok(None),
            Ok(n) if n as u64 == LINE_BYTES => return Err(self.wrong("the line is too long")),
            Ok(_) => {}
        }
        match serde_json::from_slice(&text) {
            Ok(Value::Object(fields)) => Ok(Some(Fields(fields))),
            Ok(_) => Err(self.wrong("not an object")),
            Err(source) => Err(TraceError::Json { file, line, source }),
        }
    }

    fn wrong(&self, problem: impl Into<String>) -> TraceError {
        TraceError::Format {
            file: self.file.clone(),
            line: self.line,
            problem: problem.into(),
        }
    }
}

impl TraceReader {
    /// Opens a trace file and reads its header.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        let file = File::open(path).map_err(|source| TraceError::Open {
            file: path.to_owned(),
            source,
        })?;
        Self::new(path, MultiGzDecoder::new(BufReader::new(file)))
    }

    /// Reads a trace from decompressed text; `name` stands for it in errors.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn new(name: &Path, text: impl Read + Send + 'static) -> Result<Self, TraceError> {
        let mut lines = Lines {
            file: name.to_owned(),
            line: 0,
            input: Box::new(BufReader::with_capacity(1 << 16, text)),
        };
        let first = lines.next()?;
        let fields = first.ok_or_else(|| lines.wrong("the file is empty"))?;
        let header = header(&fields).map_err(|problem| lines.wrong(problem))?;
        Ok(Self {
            lines,
            header,
            last_us: 0,
            state: State::Open,
        })
    }

    /// What was recorded.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.lines.file
    }

    /// The next event, or none after the `end` line.
    fn read(&mut self) -> Result<Option<Recorded>, TraceError> {
        let next = self.lines.next()?;
        match (&self.state, next) {
            (State::Ended, None) => Ok(None),
            (State::Ended, Some(_)) => Err(self.lines.wrong("a line behind the end line")),
            (_, None) => Err(self.lines.wrong("the file ends without an end line")),
            (_, Some(fields)) => {
                let recorded = self.recorded(&fields);
                recorded
                    .map(Some)
                    .map_err(|problem| self.lines.wrong(problem))
            }
        }
    }

    fn recorded(&mut self, fields: &Fields) -> Result<Recorded, String> {
        let event = event(fields)?;
        let timed = !matches!(event, Event::GuestRam(_) | Event::End { .. });
        let us = if timed {
            Some(fields.number("us")?)
        } else {
            None
        };
        if let Some(us) = us {
            if us < self.last_us {
                return Err(format!("time goes back from {} to {us}", self.last_us));
            }
            self.last_us = us;
        }
        if let Event::GuestRam(page) = &event
            && page.gpa + PAGE_BYTES as u64 > self.header.ram_bytes
        {
            return Err(format!("page {:#x} lies outside RAM", page.gpa));
        }
        if matches!(event, Event::End { .. }) {
            self.state = State::Ended;
        }
        let line = self.lines.line;
        Ok(Recorded { line, us, event })
    }
}

impl Iterator for TraceReader {
    type Item = Result<Recorded, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Done {
            return None;
        }
        let read = self.read();
        if !matches!(read, Ok(Some(_))) {
            self.state = State::Done;
        }
        read.transpose()
    }
}

fn header(fields: &Fields) -> Result<Header, String> {
    if fields.text("type")? != "header" {
        return Err("the first line is not a header".to_owned());
    }
    let format = fields.number("format")?;
    if format != 1 {
        return Err(format!("format {format} is not known, only 1 is"));
    }
    let config = match fields.get("config")? {
        Value::Object(config) => Fields(config.clone()),
        _ => return Err("config is not an object".to_owned()),
    };
    let queues = match fields.get("queues")?.as_array().map(Vec::as_slice) {
        Some([control, cursor]) => [queue_size(control)?, queue_size(cursor)?],
        _ => return Err("queues is not a list of two".to_owned()),
    };
    let ram_mib = fields.number("ram_mib")?;
    let ram_bytes = ram_mib.checked_mul(1 << 20);
    let header = Header {
        kernel: fields.text("kernel")?.to_owned(),
        transport: match fields.text("transport")? {
            "mmio" => Transport::Mmio,
            "pci" => Transport::Pci,
            other => return Err(format!("transport {other:?} is not known")),
        },
        ram_bytes: ram_bytes.ok_or_else(|| format!("{ram_mib} MiB of RAM"))?,
        features_offered: fields.hex_number("features_offered")?,
        features_accepted: fields.hex_number("features_accepted")?,
        window_base: fields.hex_number("window_base")?,
        window_size: fields.hex_number("window_size")?,
        queues,
        scanouts: config.number32("num_scanouts")?,
        capsets: config.number32("num_capsets")?,
        scanout0_enabled: fields.flag("scanout0_enabled")?,
        workload: fields.text("workload_name")?.to_owned(),
    };
    if header.features_accepted & !header.features_offered != 0 {
        return Err("features were accepted that were not offered".to_owned());
    }
    Ok(header)
}

fn queue_size(value: &Value) -> Result<u16, String> {
    let size = value.as_u64().and_then(|size| u16::try_from(size).ok());
    let size = size.filter(|size| size.is_power_of_two() && *size <= 0x8000);
    size.ok_or_else(|| format!("queue size {value} is not a power of two up to 32768"))
}

fn event(fields: &Fields) -> Result<Event, String> {
    match fields.text("type")? {
        "status" => {
            let value = fields.number("value")?;
            let features = fields.0.contains_key("features_accepted");
            Ok(Event::Status {
                value: u8::try_from(value).map_err(|_| format!("status {value:#x}"))?,
                features_accepted: features
                    .then(|| fields.hex_number("features_accepted"))
                    .transpose()?,
                resources_live: fields.number("resources_live")?,
                blobs_mapped: fields.number("blobs_mapped")?,
            })
        }
        "config_read" => Ok(Event::ConfigRead {
            offset: fields.number("offset")?,
            data: fields.config_data()?,
        }),
        "config_write" => Ok(Event::ConfigWrite {
            offset: fields.number("offset")?,
            data: fields.config_data()?,
        }),
        "device_event" => Ok(Event::Display {
            events_read: fields.number32("events_read")?,
            size: match fields.get("scanout0")?.as_array().map(Vec::as_slice) {
                Some([width, height]) => (to_u32(width)?, to_u32(height)?),
                _ => return Err("scanout0 is not a list of two".to_owned()),
            },
        }),
        "cmd" => command(fields).map(Event::Command),
        "guest_ram" => guest_page(fields).map(Event::GuestRam),
        "end" => Ok(Event::End {
            reason: fields.text("reason")?.to_owned(),
            resources_live: fields.number("resources_live")?,
            blobs_mapped: fields.number("blobs_mapped")?,
        }),
        "header" => Err("a second header".to_owned()),
        other => Err(format!("type {other:?} is not known")),
    }
}

fn command(fields: &Fields) -> Result<CommandEvent, String> {
    let listed = fields.get("descriptors")?.as_array();
    let listed = listed.ok_or("descriptors is not a list")?;
    let descriptors = listed
        .iter()
        .map(|entry| match entry.as_array().map(Vec::as_slice) {
            Some([len, Value::Bool(writable)]) => Ok((to_u32(len)?, *writable)),
            _ => Err(format!(
                "descriptor {entry} is not a length and a direction"
            )),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let command = CommandEvent {
        queue: match fields.text("queue")? {
            "control" => Queue::Control,
            "cursor" => Queue::Cursor,
            other => return Err(format!("queue {other:?} is not known")),
        },
        name: fields.text("name")?.to_owned(),
        request: fields.bytes("request")?,
        response: fields.bytes("response")?,
        descriptors,
        indirect: fields.flag("indirect")?,
    };
    let readable = command.descriptors.iter().filter(|(_, writable)| !writable);
    let readable: u64 = readable.map(|(len, _)| u64::from(*len)).sum();
    if readable != command.request.len() as u64 {
        let len = command.request.len();
        return Err(format!(
            "a request of {len} bytes in descriptors of {readable}"
        ));
    }
    if fields.number("response_capacity")? != command.capacity() {
        let capacity = command.capacity();
        return Err(format!(
            "response_capacity is not the {capacity} of the descriptors"
        ));
    }
    if command.response.len() as u64 > command.capacity() {
        return Err("the response is longer than its room".to_owned());
    }
    Ok(command)
}

fn guest_page(fields: &Fields) -> Result<GuestPage, String> {
    let gpa = fields.hex_number("gpa")?;
    if !gpa.is_multiple_of(PAGE_BYTES as u64) || gpa.checked_add(PAGE_BYTES as u64).is_none() {
        return Err(format!("gpa {gpa:#x} is not the address of a page"));
    }
    let packed = BASE64.decode(fields.text("zlib_b64")?);
    let packed = packed.map_err(|error| format!("zlib_b64: {error}"))?;
    let mut bytes = Vec::with_capacity(PAGE_BYTES);
    // One byte more than a page would show that there is too much.
    let mut unpacked = ZlibDecoder::new(packed.as_slice()).take(PAGE_BYTES as u64 + 1);
    let read = unpacked.read_to_end(&mut bytes);
    read.map_err(|error| format!("zlib_b64: {error}"))?;
    if bytes.len() != PAGE_BYTES {
        return Err(format!("a page of {} bytes", bytes.len()));
    }
    Ok(GuestPage { gpa, bytes })
}

fn to_u32(value: &Value) -> Result<u32, String> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| format!("{value} is not a number of 32 bits"))
}

/// The fields of a line. Fields that the format does not know are ignored.
struct Fields(Map<String, Value>);

impl Fields {
    fn get(&self, name: &str) -> Result<&Value, String> {
        self.0.get(name).ok_or_else(|| format!("{name} is missing"))
    }

    fn text(&self, name: &str) -> Result<&str, String> {
        let text = self.get(name)?.as_str();
        text.ok_or_else(|| format!("{name} is not a text"))
    }

    fn number(&self, name: &str) -> Result<u64, String> {
        let number = self.get(name)?.as_u64();
        number.ok_or_else(|| format!("{name} is not a number"))
    }

    fn number32(&self, name: &str) -> Result<u32, String> {
        to_u32(self.get(name)?).map_err(|problem| format!("{name}: {problem}"))
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        let flag = self.get(name)?.as_bool();
        flag.ok_or_else(|| format!("{name} is neither true nor false"))
    }

    /// A number as a text with `0x`.
    fn hex_number(&self, name: &str) -> Result<u64, String> {
        let text = self.text(name)?;
        let digits = text.strip_prefix("0x");
        let digits = digits.filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        number.ok_or_else(|| format!("{name} of {text:?} is not a hexadecimal number"))
    }

    /// Bytes as a text of lower-case hexadecimal digits.
    fn bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        let text = self.text(name)?.as_bytes();
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = text.as_chunks::<2>();
        let bytes = pairs
            .iter()
            .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))
            .collect::<Option<Vec<u8>>>();
        bytes
            .filter(|_| rest.is_empty())
            .ok_or_else(|| format!("{name} is not bytes in lower-case hexadecimal"))
    }

    /// The data of a config access, whose length is given too.
    fn config_data(&self) -> Result<Vec<u8>, String> {
        let data = self.bytes("data")?;
        let len = self.number("len")?;
        if len != data.len() as u64 {
            return Err(format!("data of {} bytes where len is {len}", data.len()));
        }
        Ok(data)
    }
}

#[cfg(test)]
mod tests;
