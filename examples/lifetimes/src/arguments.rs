//! The command line: what can be asked for, and what is.

use holdfast_lifetimes::policy::Rule;
use holdfast_lifetimes::search::Breadth;
use holdfast_lifetimes::{Policy, severity};
use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Who keeps a memory region alive: every proposal, run through the same scenarios and every sequence of steps up to a size.

usage: holdfast-lifetimes [OPTIONS]

  --steps N        how many steps the searches go (10; under Holdfast's rules until they have met every state)
  --wide           search the wide menu: more holders, roots and containers, four steps less far than is said by --steps
  --states N       where a search stops that meets too many (8000000); it says how many steps it has covered. The
                   table of those that were met takes 256 MiB for so many, and for each of the last step come some 300 bytes
  --policy NAME    search under one policy only, by the head of its column
  --without RULE   search under Holdfast's rules with one of them switched off, and nothing else, 6 steps (with --wide 9) far; fails if that is found
  --table          search nothing
  --row NUMBER     one scenario: its steps, what each policy makes of it and why, what the real crates do, whose doing its leak is, when its
                   unplug event comes, and what it measures, lists or draws (5, 5b, C4, C7, C8, C11 to C15, C17, C18)
  --why            say of each word of the table how it came about
  --sequences N    how many generated sequences the crates and the model are compared in (20000)
  --cycles N       how many cycles the loops of severity have (10000), that of --row C4 as well
  --page DIR       write DIR/index.html, with everything on it
  --help           this text

exit status: 0 all is well; 1 a cell of Holdfast's column or of the crates' is neither clean nor refused with nothing left, a
search under Holdfast's rules finds anything, the crates differ from the model, a loop on them leaves something or has too many or
too few unplug events, the ledger does not explain a leak, or an unmap is answered while a reader is there; 2 the command line is wrong
";

/// What is asked for.
pub(crate) struct Arguments {
    /// None: those of the whole demonstration.
    pub(crate) steps: Option<u8>,
    pub(crate) breadth: Breadth,
    /// What each search may meet.
    pub(crate) states: u64,
    pub(crate) searches: bool,
    pub(crate) row: Option<String>,
    pub(crate) why: bool,
    pub(crate) policies: Vec<Policy>,
    pub(crate) without: Option<Rule>,
    pub(crate) cycles: u32,
    pub(crate) sequences: u64,
    pub(crate) page: Option<PathBuf>,
}

/// How many generated sequences are compared.
const SEQUENCES: u64 = 20_000;
/// More than the core menu has within ten steps under any policy; two searches of so many states are some 5 GB.
const STATES: u64 = 8_000_000;
/// How far the searches go that are not to meet everything.
const STEPS: u8 = 10;
/// More than any state of the core menu is away from the start, under Holdfast's rules.
const ALL: u8 = 60;

impl Arguments {
    /// How far a search under a policy goes.
    pub(crate) fn steps(&self, policy: Policy) -> u8 {
        match (self.steps, self.breadth, policy) {
            (Some(steps), ..) => steps,
            (None, Breadth::Core, Policy::Withdrawal) => ALL,
            (None, ..) => STEPS,
        }
    }

    /// How far a search with a rule switched off goes.
    pub(crate) fn steps_without(&self) -> u8 {
        let steps = match self.breadth {
            Breadth::Core => 6,
            Breadth::Wide => 9,
        };
        self.breadth.within(self.steps.unwrap_or(steps))
    }
}

/// The arguments, none where help is asked for; a sentence where they are not understood.
pub(crate) fn parse() -> Result<Option<Arguments>, String> {
    let mut arguments = Arguments {
        steps: None,
        sequences: SEQUENCES,
        breadth: Breadth::Core,
        states: STATES,
        searches: true,
        row: None,
        why: false,
        policies: Policy::ALL.to_vec(),
        without: None,
        cycles: severity::CYCLES,
        page: None,
    };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let mut value = || {
            given
                .next()
                .ok_or_else(|| format!("{argument} needs a value"))
        };
        let number = |text: String| {
            text.parse()
                .map_err(|_| format!("`{text}` is no such number"))
        };
        match argument.as_str() {
            "--steps" => arguments.steps = Some(number(value()?).and_then(small)?),
            "--states" => arguments.states = number(value()?)?.into(),
            "--sequences" => arguments.sequences = number(value()?)?.into(),
            "--cycles" => arguments.cycles = number(value()?)?,
            "--wide" => arguments.breadth = Breadth::Wide,
            "--table" => arguments.searches = false,
            "--row" => arguments.row = Some(value()?),
            "--why" => arguments.why = true,
            "--page" => arguments.page = Some(value()?.into()),
            "--policy" => {
                let name = value()?;
                let known = Policy::ALL
                    .into_iter()
                    .find(|policy| policy.rules().short == name);
                arguments.policies = vec![known.ok_or_else(|| {
                    let names = Policy::ALL.map(|policy| policy.rules().short);
                    format!("no policy {name}; there is: {}", names.join(", "))
                })?];
            }
            "--without" => {
                let name = value()?;
                let known = Rule::ALL
                    .into_iter()
                    .find(|rule| format!("{rule:?}") == name);
                arguments.without = Some(known.ok_or_else(|| {
                    let names = Rule::ALL.map(|rule| format!("{rule:?}"));
                    format!("no rule {name}; there is: {}", names.join(", "))
                })?);
            }
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("unknown argument {argument}")),
        }
    }
    Ok(Some(arguments))
}

fn small(number: u32) -> Result<u8, String> {
    u8::try_from(number).map_err(|_| format!("{number} steps are too many"))
}

#[cfg(test)]
mod tests {
    use super::{HELP, STATES};

    #[test]
    fn the_help_says_what_a_search_of_so_many_states_takes() {
        // Fingerprints of 16 bytes in a table that is at most half full.
        let table = (2 * STATES).next_power_of_two() * 16;
        assert!(HELP.contains(&format!("{} MiB", table >> 20)));
        assert!(HELP.contains(&format!("({STATES})")));
    }
}
