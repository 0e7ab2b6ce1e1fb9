//! The direction of imports: a crate may import those to its right in the map, never one to its left.
//!
//! Read from the manifests, `[dev-dependencies]` and `[build-dependencies]` included: a test that imports upwards would
//! make a layer untestable alone. A crate nested under a layer is imported by that layer or by those above it.

use super::Finding;
use super::tree::{File, Tree};
use crate::manifest::{Entry, Manifest};

/// Our crates with their folders, lowest first: each may import any before it and none behind it.
///
/// ```text
/// examples, tests → hw-virtio-gpu → qdev → memory → qom
///                                   memory/rust-vmm → memory    qom → qom/grace
/// ```
const ORDER: &[(&str, &str)] = &[
    ("qom-grace", "qom/grace"),
    ("qom", "qom"),
    ("memory", "memory"),
    ("memory-rust-vmm", "memory/rust-vmm"),
    ("qdev", "qdev"),
    ("hw-virtio-gpu", "hw-virtio-gpu"),
    ("holdfast-examples", "examples"),
    ("holdfast-lifetimes", "examples/lifetimes"),
    ("holdfast-tests", "tests"),
    ("holdfast-bench", "tests/bench"),
];

/// The crate that imports nothing at all, so that it builds while the others do not.
const ALONE: (&str, &str) = ("xtask", "xtask");

const PLACE: &str =
    "give the crate its place in ORDER in xtask/src/tidy/layers.rs and in ARCHITECTURE.md";
const TURN: &str = "move what is needed down to the lower crate, or hand it down as a trait that the upper crate implements";
const STAY_ALONE: &str = "do without: xtask depends on nothing, so that it builds in a second and while the crates do not compile";
const MEMBER: &str = "name the folder in [workspace] members of the root Cargo.toml";

/// Checks every manifest.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let root = tree
        .file("Cargo.toml")
        .map_or_else(Manifest::default, |f| Manifest::parse(&f.text));
    let members = root.strings("workspace", "members");
    let mut findings = Vec::new();
    for file in tree.files() {
        let Some(folder) = file.path.strip_suffix("/Cargo.toml") else {
            continue;
        };
        let manifest = Manifest::parse(&file.text);
        let name = manifest.string("package", "name").unwrap_or_default();
        if !members.iter().any(|member| member == folder) {
            findings.push(finding(
                file,
                0,
                format!("`{name}` is no member of the workspace"),
                MEMBER,
            ));
        }
        let place = (name.as_str(), folder);
        let rank = ORDER.iter().position(|known| *known == place);
        if rank.is_none() && place != ALONE {
            findings.push(finding(
                file,
                0,
                format!("`{name}` in {folder} has no place in the map"),
                PLACE,
            ));
        }
        for entry in manifest.entries() {
            let Some(dependency) = dependency(entry, &root) else {
                continue;
            };
            if place == ALONE {
                let what = format!("`xtask` imports `{dependency}`");
                findings.push(finding(file, entry.line, what, STAY_ALONE));
                continue;
            }
            let target = ORDER.iter().position(|(known, _)| *known == dependency);
            match (rank, target) {
                (Some(rank), Some(target)) if target >= rank => {
                    let what = format!("`{name}` imports `{dependency}`, which is not below it");
                    findings.push(finding(file, entry.line, what, TURN));
                }
                (_, None) if dependency == ALONE.0 => {
                    let what = format!("`{name}` imports `xtask`");
                    findings.push(finding(file, entry.line, what, TURN));
                }
                (_, None) if entry.field("path").is_some() => {
                    let what = format!(
                        "`{dependency}` is imported by its path and has no place in the map"
                    );
                    findings.push(finding(file, entry.line, what, PLACE));
                }
                _ => {}
            }
        }
    }
    findings
}

fn finding(file: &File, line: usize, what: String, remedy: &'static str) -> Finding {
    Finding {
        path: file.path.clone(),
        line,
        what,
        remedy,
    }
}

