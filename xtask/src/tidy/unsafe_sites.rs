//! `unsafe` has an address: the files on [`SITES`], each with its argument at the top and a `SAFETY:` line at each use.

use super::Finding;
use super::source::{Source, enclosing, words};
use super::tree::{File, Tree};

/// The files that may contain `unsafe`. A new one is a decision for review: what cannot be done without, and why here.
const SITES: &[&str] = &[
    "memory/rust-vmm/src/slice.rs",
    "memory/src/host/address.rs",
    "memory/src/host/at_once.rs",
    "memory/src/host/backing.rs",
    "memory/src/host/bytes.rs",
    "memory/src/host/copy.rs",
    "memory/src/host/mapping.rs",
    "memory/src/kept.rs",
    "memory/src/leaf.rs",
    "memory/src/mapping/block.rs",
    "memory/src/mapping/lent.rs",
    "memory/src/reentrancy.rs",
    "memory/src/region/bound.rs",
    "memory/src/span_map/counted.rs",
    "memory/tests/loom_counted.rs",
    "qom/grace/src/fork.rs",
    "qom/grace/src/membarrier.rs",
    "qom/grace/src/published.rs",
    "qom/grace/src/slot.rs",
    "qom/grace/src/this_thread.rs",
    "qom/grace/tests/denied.rs",
    "qom/grace/tests/fork.rs",
    "qom/grace/tests/loom_publish.rs",
    "qom/grace/tests/plain_atomics.rs",
    "qom/src/hold.rs",
    "qom/src/instance.rs",
    "tests/bench/src/cpu.rs",
    "tests/bench/src/heap.rs",
    "tests/bench/src/peers/memcpy.rs",
    "tests/bench/src/peers/vm_memory.rs",
    "tests/src/lent.rs",
    "tests/tests/fork.rs",
];

const LIST: &str = "do it in safe Rust or in one of the files on SITES in xtask/src/tidy/unsafe_sites.rs; a new file there needs a reason";
const UNLIST: &str = "take the file off SITES in xtask/src/tidy/unsafe_sites.rs";
const OPT_IN: &str = "put `#![expect(unsafe_code, reason = \"..\")]` below the header";
const ARGUE: &str =
    "say at the top, in the //! header or below it, why the whole file is sound, using that word";
const SAFETY: &str =
    "put `// SAFETY: why the conditions hold here` directly above, or at most 5 lines above";
const CONTRACT: &str = "document under `# Safety` what the caller must see to";

/// Checks every Rust file against the list.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    check_against(tree, SITES)
}

fn check_against(tree: &Tree, sites: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.rust() {
        let uses: Vec<usize> = source.words("unsafe").collect();
        let Some(&first) = uses.first() else { continue };
        if !sites.contains(&file.path.as_str()) {
            let what = "contains `unsafe` and is not on the list".into();
            findings.push(finding(file, source.line(first), what, LIST));
            continue;
        }
        // A test vouches for each use and has nothing else to argue.
        if !file.is_for_tests() {
            findings.extend(check_opening(file, source));
        }
        findings.extend(uses.iter().filter_map(|at| check_use(file, source, *at)));
    }
    for site in sites {
        let used = tree
            .rust()
            .any(|(file, source)| file.path == *site && source.words("unsafe").next().is_some());
        if !used {
            let what = "is on the list of files with `unsafe` and has none".into();
            findings.push(Finding {
                path: (*site).to_owned(),
                line: 0,
                what,
                remedy: UNLIST,
            });
        }
    }
    findings
}

/// Checks that a file says at its top that it uses `unsafe`, and why that is sound.
fn check_opening(file: &File, source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let code: String = source.code.split_whitespace().collect();
    if !code.contains("#![expect(unsafe_code,") {
        let what = "contains `unsafe` and does not say so at the top".into();
        findings.push(finding(file, 1, what, OPT_IN));
    }
    if !opening(source).to_lowercase().contains("sound") {
        findings.push(finding(
            file,
            1,
            "contains `unsafe` and no argument for it".into(),
            ARGUE,
        ));
    }
    findings
}

