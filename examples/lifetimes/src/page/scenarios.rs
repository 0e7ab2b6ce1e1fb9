//! The scenarios one by one: steps, and for each outcome the graph before and at the end.

use super::{Cell, Contents, anchor, badge, escape, measured};
use crate::checker::Checked;
use crate::exhibit::{self, Exhibit, STAGES};
use crate::order;
use crate::picture::{self, Plate};
use crate::policy::Policy;
use crate::scenario::{Report, Scenario, Script, Verdict};
use crate::table::Table;
use crate::timeline;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Policies under which a scenario goes the same way.
pub(super) struct Group {
    /// Which.
    pub(super) policies: Vec<Policy>,
    /// The pictures of the first.
    plate: Plate,
}

/// Shown in print only.
const ON_PAPER: &str = "<p class=\"note paper\">Not printed, but on the page: what is folded there of policies under which a scenario ends well or in a wrong order only, the crates’ own reference graphs, and loops that leak under mutual \
    strong references only. Their headings stand in their places, but those of the crates’ graphs.</p>";

/// Of each scenario that has steps of its own, by its number: the ways that it goes.
pub(super) type Ways = BTreeMap<&'static str, Vec<Group>>;

/// The ways of all scenarios of a table.
pub(super) fn ways(table: &Table) -> Ways {
    let distinct = table.distinct().into_iter();
    let own = distinct.filter(|(_, same)| same.is_none());
    own.map(|(scenario, _)| (scenario.row, groups(scenario)))
        .collect()
}

/// The ways that a scenario goes: one for all policies whose pictures and words are the same.
fn groups(scenario: &Scenario) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for plate in picture::album(scenario).plates {
        let same = |group: &&mut Group| {
            let known = &group.plate;
            known.before.svg == plate.before.svg
                && known.after.svg == plate.after.svg
                && known.report.cell() == plate.report.cell()
                && known.report.sentence() == plate.report.sentence()
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.policies.push(plate.policy),
            None => groups.push(Group {
                policies: vec![plate.policy],
                plate,
            }),
        }
    }
    groups
}

pub(super) fn write(contents: &Contents<'_>, ways: &Ways) -> String {
    let mut text = format!("{LEGEND}{ON_PAPER}");
    for (scenario, same) in contents.table.distinct() {
        let _ = write!(
            text,
            "<article id=\"{}\"><h3>{} <span>{}</span></h3>",
            anchor(scenario.row),
            scenario.row,
            escape(scenario.title)
        );
        match same {
            Some(row) => {
                let _ = write!(
                    text,
                    "<p>The steps of <a href=\"#{}\">{row}</a>, where the graphs are.</p>",
                    anchor(row)
                );
            }
            None => {
                text += &steps(scenario);
                for (number, group) in ways[scenario.row].iter().enumerate() {
                    text += &one(scenario.row, number, group);
                }
            }
        }
        if exhibit::of(scenario.row) == Some(Exhibit::Timeline) {
            text += &timelines(contents, scenario);
        }
        if exhibit::of(scenario.row) == Some(Exhibit::Orders) {
            text += &orders(contents.table);
        }
        text += &real(contents, scenario.row);
        text += &measured::of(contents.real, scenario.row);
        text += &provoked(contents, scenario.row);
        text += "</article>\n";
    }
    text
}

const LEGEND: &str = "<p>A solid line is a count, and what is open is kept by whom it is open for, until the code named on the line closes it. A dashed \
    line is a bare pointer. <b class=\"word leak\">Red and heavy</b> is what keeps somebody who should be gone: a cycle, or a chain from the machine. The \
    number on an object is the count that keeps it. Who is finalized is a ghost, with the place of its finalizer in the order in a circle; who is drawn with a \
    heavy broken frame was used after that, or failed an assertion. Open at first are what QEMU has today, skip-same-owner, and Holdfast.</p>\n";

fn steps(scenario: &Scenario) -> String {
    let script = Script::of(scenario);
    let steps = script
        .steps
        .iter()
        .map(|step| escape(&step.show(&script.cast)));
    let steps: Vec<_> = steps.collect();
    format!("<p class=\"steps\">{}.</p>", steps.join("; "))
}