/// The package that an entry of a manifest imports, if it does: `[dependencies] x = ..` as well as `[dependencies.x] .. = ..`.
fn dependency(entry: &Entry, root: &Manifest) -> Option<String> {
    let is_list = |table: &str| {
        let last = table.rsplit('.').next().unwrap_or(table);
        matches!(
            last,
            "dependencies" | "dev-dependencies" | "build-dependencies"
        )
    };
    let key = entry.key.split('.').next().unwrap_or(&entry.key);
    let alias = if is_list(&entry.table) {
        key
    } else {
        let (list, alias) = entry.table.rsplit_once('.')?;
        // In a table of its own each import has several entries; one tells.
        let tells = matches!(key, "package" | "path" | "workspace" | "version" | "git");
        (is_list(list) && tells).then_some(alias)?
    };
    let renamed = entry
        .field("package")
        .or_else(|| (key == "package").then(|| entry.value.trim_matches('"').to_owned()));
    let inherited = || {
        let shared = root
            .entries()
            .iter()
            .find(|e| e.table == "workspace.dependencies" && e.key == alias)?;
        shared.field("package")
    };
    Some(
        renamed
            .or_else(inherited)
            .unwrap_or_else(|| alias.to_owned()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "[workspace]\nmembers = [\"qom\", \"memory\", \"xtask\", \"gpu\"]\n\
        [workspace.dependencies]\nmem = { package = \"memory\", path = \"memory\" }\n";

    fn findings(folder: &str, name: &str, more: &str) -> Vec<String> {
        let manifest = format!("[package]\nname = \"{name}\"\n{more}");
        let tree = Tree::of([
            ("Cargo.toml".to_owned(), ROOT.to_owned()),
            (format!("{folder}/Cargo.toml"), manifest),
        ]);
        check(&tree)
            .into_iter()
            .map(|f| format!("{}: {}", f.line, f.what))
            .collect()
    }

    #[test]
    fn an_import_upwards_is_rejected_however_it_is_written() {
        for import in [
            "[dependencies]\nmemory = { workspace = true }",
            "[dependencies]\nmemory.workspace = true",
            "[dev-dependencies]\nmemory = { path = \"../memory\" }",
            "[build-dependencies]\nm = { path = \"../memory\", package = \"memory\" }",
            "[target.'cfg(loom)'.dependencies]\nmem = { workspace = true }",
            "[dependencies.memory]\nworkspace = true",
            "[dependencies]\nqom = { path = \".\" }",
            "[dependencies]\nxtask = { path = \"../xtask\" }",
        ] {
            let found = findings("qom", "qom", import);
            assert_eq!(found.len(), 1, "{import}: {found:?}");
            assert!(found[0].starts_with("4: `qom` imports"), "{found:?}");
        }
    }

    #[test]
    fn an_import_downwards_is_right() {
        let imports = "[dependencies]\nqom = { workspace = true }\nlibc = { workspace = true }\nqom-grace.workspace = true\n";
        assert_eq!(findings("memory", "memory", imports), Vec::<String>::new());
    }

    #[test]
    fn crates_that_the_map_does_not_know_are_rejected() {
        assert_eq!(
            findings("gpu", "gpu", ""),
            ["0: `gpu` in gpu has no place in the map"]
        );
        assert_eq!(
            findings(
                "memory",
                "memory",
                "[dependencies]\nother = { path = \"../other\" }"
            ),
            ["4: `other` is imported by its path and has no place in the map"]
        );
        assert_eq!(
            findings("qdev", "qdev", ""),
            ["0: `qdev` is no member of the workspace"]
        );
    }

    #[test]
    fn xtask_imports_nothing() {
        assert_eq!(
            findings("xtask", "xtask", "[dependencies]\nlibc = \"1\""),
            ["4: `xtask` imports `libc`"]
        );
        assert_eq!(findings("xtask", "xtask", ""), Vec::<String>::new());
    }
}
