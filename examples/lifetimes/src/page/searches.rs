//! What the searches found: numbers, and the shortest way to each kind of ending.

use super::summary::{number_text, searched_steps};
use super::{badge, escape, ours};
use crate::scenario::Cast;
use crate::search::campaign::Searched;
use crate::search::{Breadth, Found, Search};
use crate::severity::grouped;
use crate::state::Release;
use std::fmt::Write as _;

pub(super) fn write(searches: &[Searched]) -> String {
    let Some(first) = searches.first() else {
        return String::new();
    };
    let cast = Search::cast();
    let mut text = format!(
        "<p>Two devices, <code>D0</code> with a container <code>C</code> and a region <code>M</code>, <code>D1</code> with a region <code>N</code> that can become an alias; \
         a plain child <code>V</code> of <code>D0</code> that owns a region <code>B</code>; system memory <code>S</code> with an address space on it; one address space \
         more, two mappings, one transfer in flight, one strong link, a panic in a hook. From there every sequence of up to {} steps of {} was taken: plug, unplug, \
         drop, nest, detach, alias, open, close, map, unmap, pin, complete, link, unlink, panic, grace period, finalize, collect. What a hook closes it closes when it \
         runs, if it is still open. A state counts as a leak if, after everybody has undone and dropped everything that still has a name, something is left; for Holdfast also if \
         somebody who was withdrawn is kept by anything but a transfer, a grace period, a user’s handle or a link of somebody who stays. A state in which everything goes, but an owner before its region, counts as a wrong order. States that are equal but for a numbering count once. \
         What was used after its end, or aborted, is not followed further.{}</p>\n",
        searched_steps(searches.iter()),
        match first.size.breadth {
            Breadth::Core => "the core menu",
            Breadth::Wide => "the wide menu",
        },
        if searches.iter().any(|it| it.found.is_whole) {
            " A search that is marked as whole went on until a step met no new state: it has met all that there are."
        } else {
            ""
        }
    );
    for habit in [Release::Finalize, Release::Unrealize] {
        let of_habit: Vec<_> = searches
            .iter()
            .filter(|it| it.size.habit == habit)
            .collect();
        if of_habit.is_empty() {
            continue;
        }
        let _ = writeln!(
            text,
            "<h3>Devices that close what they opened {}</h3>",
            habit.when()
        );
        text += &table(&of_habit);
        text += "<div class=\"traces\">";
        for searched in of_habit {
            text += &traces(searched, &cast);
        }
        text += "</div>\n";
    }
    text
}

fn table(searches: &[&Searched]) -> String {
    let mut text = String::from(
        "<table class=\"numbers blocks\"><thead><tr><th scope=\"col\">policy</th><th scope=\"col\">states</th><th scope=\"col\">steps between them</th>\
         <th scope=\"col\">leaks</th><th scope=\"col\">uses after the end</th><th scope=\"col\">aborts</th><th scope=\"col\">wrong order only</th><th scope=\"col\">seconds</th></tr></thead><tbody>\n",
    );
    for searched in searches {
        let found = &searched.found;
        let cell =
            |of: &str, value: u64, class: &str| number_text(of, value > 0, &grouped(value), class);
        let leaks = found.count(Found::is_leak);
        let ours = ours(searched.policy);
        let _ = writeln!(
            text,
            "<tr{ours}><th scope=\"row\">{}{}</th><td data-of=\"states\">{}</td><td data-of=\"steps between them\">{}</td>{}{}{}{}<td data-of=\"seconds\">{:.1}</td></tr>",
            searched.policy.rules().short,
            match found.depth {
                _ if found.is_whole => ", whole".into(),
                depth if found.is_cut => format!(", stopped after {depth} steps"),
                _ => String::new(),
            },
            grouped(found.states),
            grouped(found.steps),
            cell("leaks", leaks, "leak"),
            cell("uses after the end", found.count(Found::is_use), "fault"),
            cell("aborts", found.count(Found::is_abort), "fault"),
            cell("wrong order only", found.count(Found::is_order), "order"),
            searched.time.as_secs_f32()
        );
    }
    text + "</tbody></table>\n"
}

fn traces(searched: &Searched, cast: &Cast) -> String {
    let mut text = String::new();
    for (ending, tally) in &searched.found.endings {
        let steps: Vec<_> = tally
            .trace
            .iter()
            .map(|step| escape(&step.show(cast)))
            .collect();
        let steps = match steps.len() {
            0 => "at the start already".into(),
            _ => format!("after: {}", steps.join("; ")),
        };
        let _ = write!(text, "<li>{} {steps}</li>", badge(ending.word()));
    }
    if text.is_empty() {
        text += if searched.found.is_whole {
            "<li>nothing, in all states that there are</li>"
        } else {
            "<li>nothing</li>"
        };
    }
    format!(
        "<div class=\"trace\"><h4>{}</h4><ul>{text}</ul></div>",
        searched.policy.rules().short
    )
}
