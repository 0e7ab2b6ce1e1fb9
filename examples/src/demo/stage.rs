//! Where a demonstration shows itself: lines, one line of progress, and files.

use std::{
    fmt::Display,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::failure::DemoError;

/// How often the line of progress changes at most.
const BETWEEN: Duration = Duration::from_millis(100);

/// The stage. Output that nobody takes (a closed pipe) is dropped: what a demonstration checks, it checks nevertheless.
pub struct Stage<'a> {
    out: &'a mut dyn Write,
    /// Whether one line can be written over.
    terminal: bool,
    directory: Option<PathBuf>,
    readers: usize,
    progress: Option<(Instant, usize)>,
}

impl std::fmt::Debug for Stage<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage")
            .field("directory", &self.directory)
            .field("readers", &self.readers)
            .finish_non_exhaustive()
    }
}

impl<'a> Stage<'a> {
    /// A stage without a terminal, a directory for files, or more than two reader threads.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self {
            out,
            terminal: false,
            directory: None,
            readers: 2,
            progress: None,
        }
    }

    /// Whether progress is shown, in a line that is written over.
    pub fn terminal(mut self, on: bool) -> Self {
        self.terminal = on;
        self
    }

    /// Files go there.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn directory(mut self, path: &Path) -> Result<Self, DemoError> {
        fs::create_dir_all(path).map_err(|source| DemoError::Write {
            path: path.to_owned(),
            source,
        })?;
        self.directory = Some(path.to_owned());
        Ok(self)
    }

    /// How many threads read meanwhile.
    pub fn with_readers(mut self, readers: usize) -> Self {
        self.readers = readers;
        self
    }

    /// How many threads read meanwhile.
    pub fn readers(&self) -> usize {
        self.readers
    }

    /// A line.
    pub fn say(&mut self, line: impl Display) {
        self.clear();
        let _ = writeln!(self.out, "{line}");
        let _ = self.out.flush();
    }

    /// What is going on now; the next line takes its place.
    pub fn progress(&mut self, line: impl FnOnce() -> String) {
        let shown = self.progress.is_some_and(|(at, _)| at.elapsed() < BETWEEN);
        if !self.terminal || shown {
            return;
        }
        self.clear();
        let line = line();
        let _ = write!(self.out, "{line}");
        let _ = self.out.flush();
        self.progress = Some((Instant::now(), line.chars().count()));
    }

    fn clear(&mut self) {
        if let Some((_, width)) = self.progress.take() {
            let _ = write!(self.out, "\r{:width$}\r", "");
        }
    }

    /// Whether files are wanted.
    pub fn wants_files(&self) -> bool {
        self.directory.is_some()
    }

    /// The path of a file of that name, if files are wanted. Whatever cannot stand in a name becomes a dash.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
                c
            } else {
                '-'
            }
        };
        let name: String = name.chars().map(plain).collect();
        Some(self.directory.as_ref()?.join(name))
    }

    /// Writes a file, if files are wanted.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn file(&mut self, name: &str, content: impl FnOnce() -> String) -> Result<(), DemoError> {
        let Some(path) = self.path(name) else {
            return Ok(());
        };
        let written: io::Result<()> = fs::write(&path, content());
        written.map_err(|source| DemoError::Write { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_the_place_of_the_progress() {
        let mut out = Vec::new();
        let mut stage = Stage::new(&mut out).terminal(true);
        stage.progress(|| "half".to_owned());
        stage.progress(|| unreachable!("too soon for another one"));
        stage.say("done");
        assert_eq!(String::from_utf8(out).unwrap(), "half\r    \rdone\n");
    }

    #[test]
    fn names_of_files_stay_in_their_directory() {
        let mut out = Vec::new();
        let mut stage = Stage::new(&mut out);
        stage.directory = Some(PathBuf::from("out/x"));
        let path = stage.path("../a b/ü.svg").unwrap();
        assert_eq!(path, Path::new("out/x/..-a-b--.svg"));
        stage.directory = None;
        assert_eq!(stage.path("a"), None);
    }
}
