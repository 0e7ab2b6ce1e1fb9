//! The table of scenarios and policies, each cell a link to its graphs. On a narrow screen each scenario becomes a block of its own.

use super::scenarios::Ways;
use super::{Contents, anchor, badge, escape, ours};
use crate::given::DIFFERENT;
use crate::policy::Policy;
use std::fmt::Write as _;

pub(super) fn write(contents: &Contents<'_>, ways: &Ways) -> String {
    let mut text = String::from(
        "<p>Each word leads to the graphs that it stands for. The scenarios are lists of steps that run under every policy as they are; those whose number begins with C \
         are what reviewers asked to see.",
    );
    if contents.real.is_some() {
        text += " The last column is no model: it is Holdfast’s crates themselves, with the same steps.";
    }
    text += "</p>\n<table class=\"grid\"><thead><tr><th scope=\"col\">scenario</th>";
    for policy in Policy::ALL {
        let _ = write!(text, "<th scope=\"col\">{}</th>", policy.rules().short);
    }
    if contents.real.is_some() {
        text += "<th scope=\"col\">the crates</th>";
    }
    text += "</tr></thead><tbody>\n";
    for ((scenario, same), (_, reports)) in contents
        .table
        .distinct()
        .into_iter()
        .zip(contents.table.rows())
    {
        let row = same.unwrap_or(scenario.row);
        let groups = &ways[row];
        let _ = write!(
            text,
            "<tr><th scope=\"row\"><a href=\"#{}\">{}</a> {}</th>",
            anchor(row),
            scenario.row,
            escape(scenario.title)
        );
        for (policy, report) in Policy::ALL.into_iter().zip(reports) {
            let group = groups
                .iter()
                .position(|group| group.policies.contains(&policy));
            let ours = ours(policy);
            let _ = write!(
                text,
                "<td{ours} data-of=\"{}\"><a href=\"#{}-{}\" title=\"{}\">{}</a></td>",
                policy.rules().short,
                anchor(row),
                group.unwrap_or(0),
                escape(&report.sentence()),
                badge(&report.cell())
            );
        }
        if let Some(cell) = contents.real.and_then(|real| real.cell(scenario.row)) {
            let _ = write!(
                text,
                "<td class=\"ours\" data-of=\"the crates\"><a href=\"#{}-real\" title=\"{}\">{}</a></td>",
                anchor(scenario.row),
                escape(cell.refused.as_deref().unwrap_or("")),
                badge(&cell.word)
            );
        }
        text += "</tr>\n";
    }
    text + "</tbody></table>\n\
            <p class=\"note\">UAF: freed storage is used, or storage with somebody alive in it is freed. UAFin: a finalized object is used. twice: a finalizer runs \
            inside itself. abort: an assertion fails. order: everything is finalized once, but an owner before its region (<a href=\"#rC18\">C18</a> has all of them); that is said in the \
            cell where nothing worse happens, and else in the sentence of its graphs. Where several happen, all are named.</p>\n"
        + &differences(contents)
}

/// Where Holdfast's cells are not those that the discussion's summary gives.
fn differences(contents: &Contents<'_>) -> String {
    let shown = |row: &str| {
        contents
            .table
            .rows()
            .any(|(scenario, _)| scenario.row == row)
    };
    let mut text = String::new();
    for difference in DIFFERENT.iter().filter(|known| shown(known.row)) {
        let _ = writeln!(
            text,
            "<li>{}: {}.</li>",
            difference.row,
            escape(&difference.sentence())
        );
    }
    if text.is_empty() {
        return text;
    }
    format!(
        "<p class=\"note\">Cells of Holdfast’s column that the summary of the discussion gives otherwise; of the other columns none differs.</p>\n<ul class=\"note\">{text}</ul>\n"
    )
}
