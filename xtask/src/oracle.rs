//! `cargo xtask oracle FILE...`: recorded results of another implementation, replayed against the crates.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use crate::command::{self, cargo};
use crate::workspace;

/// Replays the files; the exit status is the replay's.
///
/// # Errors
///
/// A sentence for people if no file is named, one does not exist, or the replay could not be started.
pub(crate) fn pass_through(files: Vec<OsString>) -> Result<ExitCode, String> {
    if files.is_empty() {
        return Err("oracle needs at least one file of recorded results".into());
    }
    let mut command = cargo(
        &workspace::root(),
        [
            "run",
            "--release",
            "--quiet",
            "-p",
            "holdfast-tests",
            "--bin",
            "oracle",
            "--",
        ],
    );
    for file in files {
        // The replay runs in the workspace's root, the caller may be elsewhere.
        let path = if file.as_encoded_bytes().starts_with(b"-") {
            file
        } else {
            std::path::absolute(Path::new(&file))
                .and_then(|path| path.metadata().map(|_| path))
                .map_err(|error| format!("{}: {error}", file.display()))?
                .into_os_string()
        };
        command.arg(path);
    }
    command::pass_through(&mut command)
}
