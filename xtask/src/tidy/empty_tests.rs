//! A test asserts something, or it guards nothing; and one that is ignored says why.
//!
//! A test counts as asserting where its body holds an assertion, an `expect` or a demand for an error, or calls a
//! function of the same package's tests that asserts.

use std::collections::BTreeSet;

use super::Finding;
use super::source::{Function, Source, is_word};
use super::tree::{File, Tree};

const ASSERT: &str = "assert what a bug would break; returning without a panic is not enough";
const REASON: &str = "write #[ignore = \"why, and how to run it\"]";

/// Checks every test of the repository.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let asserting = asserting_functions(tree);
    let mut findings = Vec::new();
    for (file, source) in tree.rust() {
        for (at, attribute) in source.code.match_indices("#[test]") {
            let Some(test) = source.functions().iter().find(|f| f.at > at) else {
                continue;
            };
            let from = source.first_line_above(source.line(test.at));
            let attributes: String = (from..=source.line(test.at))
                .map(|line| source.code_line(line))
                .collect();
            let between = &source.code[at + attribute.len()..test.at];
            let panics =
                attributes.contains("#[should_panic") || between.contains("#[should_panic");
            let body = &source.code[test.body.clone()];
            let calls =
                |name: &str| asserting.contains(&(package(&file.path).to_owned(), name.to_owned()));
            if !panics && !asserts(body) && !demands(body) && !called(body).any(calls) {
                let what = format!("the test `{}` asserts nothing", test.name);
                findings.push(finding(file, source.line(test.at), what, ASSERT));
            }
        }
        findings.extend(ignored_without_reason(file, source));
    }
    findings
}

fn ignored_without_reason(file: &File, source: &Source) -> Vec<Finding> {
    let attributes = source.code.match_indices("#[ignore").map(|(at, _)| at);
    attributes
        .filter(|at| {
            // The reason is a text, which only the file itself still has.
            let attribute = file.text[*at..].split(']').next().unwrap_or_default();
            let reason = attribute.split_once('=').map_or("", |(_, reason)| reason);
            reason.trim_matches([' ', '"']).is_empty()
        })
        .map(|at| {
            finding(
                file,
                source.line(at),
                "a test is ignored without a reason".into(),
                REASON,
            )
        })
        .collect()
}

/// The functions in test code that assert, themselves or through one another: package and name.
fn asserting_functions(tree: &Tree) -> BTreeSet<(String, String)> {
    let all: Vec<(&str, &Function, &str)> = tree
        .rust()
        .flat_map(|(file, source)| {
            let for_tests = file.is_for_tests();
            source
                .functions()
                .iter()
                .filter(move |f| for_tests || source.is_in_tests(f.at))
                // What makes things may check them, but that is not what a test is for.
                .filter(|f| f.name != "new" && f.name != "default")
                .map(|f| (package(&file.path), f, &source.code[f.body.clone()]))
        })
        .collect();
    let mut asserting = BTreeSet::new();
    loop {
        let before = asserting.len();
        for (package, function, body) in &all {
            let calls = |name: &str| asserting.contains(&((*package).to_owned(), name.to_owned()));
            if asserts(body) || called(body).any(calls) {
                asserting.insert(((*package).to_owned(), function.name.clone()));
            }
        }
        if asserting.len() == before {
            return asserting;
        }
    }
}

/// The folder of the package that a file belongs to.
fn package(path: &str) -> &str {
    let ends = ["/src/", "/tests/", "/benches/", "/examples/"].map(|folder| path.find(folder));
    ends.into_iter()
        .flatten()
        .min()
        .map_or(path, |end| &path[..end])
}

/// Whether a body asserts in its own words.
fn asserts(body: &str) -> bool {
    names(body).any(|(name, behind)| {
        let is_assertion = name.starts_with("assert") || name.starts_with("prop_assert");
        let is_call =
            behind.starts_with('!') || behind.starts_with('(') || behind.starts_with("::<");
        (is_assertion && is_call)
            || (matches!(name, "panic" | "unreachable") && behind.starts_with('!'))
            || (matches!(name, "unwrap_err" | "expect_err") && behind.starts_with('('))
    })
}

