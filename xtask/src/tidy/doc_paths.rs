//! A path that a document names exists: prose drifts from the code unless something holds it.
//!
//! Looked at are, in Markdown, code spans, links and the blocks that are not Rust; in Rust files, the code spans of
//! comments. A word is taken for a path of the repository where it begins with one of its top folders, or ends like one
//! of its files. Names of documents (`*.md`) are looked at in plain text too. A `*` must match something, `{a,b}` all.

use std::collections::BTreeSet;

use super::Finding;
use super::tree::{File, Tree, has_extension};

/// What a path may end in to be taken for one without a top folder in front.
const EXTENSIONS: &[&str] = &[
    "rs", "md", "toml", "json", "jsonl", "txt", "sh", "yml", "svg", "dot", "gz",
];

const REMEDY: &str = "name a file or folder that exists, from the root of the repository or from a folder around the document";

/// Checks every document and every comment.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let known = Known::of(tree);
    let mut findings = Vec::new();
    for file in tree.files() {
        let named = match &file.source {
            Some(source) => in_comments(&source.comments),
            None if has_extension(&file.path, "md") => in_markdown(&file.text),
            None => continue,
        };
        for (line, word, place) in named {
            if known.is_missing(file, &word, place) {
                let what = format!("names `{word}`, which does not exist");
                findings.push(Finding {
                    path: file.path.clone(),
                    line,
                    what,
                    remedy: REMEDY,
                });
            }
        }
    }
    findings
}

/// Where a word stands, which says how sure it is that a path is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Plain text: only names of documents are looked at.
    Prose,
    /// A code span or a block of commands in Markdown.
    Span,
    /// A code span in a comment of a Rust file: file names with a top folder in front.
    Comment,
    /// The target of a link: always a path.
    Link,
}

/// All files and folders of the repository.
struct Known {
    paths: BTreeSet<String>,
    tops: BTreeSet<String>,
}

impl Known {
    fn of(tree: &Tree) -> Self {
        let mut paths = BTreeSet::new();
        for file in tree.files() {
            let mut path = file.path.as_str();
            while let Some((folder, _)) = path.rsplit_once('/') {
                paths.insert(path.to_owned());
                path = folder;
            }
            paths.insert(path.to_owned());
        }
        let tops = paths
            .iter()
            .filter(|p| paths.iter().any(|q| q.starts_with(&format!("{p}/"))))
            .cloned();
        let tops = tops.filter(|p| !p.contains('/')).collect();
        Self { paths, tops }
    }

    /// Whether a word is a path of the repository and leads nowhere.
    fn is_missing(&self, file: &File, word: &str, place: Place) -> bool {
        let Some(path) = path_of(word) else {
            return false;
        };
        let first = path.split('/').next().unwrap_or(path);
        let begins = self.tops.contains(first) && path.contains('/');
        let ends = EXTENSIONS.iter().any(|e| has_extension(path, e));
        let is_document = has_extension(path, "md") && !path.contains('*');
        let is_path = match place {
            Place::Link => true,
            Place::Span => {
                is_document || begins || (ends && path.contains('/') && !first.contains(['*', '{']))
            }
            Place::Comment => is_document || (begins && ends && !path.contains(['*', '{'])),
            Place::Prose => is_document,
        };
        // Any folder around the document may be meant: its own, its package's, the repository's.
        let folders = file.path.match_indices('/').map(|(at, _)| &file.path[..at]);
        let folders: Vec<&str> = folders.chain([""]).collect();
        is_path
            && expanded(path).iter().any(|path| {
                let at =
                    |folder: &&str| joined(folder, path).is_some_and(|path| self.exists(&path));
                !folders.iter().any(at)
            })
    }

    fn exists(&self, path: &str) -> bool {
        if path.contains('*') {
            return self.paths.iter().any(|known| matches(path, known));
        }
        path.is_empty() || self.paths.contains(path)
    }
}

