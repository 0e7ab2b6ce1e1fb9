//! `cargo xtask oracle FILE...`: recorded results of another implementation, replayed against the crates.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::command;
use crate::workspace;

/// Replays the files; the exit status is the replay's.
///
/// # Errors
///
/// A sentence for people if no file is named, or the replay could not be started.
pub(crate) fn pass_through(files: Vec<OsString>) -> Result<ExitCode, String> {
    if files.is_empty() {
        return Err("oracle needs at least one file of recorded results".into());
    }
    let mut command = command::program(&workspace::root(), "holdfast-tests", "oracle");
    command::pass_through(command.args(files))
}
