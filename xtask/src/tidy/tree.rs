//! All files of the repository as text, read once for all rules.

use std::fs;

use super::source::Source;
use crate::workspace;

/// A text file of the repository.
#[derive(Debug)]
pub(super) struct File {
    /// The path, relative to the root, with `/` between its parts.
    pub(super) path: String,
    /// What is in it; empty where it is not UTF-8 text.
    pub(super) text: String,
    /// The same taken apart, where it is Rust.
    pub(super) source: Option<Source>,
}

/// The repository, or in a test of a rule a small one made up for it.
#[derive(Debug)]
pub(super) struct Tree {
    files: Vec<File>,
}

impl Tree {
    /// The repository itself.
    pub(super) fn of_workspace() -> Self {
        let root = workspace::root();
        Self::of(workspace::files().into_iter().map(|path| {
            let text = fs::read(root.join(&path))
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            (path, text.unwrap_or_default())
        }))
    }

    /// A tree of files given by path and text.
    pub(super) fn of<P: Into<String>, T: Into<String>>(
        files: impl IntoIterator<Item = (P, T)>,
    ) -> Self {
        let files = files.into_iter().map(|(path, text)| {
            let (path, text) = (path.into(), text.into());
            let is_rust = has_extension(&path, "rs");
            let source = is_rust.then(|| Source::new(&text));
            File { path, text, source }
        });
        Self {
            files: files.collect(),
        }
    }

    /// All files, in order of path.
    pub(super) fn files(&self) -> &[File] {
        &self.files
    }

    /// The Rust files.
    pub(super) fn rust(&self) -> impl Iterator<Item = (&File, &Source)> {
        self.files
            .iter()
            .filter_map(|file| Some((file, file.source.as_ref()?)))
    }

    /// A file by its path.
    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl File {
    /// Whether the whole file is there for tests, benchmarks or demonstrations.
    pub(super) fn is_for_tests(&self) -> bool {
        let in_folder = |part: &str| matches!(part, "tests" | "benches" | "examples");
        let mut parts = self.path.split('/').rev();
        let is_module = parts.next().is_some_and(|name| name == "tests.rs");
        is_module || parts.any(in_folder)
    }
}

/// Whether a path ends in `.extension`.
pub(super) fn has_extension(path: &str, extension: &str) -> bool {
    path.strip_suffix(extension)
        .is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_files_are_known_by_their_place() {
        let is = |path: &str| Tree::of([(path, "")]).files()[0].is_for_tests();
        assert!(is("tests/src/bin/stress.rs"));
        assert!(is("qom/src/tree/tests.rs"));
        assert!(is("qom/tests/loom_counts.rs"));
        assert!(is("memory/benches/access.rs"));
        assert!(!is("qom/src/tree.rs"));
        assert!(!is("qom/src/latests.rs"));
    }
}
