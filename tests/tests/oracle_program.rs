//! The program `oracle`: every file is reported on, whatever is wrong with another one.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::MultiGzDecoder;

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/flatview-oracle/sample.jsonl.gz")
}

/// The first two recordings of the sample, changed, in a file of their own.
fn changed(name: &str, change: impl Fn(&str) -> String) -> PathBuf {
    let mut text = String::new();
    let file = fs::File::open(sample()).expect("the sample");
    MultiGzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("a readable sample");
    let two: Vec<&str> = text.lines().take(2).collect();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let new = format!("{}\n{}\n", change(two[0]), two[1]);
    assert_ne!(new, format!("{}\n", two.join("\n")), "{name} is unchanged");
    fs::write(&path, new).expect("a file");
    path
}

/// What it says, and its exit status.
fn oracle(files: &[&Path]) -> (String, Option<i32>) {
    let ended = Command::new(env!("CARGO_BIN_EXE_oracle"))
        .args(files)
        .output()
        .expect("it runs");
    let said = String::from_utf8(ended.stdout).expect("text");
    (said, ended.status.code())
}

fn times(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

#[test]
fn a_good_file_is_good() {
    let (said, status) = oracle(&[&sample()]);
    assert_eq!(
        times(&said, "87 lines checked, 0 lines differ"),
        2,
        "{said}"
    );
    assert_eq!(status, Some(0));
}

#[test]
fn what_cannot_be_read_is_said_and_the_rest_is_checked() {
    let unknown = changed("unknown-op.jsonl", |line| {
        let at = line.find("\"ops\":[[\"").expect("an operation") + 9;
        format!("{}frob_{}", &line[..at], &line[at..])
    });
    let missing = Path::new("no/such/file.jsonl");
    let (said, status) = oracle(&[missing, &unknown, &sample()]);
    // The second recording of one, and all of the other, by both engines.
    assert_eq!(
        times(&said, "88 lines checked, 0 lines differ"),
        2,
        "{said}"
    );
    assert_eq!(times(&said, "not read: no/such/file.jsonl: "), 2, "{said}");
    let place = format!("not read: {}:1: ", unknown.display());
    assert_eq!(times(&said, &place), 2, "{said}");
    assert!(said.contains("frob_"), "{said}");
    assert_eq!(status, Some(2));
}

#[test]
fn a_region_that_does_not_exist_is_no_recording() {
    let unknown = changed("unknown-region.jsonl", |line| {
        let at = line.find("\"root\":").expect("a root") + 7;
        format!("{}99{}", &line[..at], &line[at..])
    });
    let (said, status) = oracle(&[&unknown]);
    assert_eq!(times(&said, "1 lines checked, 0 lines differ"), 2, "{said}");
    assert!(
        said.contains(":1: expected ids of ") && said.contains("found region 99"),
        "{said}"
    );
    assert_eq!(status, Some(2));
}

#[test]
fn a_difference_names_its_file_and_comes_before_what_cannot_be_read() {
    let differs = changed("differs.jsonl", |line| {
        line.replacen(
            "\"view\":[[",
            "\"view\":[[\"0x0\",\"0x1\",0,\"0x0\",0,0,0],[",
            1,
        )
    });
    let (said, status) = oracle(&[&sample(), &differs, Path::new("none")]);
    assert_eq!(
        times(&said, "89 lines checked, 1 lines differ"),
        2,
        "{said}"
    );
    let first = format!("first difference, {}, line 0 (", differs.display());
    assert_eq!(times(&said, &first), 2, "{said}");
    assert_eq!(times(&said, "not read: none: "), 2, "{said}");
    assert_eq!(status, Some(1));
}
