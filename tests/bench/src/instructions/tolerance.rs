//! When counts are the same: a little more or less is the weather, much less is worth keeping, more is a slow-down.

use std::collections::BTreeMap;

/// By how many instructions a count may differ in any case: a few make a large part of a short operation.
const SLACK: f64 = 1.5;

/// Counts, and what made the code that was counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Counts {
    /// The compiler, by its own words.
    pub rustc: String,
    /// Instructions of one round, by operation.
    pub operations: BTreeMap<String, f64>,
}

impl Counts {
    /// The lesser of both for each operation: what other threads make it wait for only adds.
    #[must_use]
    pub fn or_less(mut self, again: Self) -> Self {
        for (name, count) in again.operations {
            let entry = self.operations.entry(name).or_insert(count);
            *entry = entry.min(count);
        }
        self
    }
}

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Another compiler: the counts say nothing about the code.
    OtherCompiler {
        /// That of the kept counts.
        kept: String,
        /// The present one.
        now: String,
    },
    /// Everything within the tolerance, but for what is listed: that has become less.
    Same {
        /// In words.
        better: Vec<String>,
    },
    /// Something takes more, is new, or is gone.
    Different {
        /// In words.
        worse: Vec<String>,
    },
}

/// Compares; `tolerance` says of each operation by how much, as a part of the kept count, it may differ.
pub(super) fn compare(kept: &Counts, now: &Counts, tolerance: impl Fn(&str) -> f64) -> Verdict {
    if kept.rustc != now.rustc {
        return Verdict::OtherCompiler {
            kept: kept.rustc.clone(),
            now: now.rustc.clone(),
        };
    }
    let (mut better, mut worse) = (Vec::new(), Vec::new());
    for (name, count) in &now.operations {
        let Some(before) = kept.operations.get(name) else {
            worse.push(format!("{name}: {count:.1}, and no count is kept"));
            continue;
        };
        let allowed = (before * tolerance(name)).max(SLACK);
        let told = format!(
            "{name}: {count:.1} instead of {before:.1} ({:+.1} %)",
            (count / before - 1.0) * 100.0
        );
        if count - before > allowed {
            worse.push(told);
        } else if before - count > allowed {
            better.push(told);
        }
    }
    let gone = kept
        .operations
        .keys()
        .filter(|name| !now.operations.contains_key(*name));
    worse.extend(gone.map(|name| format!("{name}: a count is kept, and nothing is counted")));
    if worse.is_empty() {
        Verdict::Same { better }
    } else {
        Verdict::Different { worse }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(kept: &Counts, now: &Counts) -> Verdict {
        super::compare(kept, now, |name| if name == "loose" { 0.06 } else { 0.03 })
    }

    #[test]
    fn each_operation_has_its_own_tolerance() {
        let kept = counts(&[("loose", 1000.0), ("tight", 1000.0)]);
        let more = counts(&[("loose", 1050.0), ("tight", 1050.0)]);
        let Verdict::Different { worse } = compare(&kept, &more) else {
            panic!("five percent more of what has three went unseen");
        };
        assert!(
            worse.len() == 1 && worse[0].starts_with("tight"),
            "{worse:?}"
        );
    }

    fn counts(list: &[(&str, f64)]) -> Counts {
        Counts {
            rustc: "rustc 1".to_owned(),
            operations: list.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect(),
        }
    }

    #[test]
    fn three_percent_more_is_the_same_and_four_are_not() {
        let kept = counts(&[("a", 1000.0), ("b", 1000.0)]);
        let close = counts(&[("a", 1029.0), ("b", 971.0)]);
        assert_eq!(compare(&kept, &close), Verdict::Same { better: vec![] });
        let Verdict::Different { worse } = compare(&kept, &counts(&[("a", 1040.0), ("b", 1000.0)]))
        else {
            panic!("four percent more went unseen");
        };
        assert_eq!(worse, ["a: 1040.0 instead of 1000.0 (+4.0 %)"]);
    }

    #[test]
    fn much_less_is_told_and_is_no_failure() {
        let verdict = compare(&counts(&[("a", 100.0)]), &counts(&[("a", 80.0)]));
        let Verdict::Same { better } = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!(better.len(), 1);
    }

    #[test]
    fn an_instruction_of_twenty_is_no_slow_down_and_two_are() {
        let kept = counts(&[("a", 20.0)]);
        let is_same = |count| {
            matches!(
                compare(&kept, &counts(&[("a", count)])),
                Verdict::Same { .. }
            )
        };
        assert!(is_same(21.0) && !is_same(22.0));
    }

    #[test]
    fn of_two_counts_the_lesser_counts() {
        let less = counts(&[("a", 5.0), ("b", 7.0)]).or_less(counts(&[("a", 6.0), ("b", 6.0)]));
        assert_eq!(less, counts(&[("a", 5.0), ("b", 6.0)]));
    }

    #[test]
    fn new_and_missing_operations_are_differences() {
        let (one, two) = (counts(&[("a", 1.0)]), counts(&[("b", 1.0)]));
        let Verdict::Different { worse } = compare(&one, &two) else {
            panic!("they went unseen");
        };
        assert_eq!(worse.len(), 2);
    }

    #[test]
    fn another_compiler_makes_no_verdict() {
        let (kept, mut now) = (counts(&[("a", 1.0)]), counts(&[("a", 9.0)]));
        now.rustc = "rustc 2".to_owned();
        let verdict = compare(&kept, &now);
        assert!(matches!(verdict, Verdict::OtherCompiler { .. }));
    }
}
