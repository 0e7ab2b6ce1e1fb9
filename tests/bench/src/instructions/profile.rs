//! Where the instructions of an operation go, by function: callgrind's two files, subtracted.

use super::{file_of_run, total};
use crate::operations::Operation;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

/// Below this part of the whole a function is not named.
const LEAST: f64 = 0.01;

/// A table of functions, by what they execute themselves in one round.
///
/// # Errors
/// A sentence for people: valgrind did not do what it was asked.
pub fn profile(operation: &Operation) -> Result<String, String> {
    let (few, many) = (operation.rounds, operation.rounds * 3);
    let (less, more) = (file_of_run(operation, few)?, file_of_run(operation, many)?);
    let (before, after) = (by_function(&less), by_function(&more));
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^52")]
    let each = |more: u64, less: u64| more.saturating_sub(less) as f64 / (many - few) as f64;
    let whole = each(
        total(&more).unwrap_or_default(),
        total(&less).unwrap_or_default(),
    );
    let mut rows: Vec<(f64, &str)> = after
        .iter()
        .map(|(name, count)| {
            let less = before.get(name).copied().unwrap_or_default();
            (each(*count, less), name.as_str())
        })
        .filter(|(count, _)| *count >= whole * LEAST)
        .collect();
    rows.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut text = format!("{}: {whole:.1} instructions\n", operation.name);
    for (count, name) in rows {
        let _ = writeln!(
            text,
            "  {count:>10.1} {:>5.1} %  {name}",
            100.0 * count / whole
        );
    }
    Ok(text)
}

/// What each function executes itself, from a file of callgrind's.
///
/// In such a file a line `fn=(7) name` (later `fn=(7)`) begins the costs of a function; a line of costs is a place and a number; the one behind
/// `calls=` is what the called function cost, which is counted there.
fn by_function(text: &str) -> BTreeMap<String, u64> {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut costs = BTreeMap::new();
    let (mut function, mut is_call) = ("", false);
    for line in text.lines() {
        if let Some(rest) = line
            .strip_prefix("fn=")
            .or_else(|| line.strip_prefix("cfn="))
        {
            let (id, name) = rest
                .split_once(") ")
                .unwrap_or((rest.trim_end_matches(')'), ""));
            if !name.is_empty() {
                names.insert(id, name);
            }
            if line.starts_with("fn=") {
                function = names.get(id).copied().unwrap_or(id);
            }
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse().ok());
            if !std::mem::take(&mut is_call) {
                *costs.entry(short(function)).or_default() += cost.unwrap_or(0u64);
            }
        }
    }
    costs
}

/// A name without the hash that the compiler appends, and without callgrind's mark of recursion.
fn short(name: &str) -> String {
    let name = name.split_once('\'').map_or(name, |(name, _)| name);
    let hash = name.rfind("::h").filter(|at| name.len() - at == 19);
    name[..hash.unwrap_or(name.len())].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_those_of_the_function_itself() {
        let text = "events: Ir\nfn=(1) main\n10 5\ncfn=(2) a::work::h0123456789abcdef\ncalls=3 20\n10 700\n+1 2\nfn=(2)\n20 300\n* 400\nfn=(3) a::work'2\n4 1\ntotals: 708\n";
        let expected = [("a::work".to_owned(), 701), ("main".to_owned(), 7)];
        assert_eq!(by_function(text), BTreeMap::from(expected));
    }
}
