//! A file is short enough to be read at a sitting: 500 lines without its tests, 800 for a file of tests.

use super::{Finding, tree::Tree};

/// The limit for a source file, without the items under `#[cfg(test)]`.
const SOURCE: usize = 500;
/// The limit for a file that is tests only.
const TESTS: usize = 800;

/// Checks every Rust file.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .filter_map(|(file, source)| {
            let all = file.text.lines().count();
            let (lines, limit) = if file.is_for_tests() {
                (all, TESTS)
            } else {
                let in_tests: usize = source
                    .tests()
                    .iter()
                    .map(|item| {
                        source.line(item.end.saturating_sub(1)) + 1 - source.line(item.start)
                    })
                    .sum();
                (all - in_tests, SOURCE)
            };
            (lines > limit).then(|| Finding {
                path: file.path.clone(),
                line: 0,
                what: format!("has {lines} lines without its tests, more than {limit}"),
                remedy: "find the second concept in the file and give it a file of its own",
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: String) -> usize {
        check(&Tree::of([(path, text)])).len()
    }

    #[test]
    fn a_long_file_is_rejected() {
        assert_eq!(findings("a/src/x.rs", "x\n".repeat(500)), 0);
        assert_eq!(findings("a/src/x.rs", "x\n".repeat(501)), 1);
        assert_eq!(findings("a/tests/x.rs", "x\n".repeat(800)), 0);
        assert_eq!(findings("a/tests/x.rs", "x\n".repeat(801)), 1);
    }

    #[test]
    fn unit_tests_do_not_count() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(400));
        assert_eq!(findings("a/src/x.rs", "x\n".repeat(500) + &tests), 0);
        assert_eq!(findings("a/src/x.rs", "x\n".repeat(501) + &tests), 1);
    }
}