fn one(row: &str, number: usize, group: &Group) -> String {
    let Group { policies, plate } = group;
    let names: Vec<_> = policies.iter().map(|policy| policy.rules().short).collect();
    let is_open =
        policies.contains(&Policy::SkipSameOwner) || policies.contains(&Policy::Withdrawal);
    let mut sentence = match plate.report.sentence() {
        text if text.is_empty() => "everything is finalized".into(),
        text => text,
    };
    let graph = &plate.after.graph;
    for node in graph
        .nodes
        .iter()
        .filter(|node| node.is_left && node.count > Some(0))
    {
        if !graph
            .lines
            .iter()
            .any(|line| line.is_counted && line.to == node.who)
        {
            let _ = write!(
                sentence,
                "; nobody is there who would drop the count of {}",
                node.name
            );
        }
    }
    let order = plate.report.order();
    let order = match order.len() {
        0 => "no finalizer runs".into(),
        _ => format!("finalizers: {}", order.join(", ")),
    };
    let after = if plate.report.verdict == Verdict::Abort {
        "at the assertion"
    } else {
        "at the end"
    };
    format!(
        "<details id=\"{}-{number}\"{}{}><summary>{} <span class=\"who\">{}</span> <span class=\"how\">{}</span></summary>\
         <div class=\"pair\"><figure><figcaption>before “{}”</figcaption>{}</figure>\
         <figure><figcaption>{after}; {}</figcaption>{}</figure></div></details>\n",
        anchor(row),
        if is_open { " open=\"open\"" } else { "" },
        // On paper graphs of what ends well elsewhere are left out, and where everything ends the order is in words.
        if plate.report.verdict.is_rid_of_all() {
            " class=\"fine\""
        } else {
            ""
        },
        badge(&plate.report.cell()),
        names.join(", "),
        escape(&sentence),
        escape(&plate.step),
        plate.before.svg,
        escape(&order),
        plate.after.svg
    )
}

/// What the real crates did with the same steps.
fn real(contents: &Contents<'_>, row: &str) -> String {
    let Some(cell) = contents.real.and_then(|real| real.cell(row)) else {
        return String::new();
    };
    let mut text = format!(
        "<p class=\"real\" id=\"{}-real\">{} <span class=\"who\">the crates</span> ",
        anchor(row),
        badge(&cell.word)
    );
    if let Some(error) = &cell.refused {
        let _ = write!(text, "<q>{}</q>. ", escape(error));
    }
    if !cell.order.is_empty() {
        let _ = write!(text, "Finalizers: {}. ", escape(&cell.order.join(", ")));
    }
    text += "</p>";
    if let Some([before, after]) = &cell.pictures {
        let _ = writeln!(
            text,
            "<details class=\"fine drawn\"><summary>The crates’ own reference graph</summary><div class=\"pair\">\
             <figure><figcaption>before anything is taken away</figcaption>{before}</figure>\
             <figure><figcaption>at the end</figcaption>{after}</figure></div></details>"
        );
    }
    text += &stages(cell);
    text += &shown(cell);
    for (head, list) in [
        ("What the ledger said while it was still held", &cell.held),
        ("What the ledger says keeps it", &cell.why),
    ] {
        if !list.is_empty() {
            let _ = write!(
                text,
                "<details><summary>{head}</summary><pre>{}</pre></details>",
                escape(&list.join("\n"))
            );
        }
    }
    text
}

/// What happens in order, once for all policies in which it is the same; on the crates as they tell it.
fn timelines(contents: &Contents<'_>, scenario: &Scenario) -> String {
    let mut text = String::from(
        "<details open=\"open\"><summary>Who did what when</summary><div class=\"timelines\">",
    );
    for (names, moments) in timeline::under_every_policy(scenario) {
        let _ = write!(
            text,
            "<div class=\"timeline\"><h4>{}</h4>",
            names.join(", ")
        );
        for moment in &moments {
            text += &events(&moment.step, &moment.happened);
        }
        text += "</div>";
    }
    if let Some(cell) = contents.real.and_then(|real| real.cell(scenario.row)) {
        text += "<div class=\"timeline\"><h4>the crates</h4>";
        for moment in &cell.moments {
            text += &events(&moment.step, &moment.happened);
        }
        text += "</div>";
    }
    text + "</div></details>\n" + &promises(contents)
}

