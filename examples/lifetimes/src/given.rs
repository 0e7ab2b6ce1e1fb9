//! Where Holdfast's column differs from the table that the discussion's summary gives, and why.
//!
//! All differences are in that column: the summary's sketch of it had neither aliases that are cut, nor regions that are withdrawn by themselves, nor init's
//! refusals. No cell of the C policies differs: `tests/given_table.rs` compares them all. The summary's `ok` says that everything is finalized without misuse, and
//! nothing of an order; here `ok` says that owners go after their regions as well. No cell differs by that: under the given policies an owner that goes first goes with a
//! worse fault or not at all, and the collector, whose cells are `order` for it, has no column there, but a remark that its order is arbitrary.

/// A cell that is not as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The row.
    pub row: &'static str,
    /// What the summary has.
    pub given: &'static str,
    /// What is played.
    pub played: &'static str,
    /// Why that is right.
    pub why: &'static str,
}

impl Difference {
    /// That of a row; none where the cell is as it was given, or none was.
    pub fn of(row: &str) -> Option<&'static Self> {
        DIFFERENT.iter().find(|known| known.row == row)
    }

    /// In a sentence.
    ///
    /// ```
    /// let difference = holdfast_lifetimes::given::Difference::of("5b").unwrap();
    /// assert!(difference.sentence().starts_with("UAF in the summary's table, ok here: "));
    /// ```
    pub fn sentence(&self) -> String {
        let Self {
            given, played, why, ..
        } = self;
        format!("{given} in the summary's table, {played} here: {why}")
    }
}

/// All of them.
pub const DIFFERENT: &[Difference] = &[
    Difference {
        row: "2c",
        given: "ok",
        played: "refused",
        why: "init opens nothing that reaches outside, and nothing is left; the sketch opened it and closed it again",
    },
    Difference {
        row: "5b",
        given: "UAF",
        played: "ok",
        why: "a withdrawal cuts the aliases to its regions, and the hidden one comes back as a hole",
    },
    Difference {
        row: "7b",
        given: "refused",
        played: "ok",
        why: "a region may be unparented alone: that withdraws it and closes mappings of it, and a transfer keeps it and its owner",
    },
    Difference {
        row: "7c",
        given: "ok",
        played: "refused",
        why: "who makes a region names its parent, which is its owner; no call makes it its own",
    },
    Difference {
        row: "9",
        given: "refused",
        played: "ok",
        why: "as 7b; to give it another parent is what is refused, in row 9'",
    },
    Difference {
        row: "10",
        given: "refused",
        played: "ok",
        why: "the withdrawal has taken the region out before the finalizer runs, and to do it again is a no-op, not an error",
    },
];
