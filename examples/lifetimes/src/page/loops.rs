//! The loops of severity, drawn.

use super::{Contents, anchor, escape};
use crate::severity::{CYCLES, Loop, chart, grouped};
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
    text += "</p>\n";
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
            "<figure><figcaption><a href=\"#{}\">{row}</a> {}</figcaption>{}</figure>",
            anchor(row),
            escape(one.scenario.title),
            chart::draw(one, real)
        );
    }
    text + "</div>\n"
}
