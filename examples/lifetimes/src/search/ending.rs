//! How a state ends once everything has been done that anybody can still do.

use super::{B, C, D0, D1, M, N, NAMED, S, V, is_enabled};
use crate::policy::Rules;
use crate::scenario::{Verdict, has_orphans};
use crate::state::{Id, State, flag};
use crate::step::{Outcome, Step, apply};

/// How a state ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// Something goes wrong, on the way to the state or in winding it up.
    Fault(Verdict),
    /// Somebody is left whom nobody can end.
    Leak,
    /// Somebody who was withdrawn is kept, though transfers have completed, strong links are cleared and kept handles dropped (withdrawal only).
    Late,
    /// Everything goes, but an owner before its region.
    Order,
    /// Everything goes, regions before their owners.
    Clean,
}

impl Ending {
    /// A word for it, as in the table.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fault(verdict) => verdict.word(),
            Self::Leak => Verdict::Leak.word(),
            Self::Late => Verdict::Late.word(),
            Self::Order => Verdict::Order.word(),
            Self::Clean => Verdict::Clean.word(),
        }
    }
}

/// What the user does, in order, to be rid of everything.
pub(crate) const WIND_UP: [Step; 13] = [
    Step::Detach {
        sub: C,
        container: S,
    },
    Step::Detach {
        sub: M,
        container: S,
    },
    Step::Detach {
        sub: N,
        container: S,
    },
    Step::Detach {
        sub: B,
        container: S,
    },
    Step::Detach {
        sub: M,
        container: C,
    },
    Step::Detach {
        sub: N,
        container: C,
    },
    Step::Detach {
        sub: B,
        container: C,
    },
    Step::Close(NAMED),
    Step::Unparent(V),
    Step::Unparent(D0),
    Step::Unparent(D1),
    Step::Drop(D0),
    Step::Drop(D1),
];

/// Winds a state up, and says how it ends.
pub fn ending(state: &State, rules: &Rules) -> Ending {
    wind_up(state, rules, WIND_UP.iter().copied())
}

/// As [`ending`], in another order of what the user does.
pub(super) fn wind_up(state: &State, rules: &Rules, user: impl Iterator<Item = Step>) -> Ending {
    match outside_ends(state, rules) {
        Ok(quiet) => user_undoes(quiet, rules, user),
        Err(ending) => ending,
    }
}

/// As [`ending`], from where everything outside has ended ([`outside_ends`]).
pub(super) fn ending_of_quiet(quiet: State, rules: &Rules) -> Ending {
    user_undoes(quiet, rules, WIND_UP.iter().copied())
}

/// Transfers complete, links are cleared, kept handles are dropped, and what passes by itself does.
///
/// # Errors
///
/// How the state ends, where that is known already.
pub(super) fn outside_ends(state: &State, rules: &Rules) -> Result<State, Ending> {
    let mut state = state.clone();
    apply(&mut state, Step::Complete(0), rules);
    if is_enabled(&state, Step::Unlink(0), rules) {
        apply(&mut state, Step::Unlink(0), rules);
    }
    // Who was withdrawn is still held by a handle that the user has kept.
    for id in [D0, D1] {
        if state.object(id).is(flag::WITHDRAWN) {
            apply(&mut state, Step::Drop(id), rules);
        }
    }
    pass(&mut state, rules);
    if let Some(verdict) = Verdict::of(state.faults) {
        return Err(Ending::Fault(verdict));
    }
    let is_late = |id: Id| state.object(id).is(flag::WITHDRAWN);
    if rules.withdrawal().is_some() && state.alive().any(is_late) {
        return Err(Ending::Late);
    }
    Ok(state)
}

fn user_undoes(mut state: State, rules: &Rules, user: impl Iterator<Item = Step>) -> Ending {
    for step in user {
        if is_enabled(&state, step, rules) {
            apply(&mut state, step, rules);
        }
    }
    pass(&mut state, rules);
    if let Some(verdict) = Verdict::of(state.faults) {
        return Ending::Fault(verdict);
    }
    let left = state.alive().any(|id| id != S);
    if left || has_orphans(&state) {
        Ending::Leak
    } else if state.outlived != 0 {
        Ending::Order
    } else {
        Ending::Clean
    }
}

/// Lets everything pass that passes by itself.
fn pass(state: &mut State, rules: &Rules) {
    loop {
        let mut changed = false;
        if rules.withdrawal().is_some() {
            for id in [D0, D1, V, C, M, N, B] {
                changed |= apply(state, Step::Finalize(id), rules) == Outcome::Done;
            }
        }
        changed |= apply(state, Step::Grace, rules) == Outcome::Done;
        changed |= apply(state, Step::Collect, rules) == Outcome::Done;
        if !changed {
            return;
        }
    }
}
