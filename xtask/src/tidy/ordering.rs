//! Each memory ordering of a lock-free protocol is argued where it stands: `// ORDERING:` says what it pairs with.
//!
//! The comment is looked for in the function, or directly above it. A paragraph of its own with a blank line behind it
//! speaks for all that follows in its block. The files that carry a protocol are on [`PROTOCOLS`]; elsewhere only
//! `Relaxed` counters are expected, and anything stronger asks for the file to be put on the list. Tests,
//! demonstrations and this program are left out.

use super::Finding;
use super::source::{Source, closing, words};
use super::tree::{File, Tree};

/// The files whose atomics synchronize something without a lock.
const PROTOCOLS: &[&str] = &[];

const ORDERINGS: [&str; 5] = ["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];

const ARGUE: &str = "put `// ORDERING: what it pairs with, or why nothing has to be ordered` in the function or directly above it";
const LIST: &str = "use a lock, or put the file on PROTOCOLS in xtask/src/tidy/ordering.rs and argue each ordering";
const UNLIST: &str = "take the file off PROTOCOLS in xtask/src/tidy/ordering.rs";

/// Checks every Rust file against the list.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    check_against(tree, PROTOCOLS)
}

fn check_against(tree: &Tree, protocols: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.rust() {
        if file.is_for_tests() || file.path.starts_with("xtask/") {
            continue;
        }
        let listed = protocols.contains(&file.path.as_str());
        for (at, what) in uses(source)
            .into_iter()
            .filter(|(at, _)| !source.is_in_tests(*at))
        {
            if listed && !is_argued(source, at) {
                findings.push(finding(
                    file,
                    source.line(at),
                    format!("`{what}` without an ORDERING: comment"),
                    ARGUE,
                ));
            } else if !listed && what != "Relaxed" {
                let what = format!("`{what}` in a file that is not on the list of protocols");
                findings.push(finding(file, source.line(at), what, LIST));
            }
        }
    }
    for path in protocols {
        let used = tree
            .file(path)
            .and_then(|f| f.source.as_ref())
            .is_some_and(|source| !uses(source).is_empty());
        if !used {
            let what = "is on the list of protocols and orders nothing".into();
            findings.push(Finding {
                path: (*path).to_owned(),
                line: 0,
                what,
                remedy: UNLIST,
            });
        }
    }
    findings
}

