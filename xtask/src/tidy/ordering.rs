//! Each memory ordering of a lock-free protocol is argued where it stands: `// ORDERING:` says what it pairs with.
//!
//! In the files on [`PROTOCOLS`] every ordering asks for it, `Relaxed` too; elsewhere those that are stronger do. The
//! comment is looked for in the function, or directly above it. A paragraph of its own with a blank line behind it speaks
//! for all that follows in its block, and one in the header for the whole file. An ordering counts where it is handed to a call, by its own name or that of a
//! constant; in a pattern, a comparison or the constant itself it orders nothing. Tests, demonstrations and this program
//! are left out.

use super::Finding;
use super::source::{Source, closing, enclosing, words};
use super::tree::{File, Tree};

/// The files whose atomics are a protocol between threads, and not only counters.
const PROTOCOLS: &[&str] = &[
    "qom/grace/src/protocol.rs",
    "qom/grace/src/slot.rs",
    "qom/src/counts.rs",
];

const ORDERINGS: [&str; 5] = ["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];

const ARGUE: &str = "put `// ORDERING: what it pairs with, or why nothing has to be ordered` in the function or directly above it, or argue for the whole file in its header";
const UNLIST: &str = "take the file off PROTOCOLS in xtask/src/tidy/ordering.rs";

/// Checks every Rust file.
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
        for (at, name) in uses(source) {
            let asked = (listed || name != "Relaxed") && !source.is_in_tests(at);
            if asked && !is_argued(source, at) {
                let what = format!("`{name}` without an ORDERING: comment");
                findings.push(finding(file, source.line(at), what, ARGUE));
            }
        }
    }
    for path in protocols {
        let source = tree.file(path).and_then(|file| file.source.as_ref());
        if source.is_none_or(|source| uses(source).is_empty()) {
            let what = "is on the list of protocols and orders nothing".into();
            findings.push(Finding {
                path: (*path).to_owned(),
                line: 0,
                what,
                remedy: UNLIST,
            });
        }
    }
    findings.dedup();
    findings
}

/// The orderings and fences in a file's code that are handed to a call.
fn uses(source: &Source) -> Vec<(usize, String)> {
    let code = &source.code;
    let mut uses: Vec<(usize, String)> = Vec::new();
    for name in ORDERINGS {
        let bare = uses_path(source, "Ordering::", name);
        let is_ordering = |at: &usize| {
            let before = &code[..*at];
            before.ends_with("Ordering::") || (bare && !before.ends_with("::"))
        };
        uses.extend(
            source
                .words(name)
                .filter(is_ordering)
                .map(|at| (at, name.to_owned())),
        );
    }
    for name in constants(source) {
        uses.extend(source.words(name).map(|at| (at, name.to_owned())));
    }
    // A fence may be given an ordering by a variable. Other things may be called fences too.
    for name in ["fence", "compiler_fence"] {
        let bare = uses_path(source, "atomic::", name);
        let is_call = |at: &usize| {
            let before = &code[..*at];
            let ours = before.ends_with("atomic::") || (bare && !before.ends_with(['.', ':']));
            let defines = before.trim_end().ends_with("fn");
            ours && code[at + name.len()..].starts_with('(') && !defines
        };
        let behind = source
            .words(name)
            .filter(is_call)
            .map(|at| at + name.len() + 1);
        uses.extend(behind.map(|at| (at, name.to_owned())));
    }
    let is_fence = |name: &str| name.ends_with("fence");
    uses.retain(|(at, name)| {
        enclosing(code, *at).is_some_and(|open| {
            // What is handed to a fence is reported as the fence.
            let doubled = !is_fence(name) && is_fence(&code[..open]);
            code[open..].starts_with('(') && !doubled
        })
    });
    uses.sort_unstable();
    uses
}

