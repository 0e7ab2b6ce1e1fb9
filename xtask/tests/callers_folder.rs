//! What a caller names on the command line is meant from where the caller is, not from the workspace's root.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

/// A stand-in for cargo that says where it runs and with what.
const CARGO: &str = "#!/bin/sh\necho \"in $(pwd)\"\nfor arg; do echo \"arg $arg\"; done\nexit 3\n";

/// Runs xtask in a folder of its own with that stand-in, and gives the folder, what was said, and the exit status.
fn run(test: &str, args: &[&str]) -> (PathBuf, Vec<String>, Option<i32>) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    fs::create_dir_all(&folder).expect("a folder");
    let folder = folder.canonicalize().expect("the folder");
    let cargo = folder.join("cargo");
    fs::write(&cargo, CARGO).expect("a script");
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("a program");
    let ended = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(args)
        .current_dir(&folder)
        .env("CARGO", &cargo)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .output()
        .expect("xtask runs");
    let said = String::from_utf8(ended.stdout).expect("text");
    let lines = said.lines().map(str::to_owned).collect();
    (folder, lines, ended.status.code())
}

#[test]
fn programs_run_where_the_caller_is_with_what_he_said() {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let manifest = manifest.canonicalize().expect("the workspace's manifest");
    for (command, args) in [
        ("demo", &["trace", "../a.jsonl.gz", "--out", "rel"][..]),
        ("oracle", &["../b.jsonl.gz", "c.json"]),
        ("bench", &["map", "--json", "d.json", "--svg", "e"]),
    ] {
        let all: Vec<&str> = [command].iter().chain(args).copied().collect();
        let (folder, lines, status) = run(command, &all);
        assert_eq!(lines[0], format!("in {}", folder.display()));
        let split = lines.iter().position(|line| line == "arg --");
        let (for_cargo, for_program) = lines.split_at(split.expect("a `--`"));
        assert!(
            for_cargo.contains(&format!("arg {}", manifest.display())),
            "{for_cargo:?}"
        );
        let given: Vec<String> = args.iter().map(|arg| format!("arg {arg}")).collect();
        assert_eq!(for_program[1..], given, "{command}");
        assert_eq!(status, Some(3), "the program's own");
    }
}

#[test]
fn ci_runs_every_demonstration() {
    let (_, lines, _) = run("ci", &["ci", "--only", "demos"]);
    // The stand-in fails, so the step's log is shown.
    assert!(lines.contains(&"  | arg all".to_owned()), "{lines:?}");
}
