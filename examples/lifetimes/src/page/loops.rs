//! The loops of severity, drawn.

use super::{Contents, anchor, escape};
use crate::severity::{CYCLES, Course, Hand, Loop, chart, grouped, hand};
use std::fmt::Write as _;

pub(super) fn write(contents: &Contents<'_>) -> String {
    if contents.loops.is_empty() {
        return String::new();
    }
    let cycles = contents.loops.iter().flat_map(|one| &one.courses);
    let cycles = cycles
        .filter_map(|course| course.points.last())
        .map(|point| point.cycle)
        .max();
    let mut text = format!(
        "<p>{} cycles of plug and unplug of each scenario that leaks under some policy. In the model each cycle is a machine of its own, and what is left of each is added up; \
         sizes are given: {}. A line that ends in a cross is a process that aborts in its first cycle.",
        grouped(cycles.unwrap_or(CYCLES).into()),
        contents.sizes.sentence()
    );
    if contents.real.is_some_and(|real| !real.courses.is_empty()) {
        text += " “The crates” are Holdfast’s, in one machine, counted while the loop runs.";
    }
    text += "</p>\n<p>Under each chart: who can bring the leak about, and how long it takes from the unplug until the last finalizer has run, in steps of the scenario that come after it \
             and in grace periods. The unplug event, for which management waits before it uses an id again, is sent from there, in QEMU (DEVICE_DELETED) as here: where something is left, or \
             the process has aborted or touched what is gone, it never comes. For the crates it is the middle one of all cycles, in a machine that nobody reads, so that grace periods end by themselves.</p>\n";
    let (mutual, others): (Vec<_>, Vec<_>) = contents
        .loops
        .iter()
        .partition(|one| one.leaks_only_mutually());
    text += &charts(contents, &others);
    if !mutual.is_empty() {
        let _ = writeln!(
            text,
            "<details class=\"fine\"><summary>{} scenarios more, which leak under mutual strong references only</summary>{}</details>",
            mutual.len(),
            charts(contents, &mutual)
        );
    }
    text
}

fn charts(contents: &Contents<'_>, loops: &[&Loop]) -> String {
    let mut text = String::from("<div class=\"charts\">");
    for one in loops {
        let row = one.scenario.row;
        let real = contents.real.and_then(|real| {
            let of_row = real.courses.iter().find(|(known, _)| *known == row);
            of_row.map(|(_, course)| course)
        });
        let _ = writeln!(
            text,
            "<figure><figcaption><a href=\"#{}\">{row}</a> {}</figcaption>{}{}</figure>",
            anchor(row),
            escape(one.scenario.title),
            chart::draw(one, real),
            severity(one, real)
        );
    }
    text + "</div>\n"
}

/// Whose doing it is, and how long the unplug event takes.
fn severity(one: &Loop, real: Option<&Course>) -> String {
    let mut text = String::new();
    if let Some((hand, why)) = hand(one.scenario.row) {
        let _ = write!(
            text,
            "<p class=\"hand\"><b class=\"{}\">{}</b>: {}.</p>",
            if hand == Hand::Guest { "guest" } else { "host" },
            hand.word(),
            escape(why)
        );
    }
    let _ = write!(
        text,
        "<p class=\"hand\"><b>unplug event</b>: {}",
        escape(&one.spans_in_words())
    );
    if let Some(events) = real.and_then(|course| course.events) {
        let _ = write!(text, "; the crates: {events}");
    }
    if let Some(took) = real.and_then(|course| course.took) {
        let _ = write!(text, "; the crates: {took}");
    }
    text + ".</p>"
}