/// The orders of ends that were looked at, in all scenarios.
fn promises(contents: &Contents<'_>) -> String {
    let mut model = Checked::default();
    for (scenario, _) in contents.table.rows() {
        let report = contents.table.report(scenario.row, Policy::Withdrawal);
        if let Some(Ok(checked)) = report.map(Report::check_order) {
            model.add(checked);
        }
    }
    let mut text = format!(
        "<p class=\"note\">In all scenarios, under Holdfast’s rules: {}.",
        model.sentence()
    );
    if let Some(real) = contents.real {
        let mut crates = Checked::default();
        for cell in &real.cells {
            crates.add(cell.checked);
        }
        let _ = write!(text, " On the crates: {}.", crates.sentence());
    }
    text + " The order of any other scenario: <code>cargo xtask demo lifetimes --row</code> and its number.</p>\n"
}

/// Which owners are finalized before their regions, in the whole table.
fn orders(table: &Table) -> String {
    let wrong = order::wrong(table);
    let mut text = format!(
        "<details open=\"open\"><summary>Wrong orders in all scenarios: {}</summary>\
         <table class=\"blocks\"><thead><tr><th scope=\"col\">scenario</th><th scope=\"col\">policy</th><th scope=\"col\">its word</th>\
         <th scope=\"col\">who before whom, and whom a finalizer touches</th></tr></thead><tbody>\n",
        order::counted(&wrong)
    );
    for one in &wrong {
        let _ = writeln!(
            text,
            "<tr><th scope=\"row\"><a href=\"#{}\">{}</a></th><td data-of=\"policy\">{}</td><td data-of=\"its word\">{}</td>\
             <td data-of=\"who before whom, and whom a finalizer touches\">{}</td></tr>",
            anchor(one.row),
            one.row,
            one.policy.rules().short,
            badge(&one.cell),
            escape(&one.sentence)
        );
    }
    text + "</tbody></table></details>\n"
}

fn events(step: &str, happened: &[String]) -> String {
    let items = happened.iter().map(|what| {
        let class = if what.starts_with("wrong") {
            " class=\"wrong\""
        } else {
            ""
        };
        format!("<li{class}>{}</li>", escape(what))
    });
    format!(
        "<p class=\"step\">{}</p><ol>{}</ol>",
        escape(step),
        items.collect::<String>()
    )
}

/// What a terminal gets in lines.
pub(super) fn shown(cell: &Cell) -> String {
    let mut lines = cell.shown.text.lines();
    let Some(head) = lines.next() else {
        return String::new();
    };
    let lines: Vec<_> = lines.map(|line| escape(line.trim_start())).collect();
    format!(
        "<details class=\"shown\" open=\"open\"><summary>{}</summary><pre>{}</pre></details>\n",
        escape(&as_heading(head)),
        lines.join("\n")
    )
}

/// A line that introduces others, as their heading.
pub(super) fn as_heading(line: &str) -> String {
    let line = line.trim_end_matches(':');
    let (first, rest) = line.split_at(line.chars().next().map_or(0, char::len_utf8));
    first.to_uppercase() + rest
}

/// The real graph after each step.
fn stages(cell: &Cell) -> String {
    if cell.stages.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "<details class=\"stages\" open=\"open\"><summary>{}</summary><div class=\"pair\">",
        escape(&as_heading(STAGES))
    );
    for (number, stage) in cell.stages.iter().enumerate() {
        let _ = write!(
            text,
            "<figure><figcaption>{}. after “{}”</figcaption>{}{}</figure>",
            number + 1,
            escape(&stage.step),
            stage.svg,
            match stage.said.len() {
                0 => "<p class=\"note\">The ledger: nobody is withdrawn and not finalized.</p>"
                    .into(),
                _ => format!("<pre>{}</pre>", escape(&stage.said.join("\n"))),
            }
        );
    }
    text + "</div></details>\n"
}

/// Where the leak of a scenario was provoked on the real crates, and explained.
fn provoked(contents: &Contents<'_>, row: &str) -> String {
    let explained = contents.real.iter().flat_map(|real| real.explained_as(row));
    let links: Vec<_> = explained
        .map(|(number, one)| format!("<a href=\"#why-{number}\">{}</a>", escape(one.title)))
        .collect();
    if links.is_empty() {
        return String::new();
    }
    format!(
        "<p class=\"note\">Its leak, provoked on the crates and explained by the ledger: {}.</p>",
        links.join("; ")
    )
}
