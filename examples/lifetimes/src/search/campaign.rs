//! Searches under several policies, two at a time.

use super::{Breadth, Found, Search, Size};
use crate::abreast::two_at_a_time;
use crate::policy::{Policy, Rules};
use crate::state::Release;
use std::time::{Duration, Instant};

/// What a search under a policy came to.
#[derive(Clone, Debug)]
pub struct Searched {
    /// The policy.
    pub policy: Policy,
    /// How far it went.
    pub size: Size,
    /// What it found.
    pub found: Found,
    /// How long it took.
    pub time: Duration,
}

/// What is heard of searches under way.
#[derive(Clone, Copy, Debug)]
pub enum News {
    /// One has taken its next step: which, with devices that close when, how many steps it has taken, how many states it has met, and how many of them
    /// end badly.
    Deeper(Policy, Release, u8, u64, u64),
    /// One is done: how many are, and of how many.
    Done(usize, usize),
}

/// Searches under each policy, as many steps as is said of it, twice: with devices that close in their finalizer, which is where the proposals differ
/// most, and with devices that close in unrealize. A wide search goes four steps less far. Each stops where it has met `most` states. `tell` hears of each at most once a second.
pub fn search_all(
    policies: &[Policy],
    steps: impl Fn(Policy) -> u8,
    breadth: Breadth,
    most: u64,
    tell: impl Fn(News) + Sync,
) -> Vec<Searched> {
    let mut queue = Vec::new();
    for habit in [Release::Finalize, Release::Unrealize] {
        let size = |policy: &Policy| Size {
            steps: breadth.within(steps(*policy)),
            habit,
            breadth,
        };
        queue.extend(policies.iter().map(|policy| (*policy, size(policy))));
    }
    // The longest first, so that two threads end at about the same time.
    queue.sort_by_key(|(_, size)| std::cmp::Reverse(size.steps));
    let mut results = two_at_a_time(
        queue,
        |(policy, size)| search(policy, size, most, &tell),
        |done, of| tell(News::Done(done, of)),
    );
    results.sort_by_key(|searched| (searched.size.habit == Release::Unrealize, searched.policy));
    results
}

fn search(policy: Policy, size: Size, most: u64, tell: &impl Fn(News)) -> Searched {
    let begin = Instant::now();
    let found = search_one(policy.rules(), size, most, |found| {
        let bad = found.count(|_| true);
        tell(News::Deeper(
            policy,
            size.habit,
            found.depth,
            found.states,
            bad,
        ));
    });
    Searched {
        policy,
        size,
        found,
        time: begin.elapsed(),
    }
}

/// One search, which stops where it has met `most` states. `tell` hears of it at most once a second.
pub fn search_one(rules: &Rules, size: Size, most: u64, tell: impl Fn(&Found)) -> Found {
    let mut search = Search::new(rules, size).at_most(most);
    let mut told = Instant::now();
    while search.deepen() {
        if told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            tell(search.found());
        }
    }
    search.found().clone()
}
