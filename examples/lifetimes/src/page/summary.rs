//! The head of the page: the verdict, and what each policy came to in numbers.

use super::{Contents, anchor, ours};
use crate::order;
use crate::policy::Policy;
use crate::scenario::Verdict;
use crate::search::Found;
use crate::search::campaign::Searched;
use crate::severity::grouped;
use std::fmt::Write as _;

pub(super) fn write(contents: &Contents<'_>) -> String {
    verdict(contents) + &counts(contents)
}

fn verdict(contents: &Contents<'_>) -> String {
    let mut text = String::from("<p class=\"verdict\">");
    let rows = rows(contents);
    let failures = contents.failures();
    if failures.is_empty() {
        let ours = |row: &&str| contents.table.report(row, Policy::Withdrawal);
        let is_refused = |row: &&&str| {
            ours(row).is_some_and(|report| matches!(report.verdict, Verdict::Refused(_)))
        };
        let refused = rows.iter().filter(is_refused).count();
        let _ = write!(
            text,
            "<strong>Under Holdfast’s rules nothing leaks, nothing is used after its end, and nothing aborts</strong>: of {} scenarios \
             {} end clean, and in {refused} a step is refused and leaves nothing. ",
            rows.len(),
            rows.len() - refused,
        );
    } else {
        let _ = write!(
            text,
            "<strong>What is said of Holdfast does not hold</strong>: {}. ",
            super::escape(&failures.join("; "))
        );
    }
    let ours = contents
        .searches
        .iter()
        .filter(|it| it.policy == Policy::Withdrawal);
    let ours: Vec<_> = ours.collect();
    if !ours.is_empty() {
        let steps = searched_steps(ours.iter().copied());
        let states: u64 = ours.iter().map(|it| it.found.states).sum();
        let states = grouped(states);
        // What a search finds is a failure, too; beside any it would be no verdict.
        let _ = if !failures.is_empty() {
            Ok(())
        } else if ours.iter().all(|it| it.found.is_whole) {
            write!(
                text,
                "A search of every sequence of the steps <a href=\"#search\">named below</a>, however long, finds nothing either, in the {states} states that there are. "
            )
        } else {
            write!(
                text,
                "A search of every sequence of up to {steps} of the steps <a href=\"#search\">named below</a> finds nothing either, in {states} states. "
            )
        };
    }
    let _ = write!(text, "{}", others(contents));
    text += "</p>\n";
    text + &real(contents)
}

/// So many steps all of them have been searched to the end; those that have met all states that there are do not end it.
pub(super) fn searched_steps<'s>(searches: impl Iterator<Item = &'s Searched> + Clone) -> u8 {
    let cut = searches.clone().filter(|it| !it.found.is_whole);
    let steps = cut.map(|it| it.found.depth).min();
    steps
        .or_else(|| searches.map(|it| it.size.steps).min())
        .unwrap_or(0)
}