/// Whether a body demands a success by name.
fn demands(body: &str) -> bool {
    names(body).any(|(name, behind)| name == "expect" && behind.starts_with('('))
}

/// The functions and methods that a body calls.
fn called(body: &str) -> impl Iterator<Item = &str> {
    names(body)
        .filter(|(_, behind)| behind.starts_with('(') || behind.starts_with("::<"))
        .map(|(name, _)| name)
}

/// The names in a body, each with what is behind it.
fn names(body: &str) -> impl Iterator<Item = (&str, &str)> {
    let bytes = body.as_bytes();
    let is_start = move |at: &usize| is_word(bytes[*at]) && (*at == 0 || !is_word(bytes[at - 1]));
    (0..body.len()).filter(is_start).map(move |at| {
        let length = bytes[at..].iter().take_while(|b| is_word(**b)).count();
        (&body[at..at + length], &body[at + length..])
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

    fn findings(text: &str) -> Vec<String> {
        check(&Tree::of([("q/tests/a.rs", text)]))
            .into_iter()
            .map(|f| format!("{}: {}", f.line, f.what))
            .collect()
    }

    #[test]
    fn a_test_without_an_assertion_is_rejected() {
        let nothing = ["2: the test `t` asserts nothing"];
        assert_eq!(findings("#[test]\nfn t() {}"), nothing);
        assert_eq!(
            findings("#[test]\nfn t() { f().unwrap(); /* assert!(x) */ g(\"assert!(x)\"); }"),
            nothing
        );
        assert_eq!(
            findings("#[test]\nfn t() -> Result<(), E> { f()?; Ok(()) }"),
            nothing
        );
        assert_eq!(
            findings("proptest! { #[test]\nfn t(a in 0..3) { prop_assume!(a > 1); f(a); } }"),
            nothing
        );
        assert_eq!(
            findings("#[test]\nfn t() { make() }\nfn make() { f().expect(\"made\"); }"),
            nothing
        );
        assert_eq!(
            findings("#[test]\nfn t() { X::new() }\nimpl X { fn new() { assert!(y) } }"),
            nothing
        );
    }

    #[test]
    fn a_test_that_asserts_is_right() {
        for text in [
            "#[test]\nfn t() { assert_eq!(1, 1); }",
            "#[test]\nfn t() { f().unwrap_err(); }",
            "#[test]\nfn t() { f().expect(\"it works\"); }",
            "#[test]\n#[should_panic(expected = \"x\")]\nfn t() { f(); }",
            "#[should_panic]\n#[test]\nfn t() { f(); }",
            "proptest! { #[test]\nfn t(a in 0..3) { prop_assert!(a < 3); } }",
            "#[test]\nfn t() { outer(1) }\nfn outer(x: u8) { x.inner() }\nfn inner(self) { assert!(x) }",
        ] {
            assert_eq!(findings(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn an_assertion_in_the_code_under_test_does_not_count() {
        let text = "fn f() { assert!(x) }\n#[cfg(test)]\nmod tests { #[test]\nfn t() { f() } }";
        let found = check(&Tree::of([("q/src/a.rs", text)]));
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn an_ignored_test_says_why() {
        let ignored =
            |attribute| findings(&format!("{attribute}\n#[test]\nfn t() {{ assert!(x) }}"));
        assert_eq!(
            ignored("#[ignore]"),
            ["1: a test is ignored without a reason"]
        );
        assert_eq!(
            ignored("#[ignore = \"\"]"),
            ["1: a test is ignored without a reason"]
        );
        assert_eq!(
            ignored("#[ignore = \"takes an hour\"]"),
            Vec::<String>::new()
        );
    }
}
