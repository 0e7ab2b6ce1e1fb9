//! Reads files of recordings: JSON lines or one JSON list, plain or compressed with gzip.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::line::{Line, ReadError};
use super::script;

/// Every recording of a file.
///
/// # Errors
///
/// As [`read_each`]; and where a recording is not of the form it should have.
pub fn read(path: &Path) -> Result<Vec<Line>, ReadError> {
    read_each(path)?.into_iter().collect()
}

/// Every recording of a file, or why it cannot be read and where it is. A list is one of hand-checked scripts; otherwise each line is a recording.
///
/// # Errors
///
/// Where the file as a whole cannot be read.
pub fn read_each(path: &Path) -> Result<Vec<Result<Line, ReadError>>, ReadError> {
    let place = |error: &dyn std::fmt::Display| ReadError(format!("{}: {error}", path.display()));
    let bytes = fs::read(path).map_err(|error| place(&error))?;
    let text = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut text = String::new();
        MultiGzDecoder::new(&bytes[..])
            .read_to_string(&mut text)
            .map_err(|error| place(&error))?;
        text
    } else {
        String::from_utf8(bytes).map_err(|error| place(&error))?
    };
    if text.trim_start().starts_with('[') {
        let list: Vec<Value> = serde_json::from_str(&text).map_err(|error| place(&error))?;
        let one = |value| script::from_json(value).map_err(|error| place(&error));
        return Ok(list.iter().map(one).collect());
    }
    let lines = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty());
    let one = |(number, line): (usize, &str)| {
        let at = |error: &dyn std::fmt::Display| {
            ReadError(format!("{}:{number}: {error}", path.display()))
        };
        let value: Value = serde_json::from_str(line).map_err(|error| at(&error))?;
        Line::from_json(&value).map_err(|error| at(&error))
    };
    Ok(lines.map(one).collect())
}