/// The scenarios, each list of steps once.
fn rows(contents: &Contents<'_>) -> Vec<&'static str> {
    let distinct = contents.table.distinct().into_iter();
    distinct
        .filter_map(|(scenario, same)| same.is_none().then_some(scenario.row))
        .collect()
}

/// What can be said of all other policies at once, and of the one that QEMU has.
fn others(contents: &Contents<'_>) -> String {
    let rows = rows(contents);
    let bad = |policy: Policy| {
        let reports = rows
            .iter()
            .filter_map(|row| contents.table.report(row, policy));
        reports
            .filter(|report| !report.verdict.is_good() && report.verdict != Verdict::Order)
            .count()
    };
    let others = Policy::ALL
        .into_iter()
        .filter(|policy| *policy != Policy::Withdrawal);
    let least = others.clone().map(bad).min().unwrap_or(0);
    let mut text = format!(
        "Each of the seven other policies leaks, touches what is gone, or aborts in at least {least} scenarios; skip-same-owner, which QEMU has today, in {}",
        bad(Policy::SkipSameOwner)
    );
    let shortest = |policy| {
        let of_policy = contents
            .searches
            .iter()
            .filter(move |it| it.policy == policy);
        of_policy
            .filter_map(|it| it.found.trace(|_| true))
            .map(<[_]>::len)
            .min()
    };
    match shortest(Policy::SkipSameOwner) {
        Some(1) => text += ", and one step from a plain start is enough.",
        Some(steps) => {
            let _ = write!(text, ", and {steps} steps from a plain start are enough.");
        }
        None => text += ".",
    }
    text + &orders(contents)
}

/// Who finalizes an owner before its region.
fn orders(contents: &Contents<'_>) -> String {
    let wrong = order::wrong(contents.table);
    if wrong.is_empty() {
        return String::new();
    }
    let all = order::counted(&wrong);
    format!(
        " And {all}: those say <b class=\"word order\">order</b>, and are not clean (<a href=\"#{}\">C18</a> has every pair; scenarios of the same steps are counted each).",
        anchor("C18")
    )
}

fn real(contents: &Contents<'_>) -> String {
    let Some(real) = contents.real else {
        return String::new();
    };
    let mut text = String::from("<p class=\"verdict\">");
    let _ = write!(
        text,
        "Holdfast’s real crates, with real devices, regions and finalizers, were taken through all {} scenarios",
        real.cells.len()
    );
    text += if real.cells.iter().all(|cell| cell.is_good) {
        ": none is left with anything."
    } else {
        "."
    };
    if let Some(agreement) = &real.agreement {
        let _ = match agreement.differences.first() {
            None => write!(
                text,
                " In {} generated sequences of {} steps in all, {} of them refused, crates and model were the same after every step ({}). In them {}.",
                grouped(agreement.sequences),
                grouped(agreement.steps),
                grouped(agreement.refused),
                super::escape(&agreement.source),
                agreement.checked.sentence()
            ),
            Some(first) => write!(
                text,
                " <strong>Crates and model differ</strong>, first in: {}",
                super::escape(first)
            ),
        };
    }
    let courses = &real.courses;
    let cycles = courses
        .iter()
        .filter_map(|(_, course)| course.points.last());
    if let Some(cycles) = cycles.map(|point| point.cycle).max()
        && courses.iter().all(|(_, course)| !course.leaks())
    {
        let _ = write!(
            text,
            " {} cycles each of {} scenarios that leak elsewhere left nothing in them.",
            grouped(cycles.into()),
            courses.len()
        );
    }
    text + "</p>\n"
}

/// Of each policy: how its scenarios end, and what the searches found.
fn counts(contents: &Contents<'_>) -> String {
    let mut text = String::from(
        "<p class=\"note\">Scenarios by the worst that happens in them, those with the same steps once; then what the searches found, added up.</p>\
         <table class=\"numbers blocks counts\">\
         <thead><tr><th scope=\"col\">policy</th><th scope=\"col\">clean</th><th scope=\"col\">refused</th><th scope=\"col\">leak</th>\
         <th scope=\"col\">use after the end</th><th scope=\"col\">abort</th><th scope=\"col\">wrong order only</th>",
    );
    if !contents.searches.is_empty() {
        text += "<th scope=\"col\">states searched</th><th scope=\"col\">that leak</th><th scope=\"col\">that use</th>\
                 <th scope=\"col\">that abort</th><th scope=\"col\">in wrong order only</th><th scope=\"col\">shortest way, steps</th>";
    }
    text += "</tr></thead><tbody>\n";
    let rows = rows(contents);
    for policy in Policy::ALL {
        let rules = policy.rules();
        let verdicts: Vec<Verdict> = rows
            .iter()
            .filter_map(|row| contents.table.report(row, policy))
            .map(|report| report.verdict)
            .collect();
        let count =
            |which: fn(&Verdict) -> bool| verdicts.iter().filter(|verdict| which(verdict)).count();
        let ours = ours(policy);
        let _ = write!(
            text,
            "<tr{ours}><th scope=\"row\">{} <small>{}</small></th>{}{}{}{}{}{}",
            rules.short,
            rules.name,
            number("clean", count(|verdict| *verdict == Verdict::Clean), "ok"),
            number(
                "refused",
                count(|verdict| matches!(verdict, Verdict::Refused(_))),
                "refused"
            ),
            number(
                "leak",
                count(|verdict| matches!(verdict, Verdict::Leak | Verdict::Late)),
                "leak"
            ),
            number(
                "use after the end",
                count(|verdict| matches!(
                    verdict,
                    Verdict::UseAfterFinalize | Verdict::UseAfterFree | Verdict::DoubleFinalize
                )),
                "fault"
            ),
            number(
                "abort",
                count(|verdict| *verdict == Verdict::Abort),
                "fault"
            ),
            number(
                "wrong order only",
                count(|verdict| *verdict == Verdict::Order),
                "order"
            ),
        );
        if !contents.searches.is_empty() {
            text += &searched(contents, policy);
        }
        text += "</tr>\n";
    }
    text + "</tbody></table>\n\
            <p class=\"note\">Clean: everything is finalized, once, after its regions. Refused: a step is answered with an error, and nothing is left of it. \
            Leak: somebody who should be gone is not, or a handle is open in the name of somebody who is gone. Use after the end: of what is finalized or freed, \
            or a finalizer that runs twice. Wrong order: everything is finalized once, but an owner before its region, and nothing worse happens. What a reader, a transfer or a mapping can still reach counts as used. A state is counted by how it ends once \
            everybody has let go of everything.</p>\n"
}

fn searched(contents: &Contents<'_>, policy: Policy) -> String {
    let of_policy: Vec<_> = contents
        .searches
        .iter()
        .filter(|it| it.policy == policy)
        .collect();
    let sum =
        |count: &dyn Fn(&Found) -> u64| of_policy.iter().map(|it| count(&it.found)).sum::<u64>();
    let cell =
        |of: &str, value: u64, class: &str| number_text(of, value > 0, &grouped(value), class);
    let states = sum(&|found| found.states);
    let leaks = sum(&|found| found.count(Found::is_leak));
    let uses = sum(&|found| found.count(Found::is_use));
    let aborts = sum(&|found| found.count(Found::is_abort));
    let orders = sum(&|found| found.count(Found::is_order));
    let shortest = of_policy
        .iter()
        .filter_map(|it| it.found.trace(|_| true))
        .map(<[_]>::len)
        .min();
    let shortest = shortest.map_or_else(|| "none".into(), |steps| steps.to_string());
    format!(
        "<td data-of=\"states searched\">{}</td>{}{}{}{}<td data-of=\"shortest way, steps\">{shortest}</td>",
        grouped(states),
        cell("that leak", leaks, "leak"),
        cell("that use", uses, "fault"),
        cell("that abort", aborts, "fault"),
        cell("in wrong order only", orders, "order")
    )
}

fn number(of: &str, value: usize, class: &str) -> String {
    number_text(of, value > 0, &value.to_string(), class)
}

/// A cell, with the head of its column for where there is no room for columns: in its colour where it is not zero.
pub(super) fn number_text(of: &str, is_some: bool, text: &str, class: &str) -> String {
    let class = if is_some { class } else { "none" };
    format!("<td class=\"{class}\" data-of=\"{of}\">{text}</td>")
}