/// The orderings and fences in a file's code, imports left out.
fn uses(source: &Source) -> Vec<(usize, &'static str)> {
    let imported = |name: &str| {
        source.code.match_indices("Ordering::").any(|(at, path)| {
            let rest = &source.code[at + path.len()..];
            let list = if rest.starts_with('{') {
                &rest[..closing(rest, 0)]
            } else {
                ""
            };
            is_import(source, at)
                && (rest.starts_with('*')
                    || words(list, name).next().is_some()
                    || words(rest, name).next() == Some(0))
        })
    };
    let mut uses: Vec<(usize, &'static str)> = Vec::new();
    for name in ORDERINGS {
        let bare = imported(name);
        uses.extend(
            source
                .words(name)
                .filter(|at| {
                    source.code[..*at].ends_with("Ordering::")
                        || (bare && !source.code[..*at].ends_with("::"))
                })
                .map(|at| (at, name)),
        );
    }
    for name in ["fence", "compiler_fence"] {
        let is_call = |at: &usize| {
            let defines = source.code[..*at].trim_end().ends_with("fn");
            source.code[at + name.len()..].starts_with('(') && !defines
        };
        uses.extend(source.words(name).filter(is_call).map(|at| (at, name)));
    }
    uses.retain(|(at, _)| !is_import(source, *at));
    uses.sort_unstable();
    uses
}

/// Whether an offset is in a `use` declaration.
fn is_import(source: &Source, at: usize) -> bool {
    let before = &source.code[..at];
    let start = before.rfind(';').map_or(0, |n| n + 1);
    words(&before[start..], "use").last().is_some_and(|n| {
        // A function body between the two would open a brace that no path opens.
        let between = before[start + n + "use".len()..].trim();
        between
            .chars()
            .all(|c| c.is_alphanumeric() || "_:{}, \n*".contains(c))
            && !between.contains(") {")
    })
}

fn is_argued(source: &Source, at: usize) -> bool {
    let (from, to) = match source.function_at(at) {
        Some(function) => (source.line(function.at), source.line(function.body.end)),
        None => (source.line(at), source.line(at)),
    };
    source
        .comments_of(source.first_line_above(from)..=to)
        .contains("ORDERING:")
        || has_section(source, at)
}

/// Whether a paragraph that stands by itself, in a block around the offset and before it, argues for all that follows.
fn has_section(source: &Source, at: usize) -> bool {
    source
        .comments
        .match_indices("ORDERING:")
        .map(|(n, _)| n)
        .filter(|n| *n < at)
        .any(|comment| {
            let in_function = source.function_at(comment).is_some();
            let mut line = source.line(comment);
            let is_header = source.comment_line(line).trim().starts_with("//!");
            while !source.comment_line(line).trim().is_empty() {
                line += 1;
            }
            let alone = source.code_line(line).trim().is_empty();
            alone && !in_function && !is_header && at < block_end(&source.code, comment)
        })
}

/// Where the block around an offset ends.
fn block_end(code: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(byte) = code.as_bytes().get(at) {
        match byte {
            b'{' => at = closing(code, at),
            b'}' => return at,
            _ => at += 1,
        }
    }
    code.len()
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

    fn findings(text: &str, protocols: &[&str]) -> Vec<String> {
        let tree = Tree::of([("q/src/a.rs", text)]);
        check_against(&tree, protocols)
            .into_iter()
            .map(|f| format!("{}: {}", f.line, f.what))
            .collect()
    }

    fn listed(text: &str) -> Vec<String> {
        findings(text, &["q/src/a.rs"])
    }

    #[test]
    fn an_ordering_without_its_argument_is_rejected() {
        let text = "use std::sync::atomic::Ordering;\nfn f() { x.load(Ordering::Relaxed); }\nfn g() {\n // ORDERING: mine.\n fence(Ordering::SeqCst);\n}";
        assert_eq!(listed(text), ["2: `Relaxed` without an ORDERING: comment"]);
        let text = "use std::sync::atomic::Ordering::{Acquire, Release};\nfn f() { x.load(Acquire); y(Phase::Release) }";
        assert_eq!(listed(text), ["2: `Acquire` without an ORDERING: comment"]);
        let text = "const PUBLISH: Ordering = Ordering::Release;\n";
        assert_eq!(listed(text), ["1: `Release` without an ORDERING: comment"]);
    }

    #[test]
    fn an_argued_ordering_is_right() {
        for text in [
            "/// Loads.\n// ORDERING: pairs with `g`.\n#[inline]\nfn f() { x.load(Ordering::Acquire); }",
            "fn f() {\n // ORDERING: pairs with `g`.\n x.load(Ordering::Acquire);\n}",
            "impl X {\n // ORDERING: all of these\n // only count.\n\n fn f() { x.load(Ordering::Relaxed); }\n}",
            "#[cfg(test)]\nmod tests { fn f() { x.load(Ordering::SeqCst); } }\n// ORDERING: it.\nstatic X: Ordering = Ordering::Acquire;",
        ] {
            assert_eq!(listed(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_section_ends_with_its_block() {
        let text = "impl X {\n // ORDERING: these.\n\n fn f() {}\n}\nfn g() { x.load(Ordering::Relaxed); }";
        assert_eq!(listed(text), ["6: `Relaxed` without an ORDERING: comment"]);
        let attached = "// ORDERING: f's.\nfn f() {}\nfn g() { x.load(Ordering::Relaxed); }";
        assert_eq!(
            listed(attached),
            ["3: `Relaxed` without an ORDERING: comment"]
        );
        let header = "//! ORDERING: everything.\n\nfn g() { x.load(Ordering::Relaxed); }";
        assert_eq!(
            listed(header),
            ["3: `Relaxed` without an ORDERING: comment"]
        );
    }

    #[test]
    fn a_file_off_the_list_may_only_count() {
        assert_eq!(
            findings("fn f() { x.load(Ordering::Relaxed); }", &[]),
            Vec::<String>::new()
        );
        let found = findings("fn f() { x.load(Ordering::Acquire); fence(order); }", &[]);
        assert_eq!(
            found,
            [
                "1: `Acquire` in a file that is not on the list of protocols",
                "1: `fence` in a file that is not on the list of protocols",
            ]
        );
        assert_eq!(
            findings("fn cmp() { Ordering::Less }\nfn fence() {}", &[]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_listed_file_must_need_it() {
        assert_eq!(
            listed("fn f() {}"),
            ["0: is on the list of protocols and orders nothing"]
        );
        assert_eq!(
            findings("", &["gone.rs"]),
            ["0: is on the list of protocols and orders nothing"]
        );
    }
}
