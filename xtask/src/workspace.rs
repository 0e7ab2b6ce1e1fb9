//! The workspace on disk: where it is, which packages it has, and which programs, tests and benchmarks they hold.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::manifest::Manifest;

/// A package of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    /// The name in its manifest.
    pub(crate) name: String,
    /// Its folder, absolute.
    pub(crate) folder: PathBuf,
    manifest: Manifest,
}

/// A program, test, example or benchmark of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The package's name, for `cargo -p`.
    pub(crate) package: String,
    /// The target's name, for `cargo --bin` and the like.
    pub(crate) name: String,
}

/// The workspace's root: where cargo says this package is, or else where it was when it was built.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent()
        .map_or_else(|| here.clone(), Path::to_path_buf)
}

/// The folder that builds go to: `target`, unless the caller has moved it.
pub(crate) fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The packages, in the root manifest's order.
///
/// # Errors
///
/// A sentence for people if a manifest cannot be read.
pub(crate) fn packages() -> Result<Vec<Package>, String> {
    let root = root();
    Manifest::read(&root.join("Cargo.toml"))?
        .strings("workspace", "members")
        .into_iter()
        .map(|member| {
            let folder = root.join(member);
            let manifest = Manifest::read(&folder.join("Cargo.toml"))?;
            let name = manifest
                .string("package", "name")
                .ok_or_else(|| format!("{}: no package name", folder.display()))?;
            Ok(Package {
                name,
                folder,
                manifest,
            })
        })
        .collect()
}

/// Every target of a kind in the workspace whose name satisfies `wanted`, in order of package and name.
///
/// # Errors
///
/// As [`packages`].
pub(crate) fn targets(kind: Kind, wanted: impl Fn(&str) -> bool) -> Result<Vec<Target>, String> {
    let mut found = Vec::new();
    for package in packages()? {
        found.extend(
            package
                .targets(kind)
                .into_iter()
                .filter(|name| wanted(name))
                .map(|name| Target {
                    package: package.name.clone(),
                    name,
                }),
        );
    }
    Ok(found)
}

/// A kind of target, as cargo finds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `src/bin`
    Bin,
    /// `examples`
    Example,
    /// `tests`
    Test,
    /// `benches`
    Bench,
}

impl Kind {
    fn place(self) -> (&'static str, &'static str) {
        match self {
            Kind::Bin => ("bin", "src/bin"),
            Kind::Example => ("example", "examples"),
            Kind::Test => ("test", "tests"),
            Kind::Bench => ("bench", "benches"),
        }
    }
}

impl Package {
    /// The names of the package's targets of a kind: those in the manifest, and those that cargo finds by their place.
    pub(crate) fn targets(&self, kind: Kind) -> Vec<String> {
        let (section, folder) = kind.place();
        let mut names = self.manifest.all_strings(section, "name");
        let placed: Vec<String> = self.manifest.all_strings(section, "path");
        for entry in fs::read_dir(self.folder.join(folder))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            let is_target =
                path.extension() == Some(OsStr::new("rs")) || path.join("main.rs").is_file();
            // A file that the manifest places already has its name from there.
            let named = placed.iter().any(|p| path.starts_with(self.folder.join(p)));
            if let (true, false, Some(stem)) = (is_target, named, path.file_stem()) {
                names.push(stem.to_string_lossy().into_owned());
            }
        }
        names.sort();
        names.dedup();
        names
    }
}

/// The files that are, or are about to be, in the repository: paths relative to the root with `/` between their parts.
///
/// Git is asked; without it (an unpacked archive) everything is taken except build output and hidden folders.
pub(crate) fn files() -> Vec<String> {
    let root = root();
    let listed = Command::new("git")
        .current_dir(&root)
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let mut files: Vec<String> = match listed {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => output
            .stdout
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .map(|name| String::from_utf8_lossy(name).into_owned())
            // A file that is removed but not yet committed is still listed.
            .filter(|name| root.join(name).is_file())
            .collect(),
        _ => walk(&root),
    };
    files.sort();
    files.dedup();
    files
}

fn walk(root: &Path) -> Vec<String> {
    let (mut files, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            let path = folder.join(&name);
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let hidden =
                name.as_encoded_bytes().starts_with(b".") && name != ".ci" && name != ".cargo";
            match is_folder {
                true if name != "target" && !hidden => folders.push(path),
                false => files.push(path.to_string_lossy().replace('\\', "/")),
                true => {}
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_are_found_by_name() {
        let names: Vec<String> = packages()
            .expect("readable manifests")
            .into_iter()
            .map(|p| p.name)
            .collect();
        for name in [
            "qom",
            "qom-grace",
            "memory",
            "qdev",
            "hw-virtio-gpu",
            "xtask",
        ] {
            assert!(names.iter().any(|n| n == name), "{name} not in {names:?}");
        }
    }

    #[test]
    fn git_and_the_walk_agree_on_source_files() {
        let rust = |files: Vec<String>| -> Vec<String> {
            let mut rust: Vec<_> = files
                .into_iter()
                .filter(|f| Path::new(f).extension() == Some(OsStr::new("rs")))
                .collect();
            rust.sort();
            rust
        };
        let listed = rust(files());
        assert!(
            listed.contains(&"xtask/src/main.rs".to_owned()),
            "{listed:?}"
        );
        let walked = rust(walk(&root()));
        assert!(
            listed.iter().all(|f| walked.contains(f)),
            "git lists more than is there"
        );
    }

    #[test]
    fn targets_come_from_the_manifest_and_from_their_place() {
        let folder = std::env::temp_dir().join(format!("xtask-{}-targets", std::process::id()));
        fs::create_dir_all(folder.join("src/bin/deep")).expect("a folder");
        for file in ["plain.rs", "moved.rs", "deep/main.rs", "notes.txt"] {
            fs::write(folder.join("src/bin").join(file), "").expect("a file");
        }
        let manifest = "[[bin]]\nname = \"other\"\npath = \"src/bin/moved.rs\"\n";
        let package = Package {
            name: "p".into(),
            folder: folder.clone(),
            manifest: Manifest::parse(manifest),
        };
        assert_eq!(package.targets(Kind::Bin), ["deep", "other", "plain"]);
        assert_eq!(package.targets(Kind::Bench), Vec::<String>::new());
        fs::remove_dir_all(folder).expect("the folder goes");
    }
}
