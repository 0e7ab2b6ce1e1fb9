//! A test asserts something, or it guards nothing; and one that is ignored says why.
//!
//! A test counts as asserting where its body holds an assertion, an `expect` or a demand for an error, or calls a
//! function of the same package's tests that asserts. A function without a body but with a bound on its type asserts at
//! compile time. Where a macro of the package makes the tests out of functions, those functions are looked at.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Finding;
use super::source::{Function, Source, closing, is_word, words};
use super::tree::{File, Tree};

const ASSERT: &str = "assert what a bug would break; returning without a panic is not enough";
const REASON: &str = "write #[ignore = \"why, and how to run it\"]";

/// Checks every test of the repository.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let asserting = asserting_functions(tree);
    let makers = makers(tree);
    let mut findings = Vec::new();
    for (file, source) in tree.rust() {
        let package = package(&file.path);
        for test in tests(source, package, &makers) {
            let body = &source.code[test.body.clone()];
            let calls = |name: &str| asserting.contains(&(package.to_owned(), name.to_owned()));
            if !panics(source, test) && !asserts(body) && !demands(body) && !called(body).any(calls)
            {
                let what = format!("the test `{}` asserts nothing", test.name);
                findings.push(finding(file, source.line(test.at), what, ASSERT));
            }
        }
        findings.extend(ignored_without_reason(file, source));
    }
    findings
}

/// The tests of a file: those with the attribute, and the functions handed to a macro that makes tests of them.
fn tests<'a>(
    source: &'a Source,
    package: &str,
    makers: &BTreeSet<(String, String)>,
) -> Vec<&'a Function> {
    let code = &source.code;
    let templates: Vec<Range<usize>> = macros(source)
        .filter(|(_, body)| takes_bodies(&code[body.clone()]))
        .map(|(_, body)| body)
        .collect();
    let marked = code.match_indices("#[test]").filter_map(|(at, _)| {
        let is_template = templates.iter().any(|body| body.contains(&at));
        source
            .functions()
            .iter()
            .find(|f| f.at > at && !is_template)
    });
    let handed = makers
        .iter()
        .filter(|(owner, _)| owner == package)
        .flat_map(|(_, maker)| {
            words(code, maker).filter_map(move |at| {
                let behind = code[at + maker.len()..].strip_prefix('!')?;
                let open = code.len() - behind.trim_start().len();
                behind
                    .trim_start()
                    .starts_with(['{', '(', '['])
                    .then(|| open..closing(code, open))
            })
        });
    let made = handed.flat_map(|list| {
        // The functions inside another one's body are no tests of their own.
        let mut end = list.start;
        source.functions().iter().filter(move |f| {
            let outermost = list.contains(&f.at) && f.at >= end;
            if outermost {
                end = f.body.end;
            }
            outermost
        })
    });
    marked.chain(made).collect()
}

/// The macros that make tests out of functions that they are handed: package and name.
fn makers(tree: &Tree) -> BTreeSet<(String, String)> {
    let mut makers = BTreeSet::new();
    for (file, source) in tree.rust() {
        for (name, body) in macros(source) {
            let body = &source.code[body];
            if body.contains("#[test]") && takes_bodies(body) {
                makers.insert((package(&file.path).to_owned(), name.to_owned()));
            }
        }
    }
    makers
}

/// Whether a macro takes the bodies of functions.
fn takes_bodies(definition: &str) -> bool {
    definition.contains(":block")
}

/// The macros that a file defines: name and definition.
fn macros(source: &Source) -> impl Iterator<Item = (&str, Range<usize>)> {
    source.words("macro_rules").filter_map(|at| {
        let open = at + source.code[at..].find('{')?;
        let name = source.code[at..open].split('!').nth(1)?.trim();
        Some((name, open..closing(&source.code, open)))
    })
}

/// Whether a test is expected to panic.
fn panics(source: &Source, test: &Function) -> bool {
    let line = source.line(test.at);
    let attributes = (source.first_line_above(line)..=line).map(|line| source.code_line(line));
    attributes.collect::<String>().contains("#[should_panic")
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
    let all: Vec<(&str, &Function, &Source)> = tree
        .rust()
        .flat_map(|(file, source)| {
            let for_tests = file.is_for_tests();
            source
                .functions()
                .iter()
                .filter(move |f| for_tests || source.is_in_tests(f.at))
                // What makes things may check them, but that is not what a test is for.
                .filter(|f| f.name != "new" && f.name != "default")
                .map(move |f| (package(&file.path), f, source))
        })
        .collect();
    let mut asserting = BTreeSet::new();
    loop {
        let before = asserting.len();
        for (package, function, source) in &all {
            let body = &source.code[function.body.clone()];
            let calls = |name: &str| asserting.contains(&((*package).to_owned(), name.to_owned()));
            let binds = || {
                body.trim_matches(['{', '}', ' ', '\n']).is_empty() && has_bound(source, function)
            };
            if asserts(body) || called(body).any(calls) || binds() {
                asserting.insert(((*package).to_owned(), function.name.clone()));
            }
        }
        if asserting.len() == before {
            return asserting;
        }
    }
}

/// Whether a function asks something of a type parameter: `fn sendable<T: Send>()`.
fn has_bound(source: &Source, function: &Function) -> bool {
    let signature = &source.code[function.at..function.body.start];
    let generics = signature.split('(').next().unwrap_or_default();
    generics.contains('<') && generics.contains(':')
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
    fn functions_that_a_macro_makes_tests_of_are_looked_at() {
        let maker = "macro_rules! both { ($(fn $name:ident() $body:block)*) => {$( fn run() $body\n #[test]\nfn one() { run() } )*} }\n";
        let used = |body| findings(&format!("{maker}both! {{\n fn t() {{ {body} }}\n}}"));
        assert_eq!(
            used("f(); fn inner() {}"),
            ["5: the test `t` asserts nothing"]
        );
        assert_eq!(used("assert!(f());"), Vec::<String>::new());
    }

    #[test]
    fn a_bound_on_a_type_is_an_assertion() {
        let with = |signature| {
            findings(&format!(
                "#[test]\nfn t() {{ sent::<X>(); {signature} {{}} }}"
            ))
        };
        assert_eq!(with("fn sent<T: Send>()"), Vec::<String>::new());
        assert_eq!(with("fn sent<T>()"), ["2: the test `t` asserts nothing"]);
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
