//! The text speaks of the project alone: nobody's machine, nobody's tracker, nothing put off, no drawers.
//!
//! The words looked for are written in two halves here, so that this file keeps its own rule.

use super::Finding;
use super::source::is_word;
use super::tree::{File, Tree, has_extension};

const HERE: &str = "say it so that a reader who has only the repository understands it, and so that it holds on any machine";
const NOW: &str = "do it now, or say in the file's header or in the changelog what is not there";
const NAME: &str =
    "name the file after the one concept in it; where there are several, make several files";
const REGISTRY: &str = "take packages from crates.io only, without a mirror";

/// Absolute paths of one machine, and words about the making; in lower case.
const ELSEWHERE: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ho", "me/"),
    concat!("/us", "ers/"),
    concat!("/tm", "p/"),
    concat!("iss", "ue #"),
    concat!("this ses", "sion"),
    concat!("sub", "agent"),
    concat!("sub-", "agent"),
];

/// Marks for what is put off; as they are written.
const LATER: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
];

/// Names that say nothing about what is in a file.
const DRAWERS: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc"];

/// The one place that packages come from.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index\"";

/// Checks the text and the name of every file.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.files().iter().flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let drawer = |part: &&str| DRAWERS.contains(&part.split('.').next().unwrap_or(part));
    if let Some(part) = file.path.split('/').find(drawer) {
        findings.push(finding(
            file,
            0,
            format!("`{part}` is a drawer, not a name"),
            NAME,
        ));
    }
    let is_lock = file.path == "Cargo.lock";
    let is_data = ["json", "jsonl", "svg"]
        .iter()
        .any(|e| has_extension(&file.path, e));
    for (index, line) in file.text.lines().enumerate() {
        let line_number = index + 1;
        if is_lock {
            if line.starts_with("source = ") && !line.contains(CRATES_IO) {
                findings.push(finding(
                    file,
                    line_number,
                    format!("`{line}` is not crates.io"),
                    REGISTRY,
                ));
            }
            continue;
        }
        let lower = line.to_lowercase();
        for word in ELSEWHERE.iter().filter(|word| stands_alone(&lower, word)) {
            findings.push(finding(
                file,
                line_number,
                format!("`{word}` is not about the project"),
                HERE,
            ));
        }
        for word in LATER
            .iter()
            .filter(|word| !is_data && stands_alone(line, word))
        {
            findings.push(finding(
                file,
                line_number,
                format!("`{word}` puts something off"),
                NOW,
            ));
        }
    }
    findings
}

/// Whether a word occurs that no letter in front makes part of another; behind it one may stand.
fn stands_alone(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].bytes().next_back();
        let after = line[at + word.len()..].bytes().next();
        let joins_on =
            word.ends_with(|c: char| c.is_ascii_alphabetic()) && after.is_some_and(is_word);
        !before.is_some_and(is_word) && !joins_on
    })
}

fn finding(file: &File, line: usize, what: String, remedy: &'static str) -> Finding {
    Finding {
        path: file.path.clone(),
        line,
        what,
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<usize> {
        check(&Tree::of([(path, text)]))
            .into_iter()
            .map(|f| f.line)
            .collect()
    }

    #[test]
    fn every_listed_word_is_rejected() {
        for word in ELSEWHERE.iter().chain(LATER) {
            assert_eq!(
                findings("a.rs", &format!("//! Good.\n// So {word}1 is bad\n")).len(),
                usize::from(!word.ends_with(|c: char| c.is_ascii_alphabetic()))
            );
            assert_eq!(
                findings("a.md", &format!("Good.\nSo {word} is bad\n")),
                [2],
                "{word}"
            );
        }
    }

    #[test]
    fn case_counts_only_where_it_means_something() {
        let (upper, lower) = (concat!("THIS SES", "SION"), concat!("mas", "todon"));
        assert_eq!(findings("a.md", upper), [1]);
        assert_eq!(findings("a.md", lower), [] as [usize; 0]);
        let inside = concat!("net", "/wo", "rk/ and autoto", "do!(x)");
        assert_eq!(findings("a.rs", inside), [] as [usize; 0]);
    }

    #[test]
    fn drawers_are_rejected() {
        for path in [
            "qom/src/util.rs",
            "tests/common/mod.rs",
            "qom/src/helpers.rs",
            "docs/misc.md",
        ] {
            assert_eq!(findings(path, ""), [0], "{path}");
        }
        assert_eq!(findings("qom/src/commons.rs", ""), [] as [usize; 0]);
    }

    #[test]
    fn packages_come_from_one_place() {
        let lock = |source: &str| {
            findings(
                "Cargo.lock",
                &format!("[[package]]\nsource = \"{source}\"\n"),
            )
        };
        assert_eq!(
            lock("registry+https://github.com/rust-lang/crates.io-index"),
            [] as [usize; 0]
        );
        assert_eq!(lock("registry+https://mirror.example/index"), [2]);
        assert_eq!(lock("git+https://example.org/x"), [2]);
    }
}
