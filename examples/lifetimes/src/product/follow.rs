//! A scenario on the crates step by step: what each call came to, and what a guest finds where an alias is shown.

use super::world::{World, offset_of, turns};
use crate::scenario::{Scenario, Script};
use crate::state::{Id, State};
use crate::step::{Outcome, Step};
use memory::{Attrs, Gpa, MemTxError};

/// A step, and what was seen after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The step, in words.
    pub step: String,
    /// What the call came to.
    pub outcome: Outcome,
    /// Where an alias is in system memory, by its name: the address, and what a load from it gave.
    pub loads: Vec<(String, u64, Result<u32, MemTxError>)>,
}

/// Takes all steps of a scenario.
///
/// ```
/// use holdfast_lifetimes::product;
/// use holdfast_lifetimes::scenario::rows::ROWS;
///
/// let hidden = ROWS.iter().find(|row| row.row == "5b").unwrap();
/// let loads = product::follow(hidden).into_iter().flat_map(|step| step.loads);
/// assert!(loads.into_iter().all(|(_, _, found)| found.is_err()), "a hole, also where the alias is shown again");
/// ```
pub fn follow(scenario: &Scenario) -> Vec<Followed> {
    let script = Script::of(scenario);
    let mut world = World::new("follow");
    world.cast(script.cast, &script.steps);
    let mut followed = Vec::new();
    for (at, step, rest) in turns(&script.steps) {
        let outcome = world.take(step, rest);
        world.run_executor();
        let so_far = &script.steps[..=at];
        followed.push(Followed {
            step: step.show(&script.cast),
            outcome,
            loads: loads(&world, so_far),
        });
    }
    world.end();
    followed
}

/// What the machine's first address space shows at each alias that has been put into its root.
fn loads(world: &World, steps: &[Step]) -> Vec<(String, u64, Result<u32, MemTxError>)> {
    let is_alias = |id: Id| {
        let made = |step: &Step| matches!(step, Step::Alias { alias, .. } if *alias == id);
        let nested = |step: &Step| matches!(step, Step::Nest { sub, .. } if *sub == id);
        steps.iter().any(made) && steps.iter().any(nested)
    };
    let space = world.stage.set().spaces[0].clone();
    let Some(space) = space.filter(|opened| !opened.space.is_closed()) else {
        return Vec::new();
    };
    State::ids()
        .filter(|id| is_alias(*id))
        .filter_map(|id| {
            let shown = world.stage.actor(id)?.shown().ok()?;
            let at = offset_of(id, super::stage::region(&shown).ok()?).0;
            let found = space.space.load::<u32>(Gpa(at), Attrs::default());
            Some((world.stage.name(id), at, found))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::follow;
    use crate::scenario::Script;
    use crate::scenario::rows::ROWS;
    use crate::step::Step;

    /// What a device does in its init it does once, inside its making.
    #[test]
    fn steps_inside_an_init_are_taken_inside_it() {
        let row = ROWS.iter().find(|row| row.row == "2c").unwrap();
        let steps = Script::of(row).steps;
        let begin = steps.iter().position(|step| matches!(step, Step::Init(..)));
        let end = steps
            .iter()
            .position(|step| matches!(step, Step::InitDone(_)));
        let inside = end.unwrap() - begin.unwrap();
        assert!(inside > 1, "it does something there");
        assert_eq!(follow(row).len(), steps.len() - inside);
    }
}