/// Checks one use of the word: what follows it says which comment it needs.
fn check_use(file: &File, source: &Source, at: usize) -> Option<Finding> {
    let line = source.line(at);
    let mut rest = source.code[at + "unsafe".len()..].trim_start();
    if let Some(behind) = rest.strip_prefix("extern") {
        // The ABI's name is a text, and so blanked.
        rest = behind.trim_start();
    }
    let attached = || source.comments_of(source.first_line_above(line)..=line);
    if let Some(behind) = rest.strip_prefix("fn") {
        let is_type = behind.trim_start().starts_with('(');
        let above = attached();
        // What implements a trait has its contract in the trait.
        let argued = is_type || above.contains("# Safety") || is_in_trait_impl(&source.code, at);
        return (!argued).then(|| {
            finding(
                file,
                line,
                "`unsafe fn` without a contract".into(),
                CONTRACT,
            )
        });
    }
    if rest.starts_with("trait") {
        let argued = attached().contains("# Safety");
        return (!argued).then(|| {
            finding(
                file,
                line,
                "`unsafe trait` without a contract".into(),
                CONTRACT,
            )
        });
    }
    let near = source.comments_of(line.saturating_sub(5).max(1)..=line);
    let argued = near.contains("SAFETY:") || attached().contains("SAFETY:");
    (!argued).then(|| {
        finding(
            file,
            line,
            "`unsafe` without a SAFETY: comment".into(),
            SAFETY,
        )
    })
}

/// The comments above the first item: the header, and what stands beside the opt-in.
fn opening(source: &Source) -> String {
    let items = [
        "use", "mod", "fn", "struct", "enum", "trait", "impl", "const", "static", "type",
    ];
    let first = items
        .iter()
        .filter_map(|word| source.words(word).next())
        .min();
    source.comments_of(1..=first.map_or(1, |at| source.line(at)))
}

/// Whether the innermost block around an offset is that of an `impl Trait for Type`.
fn is_in_trait_impl(code: &str, at: usize) -> bool {
    let Some(open) = enclosing(code, at) else {
        return false;
    };
    let head = code[..open]
        .rsplit(['{', '}', ';'])
        .next()
        .unwrap_or_default();
    words(head, "impl").next().is_some() && words(head, "for").next().is_some()
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

    const HEAD: &str = "//! It is sound.\n#![expect(unsafe_code, reason = \"a test\")]\n";

    fn findings(text: &str, sites: &[&str]) -> Vec<String> {
        let tree = Tree::of([("a.rs", text)]);
        check_against(&tree, sites)
            .into_iter()
            .map(|f| format!("{}: {}", f.line, f.what))
            .collect()
    }

    fn listed(body: &str) -> Vec<String> {
        findings(&format!("{HEAD}{body}"), &["a.rs"])
    }

    #[test]
    fn a_file_off_the_list_is_rejected() {
        assert_eq!(
            findings("fn f() { unsafe { g() } }", &[]),
            ["1: contains `unsafe` and is not on the list"]
        );
        let text = "//! unsafe\n// unsafe { }\nfn f() { g(\"unsafe\") } // unsafe_code";
        assert_eq!(findings(text, &[]), Vec::<String>::new());
    }

    #[test]
    fn a_file_on_the_list_must_need_it() {
        let none = ["0: is on the list of files with `unsafe` and has none"];
        assert_eq!(findings("//! Unsafe.\n", &["a.rs"]), none);
        assert_eq!(findings("", &["gone.rs"]), none);
    }

    #[test]
    fn a_listed_file_argues_at_its_top() {
        let found = findings(
            "//! It is.\n// SAFETY: yes.\nunsafe impl Send for X {}",
            &["a.rs"],
        );
        assert_eq!(
            found,
            [
                "1: contains `unsafe` and does not say so at the top",
                "1: contains `unsafe` and no argument for it"
            ]
        );
    }

    #[test]
    fn each_use_has_its_comment() {
        let without = ["3: `unsafe` without a SAFETY: comment"];
        assert_eq!(listed("fn f() { unsafe { g() } }"), without);
        assert_eq!(listed("unsafe impl Send for X {}"), without);
        assert_eq!(listed("unsafe extern \"C\" { fn g(); }"), without);
        assert_eq!(
            listed("unsafe fn f() {}"),
            ["3: `unsafe fn` without a contract"]
        );
        assert_eq!(
            listed("unsafe trait T {}"),
            ["3: `unsafe trait` without a contract"]
        );
        let far = "// SAFETY: too far.\n\n\n\n\n\nfn f() { unsafe { g() } }";
        assert_eq!(listed(far), ["9: `unsafe` without a SAFETY: comment"]);
    }

    #[test]
    fn an_argued_use_is_right() {
        for body in [
            "fn f() {\n // SAFETY: yes.\n let x =\n unsafe { g() };\n}",
            "// SAFETY: a long\n// 2\n// 3\n// 4\n// 5\n// 6\n// argument.\n#[x]\nunsafe impl Send for X {}",
            "/// # Safety\n///\n/// Be careful.\nunsafe fn f() {}",
            "impl T for X {\n unsafe fn f(&self) {}\n}",
            "// Sound.\nstruct X { f: unsafe fn(u8) }",
            "struct X { f: unsafe extern \"C\" fn(u8) }",
        ] {
            assert_eq!(listed(body), Vec::<String>::new(), "{body}");
        }
    }
}
