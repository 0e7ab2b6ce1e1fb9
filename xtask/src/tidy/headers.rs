//! Each Rust file opens with `//!` and a sentence: a reader knows what a file is for before reading it.

use super::{Finding, tree::Tree};

const REMEDY: &str = "open the file with `//! One sentence that says what the file is for.`";

/// Checks every Rust file.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .filter_map(|(file, source)| {
            let header = source.header();
            let what = match header.lines().next() {
                None => "does not open with `//!`",
                Some("") => "opens with an empty `//!` line",
                Some(_) if !header.contains(['.', '?', '!', ':']) => {
                    "opens with a header that is no sentence"
                }
                Some(_) => return None,
            };
            let line = 1 + usize::from(file.text.starts_with("#!/"));
            Some(Finding {
                path: file.path.clone(),
                line,
                what: what.into(),
                remedy: REMEDY,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_a_header_are_rejected() {
        let bad = [
            "",
            "use std::fmt;\n",
            "// A comment.\n",
            "//!\n//! Late.\n",
            "//! fragment\n",
            "\n//! Late.\n",
        ];
        for text in bad {
            assert_eq!(check(&Tree::of([("a.rs", text)])).len(), 1, "{text:?}");
        }
    }

    #[test]
    fn a_header_may_follow_a_shebang_line() {
        for text in ["//! A sentence.\n", "#!/usr/bin/env run\n//! A sentence.\n"] {
            assert_eq!(check(&Tree::of([("a.rs", text)])), []);
        }
        assert_eq!(check(&Tree::of([("a.txt", "no Rust")])), []);
    }
}
