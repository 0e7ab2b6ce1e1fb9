//! Runs other programs: output shown or kept in a log, a time limit for each, and one word for how it went.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How a step went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All it had to do was done and found right.
    Ok,
    /// It did nothing, and this is why.
    Skipped(String),
    /// Something is wrong, and this is what.
    Failed(String),
}

/// Where the output of the programs that a step runs goes.
#[derive(Debug, Clone)]
pub(crate) struct Runner {
    log: Option<PathBuf>,
}

/// What is left of a program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its output, both streams, where it went to a log; empty where it was shown.
    pub(crate) output: String,
}

impl Runner {
    /// A runner that shows all output as it comes.
    pub(crate) fn live() -> Self {
        Self { log: None }
    }

    /// A runner that writes all output to `log`, which is emptied first.
    ///
    /// # Errors
    ///
    /// What the file system says if the log cannot be made.
    pub(crate) fn logging(log: PathBuf) -> io::Result<Self> {
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder)?;
        }
        File::create(&log)?;
        Ok(Self { log: Some(log) })
    }

    /// Writes a line where the output goes.
    pub(crate) fn say(&self, line: &str) {
        match &self.log {
            None => println!("{line}"),
            Some(log) => {
                use io::Write as _;
                let written = File::options()
                    .append(true)
                    .open(log)
                    .and_then(|mut file| writeln!(file, "{line}"));
                if let Err(error) = written {
                    eprintln!("xtask: {}: {error}: {line}", log.display());
                }
            }
        }
    }

    /// Runs a command to its end, with no standard input and within `limit`.
    ///
    /// # Errors
    ///
    /// A sentence for people: it could not be started, exited with a failure, or was stopped at the limit.
    pub(crate) fn run(&self, command: &mut Command, limit: Duration) -> Result<Ended, String> {
        let line = shown(command);
        self.say(&format!("$ {line}"));
        command.stdin(Stdio::null());
        let mut from = 0;
        if let Some(log) = &self.log {
            let mut open = || {
                let file = File::options().append(true).open(log)?;
                from = file.metadata()?.len();
                Ok((file.try_clone()?, file))
            };
            let (out, err) = open().map_err(|e: io::Error| format!("{}: {e}", log.display()))?;
            command.stdout(out).stderr(err);
        }
        let mut child = command
            .spawn()
            .map_err(|error| format!("`{line}` could not be started: {error}"))?;
        let status = wait(&mut child, limit).map_err(|error| format!("`{line}`: {error}"))?;
        match status {
            None => Err(format!(
                "`{line}` had not ended after {} s and was stopped",
                limit.as_secs()
            )),
            Some(status) if !status.success() => Err(format!("`{line}`: {status}")),
            Some(_) => Ok(Ended {
                output: self
                    .log
                    .as_deref()
                    .map_or_else(String::new, |log| tail(log, from)),
            }),
        }
    }
}

/// `cargo` with the given arguments, in the workspace's root: the very cargo that runs this program.
pub(crate) fn cargo<S: AsRef<OsStr>>(root: &Path, args: impl IntoIterator<Item = S>) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root).args(args);
    command
}

/// A program of the workspace, built for speed, and run where the caller is: what he names on the command line is meant from there.
pub(crate) fn program(root: &Path, package: &str, name: &str) -> Command {
    let mut command = cargo(root, ["run", "--release", "--quiet", "--manifest-path"]);
    command
        .arg(root.join("Cargo.toml"))
        .args(["-p", package, "--bin", name, "--"]);
    // Cargo builds in the workspace of the manifest, and runs the program in its own working directory, which is the caller's.
    if let Ok(here) = std::env::current_dir() {
        command.current_dir(here);
    }
    command
}

/// The nightly `cargo`, through rustup's proxy; the flags of a stable one would not be understood.
pub(crate) fn cargo_nightly<S: AsRef<OsStr>>(
    root: &Path,
    args: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root).arg("+nightly").args(args);
    command
}