/// The names of the file's own constants that are orderings.
fn constants(source: &Source) -> std::collections::BTreeSet<&str> {
    let declared = source.words("const").filter_map(|at| {
        let (name, behind) = source.code[at + "const".len()..].split_once(':')?;
        let is_ordering = behind.trim_start().starts_with("Ordering");
        is_ordering.then(|| name.trim())
    });
    declared.collect()
}

/// Whether a `use` brings the bare name of something behind `path` into the file.
fn uses_path(source: &Source, path: &str, name: &str) -> bool {
    source.words("use").any(|at| {
        let import = source.code[at..].split(';').next().unwrap_or_default();
        import.split_once(path).is_some_and(|(_, rest)| {
            let names = if rest.starts_with('{') {
                &rest[..closing(rest, 0)]
            } else {
                rest
            };
            names.starts_with('*') || words(names, name).next().is_some()
        })
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
            while !source.comment_line(line).trim().is_empty() {
                line += 1;
            }
            let alone = source.code_line(line).trim().is_empty();
            alone && !in_function && at < block_end(&source.code, comment)
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
        let text = "use std::sync::atomic::Ordering;\nfn f() { x.load(Ordering::Relaxed); }\nfn g() {\n // ORDERING: mine.\n atomic::fence(Ordering::SeqCst);\n}\nfn h() { atomic::fence(Ordering::SeqCst); }";
        assert_eq!(
            listed(text),
            [
                "2: `Relaxed` without an ORDERING: comment",
                "7: `fence` without an ORDERING: comment"
            ]
        );
        let text = "use std::sync::atomic::Ordering::{Acquire, Release};\nfn f() { x.load(Acquire); y(Phase::Release) }";
        assert_eq!(listed(text), ["2: `Acquire` without an ORDERING: comment"]);
        let text = "const LAST: Ordering = Ordering::Release;\nfn f() { x.store(1, LAST); }";
        assert_eq!(listed(text), ["2: `LAST` without an ORDERING: comment"]);
    }

    #[test]
    fn an_argued_ordering_is_right() {
        for text in [
            "//! X.\n//!\n//! ORDERING: all is.\n\nuse x;\nfn g() { x.load(Ordering::Relaxed); }",
            "/// Loads.\n// ORDERING: pairs with `g`.\n#[inline]\nfn f() { x.load(Ordering::Acquire); }",
            "fn f() {\n // ORDERING: pairs with `g`.\n x.load(Ordering::Acquire);\n}",
            "impl X {\n // ORDERING: all of these\n // only count.\n\n fn f() { x.load(Ordering::Relaxed); }\n}",
            "#[cfg(test)]\nmod tests { fn f() { x.load(Ordering::SeqCst); } }\n// ORDERING: it.\nstatic X: X = X::new(Ordering::Acquire);",
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
    }

    #[test]
    fn a_file_off_the_list_argues_what_is_stronger_than_relaxed() {
        let relaxed = "fn f() { x.load(Ordering::Relaxed); }";
        assert_eq!(findings(relaxed, &[]), Vec::<String>::new());
        let found = findings(
            "use std::sync::atomic::{Ordering, fence};fn f() {\n x.load(Ordering::Acquire);\n fence(order);\n}",
            &[],
        );
        assert_eq!(
            found,
            [
                "2: `Acquire` without an ORDERING: comment",
                "3: `fence` without an ORDERING: comment"
            ]
        );
    }

    #[test]
    fn an_ordering_that_orders_nothing_needs_no_argument() {
        for text in [
            "fn f(a: u8) -> Ordering { a.cmp(b); Ordering::Less }\nfn fence(x: u8) {}",
            "fn f() { match o { Ordering::Acquire | Ordering::AcqRel => Ordering::Acquire, _ => o } }",
            "fn f() { if o != Ordering::SeqCst { g(Phase::Release) } }",
            "const X: Ordering = Ordering::SeqCst;",
            "fn f() { self.fence(command); let fence = gpu::fence(1); fence(2); }",
        ] {
            assert_eq!(findings(text, &[]), Vec::<String>::new(), "{text}");
        }
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
