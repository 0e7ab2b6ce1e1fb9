//! The search against an enumeration without any reduction, its rules against their absence, and the model's counts against its edges.

use super::ending::wind_up;
use super::menu::may_map;
use super::*;
use crate::edges::edges;
use crate::policy::{Policy, Rule};
use crate::show::trace;
use std::collections::{BTreeMap, HashSet};

const HABITS: [Release; 2] = [Release::Finalize, Release::Unrealize];

const fn core(steps: u8, habit: Release) -> Size {
    Size {
        steps,
        habit,
        breadth: Breadth::Core,
    }
}

/// All states of a search, in full.
fn states(rules: &Rules, size: Size) -> HashSet<State> {
    let menu = menu(rules, size);
    let mut all = HashSet::from([Search::first(rules)]);
    let mut last: Vec<State> = all.iter().cloned().collect();
    for _ in 0..size.steps {
        let sound = last.iter().filter(|state| state.faults.none());
        let next: HashSet<State> = sound
            .flat_map(|state| menu.iter().filter_map(|by| step(state, *by, rules)))
            .collect();
        last = next
            .into_iter()
            .filter(|state| all.insert(state.clone()))
            .collect();
    }
    all
}

/// Every sequence, one after another: mappings get any free number, nothing is sorted, nothing is met twice but by chance.
fn enumerate(state: &State, steps: u8, rules: &Rules, menu: &[Step], met: &mut HashSet<State>) {
    met.insert(state.clone());
    if steps == 0 || !state.faults.none() {
        return;
    }
    for by in menu {
        let may = match *by {
            Step::Map {
                map,
                region,
                holder,
                release,
            } => !state.maps[usize::from(map)].is_open() && may_map(state, region, holder, release),
            by => is_enabled(state, by, rules),
        };
        if may {
            let mut next = state.clone();
            apply(&mut next, *by, rules);
            enumerate(&next, steps - 1, rules, menu, met);
        }
    }
}

#[test]
fn the_search_meets_what_an_enumeration_of_all_sequences_meets() {
    for policy in Policy::ALL {
        let rules = policy.rules();
        for breadth in [Breadth::Core, Breadth::Wide] {
            let size = Size {
                steps: 3,
                habit: Release::Finalize,
                breadth,
            };
            let mut met = HashSet::new();
            enumerate(
                &Search::first(rules),
                size.steps,
                rules,
                &menu(rules, size),
                &mut met,
            );
            let mut endings = BTreeMap::<Ending, u64>::new();
            let mut quotient = HashSet::new();
            for mut state in met {
                make_canonical(&mut state);
                if quotient.insert(state.clone()) {
                    *endings.entry(ending(&state, rules)).or_default() += 1;
                }
            }
            let found = Search::new(rules, size).run();
            assert_eq!(
                found.states,
                quotient.len() as u64,
                "{policy:?} {breadth:?}"
            );
            endings.remove(&Ending::Clean);
            let mut tallies: Vec<_> = found
                .endings
                .iter()
                .map(|(ending, tally)| (*ending, tally.states))
                .collect();
            tallies.sort_unstable();
            assert_eq!(
                tallies,
                endings.into_iter().collect::<Vec<_>>(),
                "{policy:?} {breadth:?}"
            );
        }
    }
}

/// The collector takes an owner before its regions wherever it takes both, so that nothing of what it ends is clean; and a count has an order.
#[test]
fn a_wrong_order_is_an_ending_of_its_own() {
    for habit in HABITS {
        let found = |policy: Policy| Search::new(policy.rules(), core(4, habit)).run();
        let tracing = found(Policy::Tracing);
        let orders = tracing.count(Found::is_order);
        assert!(orders > 0);
        assert_eq!(tracing.count(|_| true), tracing.states, "{habit:?}");
        assert_eq!(tracing.trace(Found::is_order), Some(&[][..]), "D0 and C");
        for policy in Policy::ALL
            .into_iter()
            .filter(|policy| *policy != Policy::Tracing)
        {
            assert_eq!(found(policy).count(Found::is_order), 0, "{policy:?}");
        }
    }
    let rules = Policy::Withdrawal.rules().without(Rule::OwnerBecomesStrong);
    let found = Search::new(&rules, core(3, Release::Finalize)).run();
    assert!(found.count(Found::is_order) > 0);
}