/// A word as a path: without line numbers and fragments; `None` where it cannot be one of the repository.
fn path_of(word: &str) -> Option<&str> {
    let word = word
        .split(['#', ':'])
        .next()
        .unwrap_or(word)
        .trim_end_matches('/');
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-./*{},".contains(c);
    let outside = word.starts_with('/') || word.starts_with("target/") || word.contains("//");
    (!word.is_empty() && word.chars().all(fits) && !outside).then(|| word.trim_start_matches("./"))
}

/// A path relative to a folder, with `..` resolved; `None` where that leaves the repository.
fn joined(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// `a/{b,c}` as `a/b` and `a/c`.
fn expanded(path: &str) -> Vec<String> {
    let split = path.split_once('{').and_then(|(head, rest)| {
        let (list, end) = rest.split_once('}')?;
        Some(
            list.split(',')
                .flat_map(move |part| expanded(&format!("{head}{part}{end}")))
                .collect(),
        )
    });
    split.unwrap_or_else(|| vec![path.to_owned()])
}

/// Whether a path fits a pattern in which `*` stands for any part of one name, and `**` for any part of the path.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((head, rest)) => path.strip_prefix(head).is_some_and(|path| {
            let (rest, across) = rest
                .strip_prefix('*')
                .map_or((rest, false), |rest| (rest, true));
            let end = if across {
                path.len()
            } else {
                path.find('/').unwrap_or(path.len())
            };
            (0..=end)
                .filter(|n| path.is_char_boundary(*n))
                .any(|n| matches(rest, &path[n..]))
        }),
    }
}

/// The words of a Markdown text with their lines.
fn in_markdown(text: &str) -> Vec<(usize, String, Place)> {
    let (mut found, mut block) = (Vec::new(), None);
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if let Some(language) = trimmed.strip_prefix("```") {
            block = match block {
                None => Some(language.starts_with("rust") || language.starts_with("toml")),
                Some(_) => None,
            };
            continue;
        }
        match block {
            Some(true) => {}
            Some(false) => found.extend(words_of(line, index + 1, Place::Span)),
            None => {
                found.extend(in_line(line, index + 1, Place::Span));
                found.extend(links(line).map(|link| (index + 1, link.to_owned(), Place::Link)));
            }
        }
    }
    found
}

/// The words of a Rust file's comments with their lines.
fn in_comments(comments: &str) -> Vec<(usize, String, Place)> {
    let mut found = Vec::new();
    for (index, line) in comments.lines().enumerate() {
        found.extend(in_line(line, index + 1, Place::Comment));
    }
    found
}

fn in_line(line: &str, number: usize, span: Place) -> Vec<(usize, String, Place)> {
    let pieces = line
        .split('`')
        .zip([Place::Prose, span].into_iter().cycle());
    pieces
        .flat_map(|(piece, place)| words_of(piece, number, place))
        .collect()
}

fn words_of(piece: &str, line: usize, place: Place) -> Vec<(usize, String, Place)> {
    let trim: &[char] = match place {
        // A link's target is looked at as a link.
        Place::Prose if piece.contains("](") => return Vec::new(),
        Place::Prose => &['.', ',', ';', ':', '(', ')', '"', '\'', '*', '?', '!'],
        _ => &[',', ';', '(', ')', '"', '\''],
    };
    let words = piece
        .split_whitespace()
        .map(|word| word.trim_matches(trim).to_owned());
    words.map(|word| (line, word, place)).collect()
}

/// The targets of a line's links, those into the web left out.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split([')', ' ', '#']).next()?;
        (!target.is_empty() && !target.contains(':')).then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let tree = Tree::of([
            ("qom/src/tree.rs", "//! T."),
            ("README.md", "A."),
            (path, text),
        ]);
        check(&tree)
            .into_iter()
            .map(|f| format!("{}: {}", f.line, f.what))
            .collect()
    }

    #[test]
    fn a_path_that_leads_nowhere_is_rejected() {
        for word in [
            "qom/src/gone.rs",
            "qom/gone",
            "lib/gone.rs",
            "qom/*/gone.rs",
            "qom/src/{tree,gone}.rs",
            "GONE.md",
            "qom/src/gone.rs:12",
        ] {
            let found = findings("docs/a.md", &format!("Text.\nSee `{word}`.\n"));
            assert_eq!(found, [format!("2: names `{word}`, which does not exist")]);
        }
        assert_eq!(findings("a.md", "[x](gone.md#top)").len(), 1);
        assert_eq!(findings("a.md", "See GONE.md.").len(), 1);
        assert_eq!(findings("a.md", "```sh\ncat qom/gone\n```").len(), 1);
        assert_eq!(
            findings("qom/src/a.rs", "//! See `qom/src/gone.rs`.").len(),
            1
        );
        assert_eq!(
            findings("qom/src/a.rs", "//! See lore/gone.md for more.").len(),
            1
        );
    }

    #[test]
    fn paths_that_exist_and_words_that_are_none_are_right() {
        for text in [
            "`qom/src/tree.rs`, `qom/`, `qom/src/*.rs`, `qom/**/tree.rs`, `qom/src/tree.rs:1`, `./qom`",
            "[x](../README.md), [y](https://x.org/gone.md), [z](#top)",
            "`a/b`, `/machine/gone.rs`, `qom::tree`, `https://x.org/a.rs`, `target/ci/x.txt`, `<dir>/x.rs`",
            "```rust\nlet x = a/b.rs; // qom/gone\n```\nqom/gone in prose; `1/2`",
        ] {
            assert_eq!(findings("docs/a.md", text), Vec::<String>::new(), "{text}");
        }
        assert_eq!(
            findings(
                "qom/src/a.rs",
                "//! `*/tests/x_*.rs`, `qom/tests/x_*.rs`, `qom/kvm`, `src/tree.rs`."
            ),
            Vec::<String>::new()
        );
    }
}
