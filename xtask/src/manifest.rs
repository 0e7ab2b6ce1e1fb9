//! Reads as much of a `Cargo.toml` as the checks need: tables, keys, and values as text.
//!
//! This is no TOML parser: it knows comments, quoted keys, tables, arrays of tables, dotted keys, and values that span lines.
//! Multi-line strings are the one thing it would misread; the manifests here have none.

use std::fs;
use std::path::Path;

/// A manifest as a list of entries in file order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manifest {
    entries: Vec<Entry>,
}

/// One `key = value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The table it stands in, as written, without brackets and quotes: `target.cfg(loom).dependencies`.
    pub(crate) table: String,
    /// The key as written, without quotes: `qom.workspace`.
    pub(crate) key: String,
    /// The value as written, on one line.
    pub(crate) value: String,
    /// The line it begins on, from 1.
    pub(crate) line: usize,
}

impl Manifest {
    /// Reads a manifest from a file.
    ///
    /// # Errors
    ///
    /// A sentence for people if the file cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self::parse(&text))
    }

    /// Reads a manifest from its text. What it does not understand it leaves out.
    pub(crate) fn parse(text: &str) -> Self {
        let (mut entries, mut table) = (Vec::new(), String::new());
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let line = without_comment(line).trim();
            if line.starts_with('[') {
                table = unquoted(line.trim_matches(['[', ']']));
            } else if let Some((key, value)) = line.split_once('=') {
                let mut value = value.trim().to_owned();
                while !balanced(&value) {
                    let Some((_, more)) = lines.next() else { break };
                    value.push(' ');
                    value += without_comment(more).trim();
                }
                entries.push(Entry {
                    table: table.clone(),
                    key: unquoted(key),
                    value,
                    line: index + 1,
                });
            }
        }
        Self { entries }
    }

    /// All entries, in file order.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The text of a string value.
    pub(crate) fn string(&self, table: &str, key: &str) -> Option<String> {
        self.all_strings(table, key).into_iter().next()
    }

    /// The texts of a key in each of several tables of the same name (`[[bin]]`).
    pub(crate) fn all_strings(&self, table: &str, key: &str) -> Vec<String> {
        self.entries
            .iter()
            .filter(|entry| entry.table == table && entry.key == key)
            .flat_map(|entry| quoted(&entry.value))
            .collect()
    }

    /// The texts of an array of strings.
    pub(crate) fn strings(&self, table: &str, key: &str) -> Vec<String> {
        self.all_strings(table, key)
    }
}

impl Entry {
    /// A string inside an inline table: `field("package")` of `{ package = "x" }` is `x`.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let inner = self.value.strip_prefix('{')?;
        inner.split(',').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key.trim() == name).then(|| quoted(value).into_iter().next())?
        })
    }
}

fn without_comment(line: &str) -> &str {
    let mut open = None;
    for (at, c) in line.char_indices() {
        match (open, c) {
            (None, '#') => return &line[..at],
            (None, '"' | '\'') => open = Some(c),
            (Some(quote), c) if quote == c => open = None,
            _ => {}
        }
    }
    line
}

fn balanced(value: &str) -> bool {
    let count = |set: [char; 2]| value.chars().filter(|c| set.contains(c)).count();
    count(['[', '{']) <= count([']', '}'])
}

fn unquoted(key: &str) -> String {
    key.trim().replace(['"', '\''], "")
}

fn quoted(value: &str) -> Vec<String> {
    value
        .split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
[workspace]
members = [ # the crates
    "qom",
    "memory", # and this
]
[target.'cfg(loom)'.dependencies]
loom = { workspace = true }
[dependencies]
grace = { package = "qom-grace", path = "../qom/grace" }
qom.workspace = true
[[bin]]
name = "a#b"
[[bin]]
name = "c"
"#;

    #[test]
    fn tables_keys_and_values_are_read() {
        let manifest = Manifest::parse(TEXT);
        assert_eq!(manifest.strings("workspace", "members"), ["qom", "memory"]);
        assert_eq!(manifest.all_strings("bin", "name"), ["a#b", "c"]);
        assert_eq!(manifest.string("bin", "path"), None);
        let keys: Vec<(&str, &str, usize)> = manifest.entries()[1..4]
            .iter()
            .map(|e| (e.table.as_str(), e.key.as_str(), e.line))
            .collect();
        assert_eq!(
            keys,
            [
                ("target.cfg(loom).dependencies", "loom", 8),
                ("dependencies", "grace", 10),
                ("dependencies", "qom.workspace", 11),
            ]
        );
        assert_eq!(
            manifest.entries()[2].field("package").as_deref(),
            Some("qom-grace")
        );
        assert_eq!(manifest.entries()[2].field("version"), None);
    }
}