/// Runs a command with this program's own streams and hands on its exit status.
///
/// # Errors
///
/// A sentence for people if it could not be started.
pub(crate) fn pass_through(command: &mut Command) -> Result<ExitCode, String> {
    let status = command
        .status()
        .map_err(|error| format!("`{}` could not be started: {error}", shown(command)))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

/// The command as one would type it, without quoting.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    let settings = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}='{}'", name.display(), value?.display())));
    let args = command
        .get_args()
        .map(|arg| arg.to_string_lossy().into_owned());
    let words = settings
        .chain([program.to_string_lossy().into_owned()])
        .chain(args);
    words.collect::<Vec<_>>().join(" ")
}

/// Waits for the end, or stops the child and all it has started at the limit and answers `None`.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            for pid in descendants(child.id()) {
                // A process that has just ended by itself is no error here.
                let _ = Command::new("kill")
                    .args(["-9", &pid.to_string()])
                    .stderr(Stdio::null())
                    .status();
            }
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes below `root`, from Linux's `/proc`; none on other systems, where only the child itself is stopped.
///
/// Killing `cargo` alone would leave the test it runs behind. A process group would do too, but would take Ctrl-C away from it.
fn descendants(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name is in parentheses and may hold any character; the state and the parent follow the last one.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
            Some((pid, parent.parse().ok()?))
        })
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(
            parents
                .iter()
                .filter(|(_, p)| *p == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    found.remove(0);
    found
}

fn tail(log: &Path, from: u64) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let from = usize::try_from(from).map_or(bytes.len(), |from| from.min(bytes.len()));
    String::from_utf8_lossy(&bytes[from..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(name: &str) -> Runner {
        let log = std::env::temp_dir().join(format!("xtask-{}-{name}.log", std::process::id()));
        Runner::logging(log).expect("a log in the temporary folder")
    }

    fn drop_log(runner: &Runner) {
        let _ = fs::remove_file(runner.log.as_ref().expect("a logging runner"));
    }

    #[test]
    fn output_goes_to_the_log_and_to_the_caller() {
        let runner = runner("output");
        runner.say("before");
        let ended = runner
            .run(
                Command::new("sh").args(["-c", "echo out; echo err >&2"]),
                Duration::from_mins(1),
            )
            .expect("a command that succeeds");
        assert_eq!(ended.output, "out\nerr\n");
        let log = tail(runner.log.as_ref().expect("a log"), 0);
        assert!(log.starts_with("before\n$ sh -c"), "{log}");
        drop_log(&runner);
    }

    #[test]
    fn a_failing_command_is_reported_with_its_status() {
        let runner = runner("status");
        let error = runner
            .run(
                Command::new("sh").args(["-c", "exit 3"]),
                Duration::from_mins(1),
            )
            .expect_err("exit status 3");
        assert!(
            error.contains("exit 3") && error.contains("status: 3"),
            "{error}"
        );
        drop_log(&runner);
    }

    #[test]
    fn a_command_past_its_limit_is_stopped_with_all_it_started() {
        let runner = runner("limit");
        // The inner sleep's process id is printed so that its end can be seen.
        let mut sleeper = Command::new("sh");
        sleeper.args(["-c", "sleep 300 & echo $!; wait"]);
        let began = Instant::now();
        let error = runner
            .run(&mut sleeper, Duration::from_secs(2))
            .expect_err("a command that does not end");
        assert!(error.contains("was stopped"), "{error}");
        let log = tail(runner.log.as_ref().expect("a log"), 0);
        let pid: u32 = log
            .lines()
            .last()
            .and_then(|line| line.parse().ok())
            .expect("a process id");
        let is_alive = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(')')
                .is_some_and(|(_, rest)| !rest.trim().starts_with('Z'))
        };
        // A killed process on a busy machine may take a moment to go.
        while is_alive() && began.elapsed() < Duration::from_mins(1) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!is_alive(), "process {pid} is still there");
        drop_log(&runner);
    }
}