#[test]
fn fingerprints_tell_all_states_apart() {
    for policy in [Policy::OwnCount, Policy::Tracing, Policy::Withdrawal] {
        let all = states(policy.rules(), core(5, Release::Finalize));
        let prints: HashSet<u128> = all.iter().map(fingerprint).collect();
        assert_eq!(prints.len(), all.len());
        assert!(all.len() > 20_000, "{}", all.len());
    }
}

/// What the model counts is what its edges say: in every state, for every object.
#[test]
fn counts_are_the_number_of_edges() {
    for policy in Policy::ALL
        .into_iter()
        .filter(|policy| *policy != Policy::Tracing)
    {
        let rules = policy.rules();
        for state in states(rules, core(4, Release::Finalize))
            .into_iter()
            .filter(|state| state.faults.none())
        {
            let edges = edges(&state, rules);
            for id in state.alive() {
                let into = edges.iter().filter(|edge| edge.to == id).count();
                assert_eq!(
                    usize::from(state.object(id).count),
                    into,
                    "{policy:?} {id:?} {state:?} {edges:?}"
                );
            }
        }
    }
}

/// Undoing comes first and dropping last, as dropping loses names; within each, the order is no matter.
#[test]
fn the_order_of_winding_up_does_not_matter_to_what_is_left() {
    let groups: [&[Step]; 4] = [
        &[
            Step::Close(NAMED),
            Step::Detach {
                sub: B,
                container: C,
            },
            Step::Detach {
                sub: N,
                container: S,
            },
        ],
        &[
            Step::Detach {
                sub: M,
                container: C,
            },
            Step::Detach {
                sub: C,
                container: S,
            },
        ],
        &[Step::Unparent(D1), Step::Unparent(D0), Step::Unparent(V)],
        &[Step::Drop(D1), Step::Drop(D0)],
    ];
    let mut leaks = 0;
    for policy in [
        Policy::Piggyback,
        Policy::SkipSameOwner,
        Policy::OwnCount,
        Policy::Withdrawal,
    ] {
        let rules = policy.rules();
        for habit in HABITS {
            for state in states(rules, core(4, habit)) {
                let one = ending(&state, rules);
                let other = wind_up(&state, rules, groups.into_iter().flatten().copied());
                leaks += u32::from(one == Ending::Leak);
                // Which of two devices goes first can decide whether an assertion is met: each order is a sequence of its own.
                let is_fault = |ending| matches!(ending, Ending::Fault(_));
                assert!(
                    one == other || is_fault(one) || is_fault(other),
                    "{policy:?} {one:?} {other:?} {state:?}"
                );
            }
        }
    }
    assert!(leaks > 1000, "{leaks}");
}

#[test]
fn under_holdfasts_rules_nothing_ends_badly() {
    for habit in HABITS {
        for (steps, breadth) in [(6, Breadth::Core), (4, Breadth::Wide)] {
            let found = Search::new(
                Policy::Withdrawal.rules(),
                Size {
                    steps,
                    habit,
                    breadth,
                },
            )
            .run();
            assert_eq!(found.endings, [], "{habit:?} {breadth:?}");
            assert!(found.states > 10_000 && !found.is_whole, "{}", found.states);
        }
    }
}

/// What every other policy is found out by, and how soon.
#[test]
fn the_shortest_way_to_each_bad_ending() {
    let shortest = |policy: Policy, which: fn(Ending) -> bool| {
        let found = Search::new(policy.rules(), core(5, Release::Finalize)).run();
        found
            .trace(which)
            .map(|steps| trace(steps, &Search::cast()))
    };
    let is_leak = |ending| ending == Ending::Leak;
    let map = Some("map M in the name of D0 until its finalizer".to_owned());
    let alias = Some("alias N to M; drop D0; nest N in S".to_owned());
    for policy in [
        Policy::Piggyback,
        Policy::SkipSameOwner,
        Policy::CountSubregion,
    ] {
        assert_eq!(shortest(policy, is_leak), map, "{policy:?}");
        assert_eq!(shortest(policy, Found::is_use), alias, "{policy:?}");
        assert_eq!(shortest(policy, Found::is_abort), None, "{policy:?}");
    }
    let plugged =
        Some("plug D0 into machine; map M in the name of D0 until its finalizer".to_owned());
    assert_eq!(shortest(Policy::OwnCount, is_leak), plugged);
    assert_eq!(shortest(Policy::OwnCount, Found::is_use), alias);
    assert_eq!(
        shortest(Policy::OwnCount, Found::is_abort),
        Some("nest N in S".to_owned())
    );
    assert_eq!(
        shortest(Policy::OwnCountUnguarded, Found::is_use),
        Some("(the start)".to_owned())
    );
    assert_eq!(
        shortest(Policy::Mutual, is_leak),
        Some("(the start)".to_owned())
    );
    assert_eq!(shortest(Policy::Tracing, Found::is_use), map);
}

/// A rule switched off is found, by the trace that shows what the rule is for. (Init's refusals: see the scenarios.)
#[test]
fn each_rule_switched_off_is_found() {
    let use_after = Ending::Fault(Verdict::UseAfterFinalize);
    for (rule, habit, ending, steps) in [
        (
            Rule::OwnerBecomesStrong,
            Release::Finalize,
            use_after,
            "nest N in S",
        ),
        (
            Rule::RetractContainers,
            Release::Finalize,
            Ending::Late,
            "nest C in S; drop D0",
        ),
        (
            Rule::RetractAliases,
            Release::Finalize,
            Ending::Late,
            "alias N to M; drop D0",
        ),
        (
            Rule::RetractSpaces,
            Release::Finalize,
            Ending::Late,
            "open a space on C in the name of D1 until its finalizer; drop D0",
        ),
        (
            Rule::RetractMappings,
            Release::Finalize,
            Ending::Late,
            "map N in the name of D0 until its finalizer; drop D1",
        ),
        (
            Rule::CloseOpened,
            Release::Unrealize,
            Ending::Leak,
            "plug D0 into machine; open a space on C in the name of D0 until its unrealize; unrealize of D0 panics; unplug D0",
        ),
        (
            Rule::CutLinks,
            Release::Finalize,
            Ending::Late,
            "link D0 to M; drop D0",
        ),
        (
            Rule::CatchPanics,
            Release::Finalize,
            Ending::Leak,
            "plug D0 into machine; unrealize of D0 panics",
        ),
        (
            Rule::GraceBeforeLettingGo,
            Release::Finalize,
            use_after,
            "nest N in S",
        ),
        (
            Rule::WithdrawUnparented,
            Release::Finalize,
            use_after,
            "nest N in S",
        ),
    ] {
        let rules = Policy::Withdrawal.rules().without(rule);
        let found = Search::new(&rules, core(4, habit)).run();
        let shortest = found
            .trace(|known| known == ending)
            .unwrap_or_else(|| panic!("{rule:?} is not missed"));
        assert_eq!(trace(shortest, &Search::cast()), steps, "{rule:?}");
    }
    // A handle that was kept, and a finalizer that does not come to closing what was opened too late.
    let rules = Policy::Withdrawal.rules().without(Rule::RefuseWithdrawn);
    let wide = Size {
        breadth: Breadth::Wide,
        ..core(5, Release::Finalize)
    };
    let found = Search::new(&rules, wide).run();
    assert_eq!(
        trace(
            found.trace(|ending| ending == Ending::Leak).unwrap(),
            &Search::cast()
        ),
        "plug D0 into machine; take a handle of D0; unplug D0; open a space on S in the name of D0 until its finalizer; finalize of D0 panics"
    );
    let rules = Policy::Withdrawal.rules().without(Rule::RefuseDuringInit);
    assert_eq!(
        Search::new(&rules, core(4, Release::Finalize))
            .run()
            .endings,
        []
    );
}

/// What a search that may not meet more has covered, it has covered: as a search of so few steps.
#[test]
fn a_search_that_is_cut_says_how_far_it_came() {
    let rules = Policy::Withdrawal.rules();
    let cut = Search::new(rules, core(10, HABITS[0]))
        .at_most(20_000)
        .run();
    assert!(cut.is_cut && !cut.is_whole && cut.states >= 20_000);
    let steps = cut.depth;
    let less = Search::new(rules, core(steps, HABITS[0])).run();
    let more = Search::new(rules, core(steps + 1, HABITS[0])).run();
    assert_eq!((less.depth, less.is_cut), (steps, false));
    assert!(less.states <= cut.states && cut.states < more.states);
}
