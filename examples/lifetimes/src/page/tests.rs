//! Whether the page is whole: well-formed, alone, every link leads somewhere, every cell is there.

use super::{Agreement, Cell, Contents, Explained, Real, anchor, escape, write};
use crate::checker::Checked;
use crate::exhibit::lines;
use crate::policy::Policy;
use crate::product::devices::{Bundled, Placed};
use crate::product::latency::{Answer, Meanwhile, Measured, Unmap};
use crate::product::misbehaviour::Held;
use crate::scenario::{Scenario, Verdict};
use crate::search::Breadth;
use crate::search::campaign::{Searched, search_all};
use crate::severity::{Course, Events, Point, Sizes, Took, grouped, loops};
use crate::table::Table;
use crate::timeline::Moment;
use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

fn answer(after: u64, beyond: u64) -> Answer {
    Answer {
        after: Duration::from_micros(after),
        beyond: Duration::from_micros(beyond),
        early: 0,
        calm: 15,
        tries: 15,
        is_judged: true,
    }
}

fn cell(scenario: &Scenario) -> Cell {
    Cell {
        row: scenario.row,
        verdict: Verdict::Clean,
        word: "ok".into(),
        is_good: true,
        wrong: None,
        refused: (scenario.row == "2c").then(|| "a <region> & its \"owner\"".into()),
        order: vec!["M".into(), "D".into()],
        held: vec![],
        left: vec![],
        why: vec![],
        checked: Checked {
            regions: 2,
            ..Checked::default()
        },
        moments: vec![Moment {
            step: "unplug D".into(),
            happened: vec!["D is finalized".into()],
        }],
        pictures: (scenario.row == "3c").then(|| ["<b>one</b>", "<b>two</b>"].map(Into::into)),
        stages: vec![],
        shown: lines(scenario),
    }
}

fn real(table: &Table) -> Real {
    let cells = table.rows().map(|(scenario, _)| cell(scenario));
    let points = [0, 5, 10].map(|cycle| Point {
        cycle,
        objects: 3,
        bytes: 4096,
    });
    Real {
        unseen: None,
        cells: cells.collect(),
        agreement: Some(Agreement {
            sequences: 1234,
            steps: 45678,
            refused: 5,
            checked: Checked {
                spaces: 4321,
                ..Checked::default()
            },
            source: "all of them random walks".into(),
            differences: vec![],
        }),
        courses: vec![(
            "3c",
            Course {
                name: "the crates",
                points: points.to_vec(),
                is_aborted: false,
                took: Some(Took {
                    returned: Duration::from_micros(12),
                    finalized: Duration::from_micros(345),
                }),
                events: Some(Events {
                    cycles: 10,
                    devices: 20,
                    least: 1,
                    most: 1,
                }),
            },
        )],
        explained: vec![Explained {
            rows: &["3c", "2a'"],
            title: "a field",
            near: "nearly",
            text: "held by handles [handle] at lib.rs:7, taken in the code of <card>".into(),
            held: vec![Held {
                by: "<card>".into(),
                reason: "handle",
                place: "lib.rs:7".into(),
                line: "[handle] at lib.rs:7, taken in the code of <card>".into(),
            }],
            left: (2, 0),
        }],
        devices: vec![Bundled {
            name: "a-card",
            regions: vec![Placed {
                name: "bar<0>".into(),
                kind: "RAM".into(),
                container: "system".into(),
                is_own: false,
                is_left: true,
            }],
            gone: Err("device =(handle)=> device".into()),
        }],
        unmaps: Some(Measured {
            unmaps: vec![
                Unmap {
                    stays: Duration::ZERO,
                    hurried: answer(401, 401),
                    unhurried: answer(1022, 1022),
                },
                Unmap {
                    stays: Duration::from_millis(1),
                    hurried: answer(1011, 11),
                    unhurried: answer(1555, 555),
                },
                Unmap {
                    stays: Duration::from_millis(5),
                    hurried: Answer {
                        calm: 2,
                        is_judged: false,
                        ..answer(99_000, 94_000)
                    },
                    unhurried: answer(6555, 1555),
                },
            ],
            waking: Duration::from_micros(100),
            meanwhile: Meanwhile {
                control: 20,
                cursor: 20,
                aside: 20,
                reads: 123,
                ..Meanwhile::default()
            },
        }),
    }
}

fn page(with_real: bool) -> &'static str {
    static PAGES: [OnceLock<String>; 2] = [OnceLock::new(), OnceLock::new()];
    PAGES[usize::from(with_real)].get_or_init(|| make_page(with_real))
}

fn make_page(with_real: bool) -> String {
    let table = Table::of_everything();
    let searches = search_all(&Policy::ALL, |_| 2, Breadth::Core, u64::MAX, |_| ());
    let sizes = Sizes::default();
    let loops = loops(
        table.rows().map(|(scenario, _)| scenario),
        3,
        &sizes,
        |_, _| (),
    );
    let real = real(&table);
    write(&Contents {
        table: &table,
        searches: &searches,
        loops: &loops,
        sizes,
        real: with_real.then_some(&real),
    })
}

#[test]
fn a_search_that_was_cut_claims_the_steps_that_it_took() {
    let table = Table::of_everything();
    let searches = search_all(&[Policy::Withdrawal], |_| 40, Breadth::Core, 500, |_| ());
    let depth = searches.iter().map(|it| it.found.depth).min().unwrap();
    assert!(searches.iter().all(|it| it.found.is_cut) && depth < 10);
    let page = write(&Contents {
        table: &table,
        searches: &searches,
        loops: &[],
        sizes: Sizes::default(),
        real: None,
    });
    assert!(!page.contains("up to 40"));
    for said in ["up to {} steps", "up to {} of the steps"] {
        let said = said.replace("{}", &depth.to_string());
        assert_eq!(page.matches(&said).count(), 1, "{said}");
    }
}

/// Whatever makes the exit status 1 is in the first sentence, and nothing there says that all is well.
#[test]
fn the_verdict_says_whatever_is_wrong() {
    let table = Table::of_everything();
    let verdict = |real: &Real, searches: &[Searched]| {
        let contents = Contents {
            table: &table,
            searches,
            loops: &[],
            sizes: Sizes::default(),
            real: Some(real),
        };
        let page = write(&contents);
        let begin = page.find("<p class=\"verdict\">").unwrap();
        let first = page[begin..].split("</p>").next().unwrap().to_owned();
        let failures = contents.failures();
        assert_eq!(first.contains("nothing leaks"), failures.is_empty());
        let is_clean = first.contains("finds nothing either");
        assert_eq!(is_clean, failures.is_empty() && !searches.is_empty());
        for failure in failures {
            assert!(first.contains(&escape(&failure)), "{failure}: {first}");
        }
        first
    };
    let mut all = real(&table);
    let loops = verdict(&all, &[]);
    assert!(loops.contains("does not hold</strong>: 3c in a loop on the crates. "));
    all.courses.clear();
    let ours = search_all(
        &[Policy::Withdrawal],
        |_| 2,
        Breadth::Core,
        u64::MAX,
        |_| (),
    );
    assert!(verdict(&all, &ours).contains("nothing leaks"));
    all.cells[3].is_good = false;
    all.cells[3].wrong = Some("M goes before D".into());
    assert!(verdict(&all, &ours).contains("2a' on the crates: M goes before D"));
    all.cells[3].is_good = true;
    all.unseen = Some("no <device>".into());
    assert!(verdict(&all, &ours).contains("a bundled device: no &lt;device&gt;"));
    all.unseen = None;
    let agreement = all.agreement.as_mut().unwrap();
    agreement.differences = vec!["after plug D0".into()];
    assert!(verdict(&all, &ours).contains("crates and model differ in 1 sequences"));
    all.agreement = None;
    let mut bad = search_all(&[Policy::Piggyback], |_| 2, Breadth::Core, u64::MAX, |_| ());
    bad[0].policy = Policy::Withdrawal;
    let count = grouped(bad[0].found.count(|_| true));
    let said = format!("a search finds {count} states that end badly");
    assert!(verdict(&all, &bad[..1]).contains(&said));
}

/// The values of an attribute.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let begin = format!(" {attribute}=\"");
    let parts = page.split(begin.as_str()).skip(1);
    parts.filter_map(|part| part.split('"').next()).collect()
}

/// Reads the page as XML: every element is closed in its turn, every attribute is quoted, `<` and `&` are written as entities.
fn assert_well_formed(page: &str) {
    let mut rest = page
        .strip_prefix("<!DOCTYPE html>\n")
        .expect("a doctype first");
    let mut open: Vec<&str> = Vec::new();
    while let Some((text, tag)) = rest.split_once('<') {
        for entity in text.split('&').skip(1) {
            let name = entity.split(';').next().unwrap();
            assert!(["amp", "lt", "gt", "quot"].contains(&name), "&{name}");
        }
        let (tag, after) = tag.split_once('>').expect("a tag ends");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{open:?}");
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap();
        let attributes = tag[name.len()..].trim_end_matches('/');
        let pieces: Vec<_> = attributes.split('"').collect();
        assert_eq!(pieces.len() % 2, 1, "<{tag}>: quotes are in pairs");
        for name in pieces.iter().step_by(2).take(pieces.len() / 2) {
            let name = name.trim_start().strip_suffix('=').unwrap_or_default();
            let is_name =
                !name.is_empty() && name.chars().all(|it| it.is_alphanumeric() || it == '-');
            assert!(is_name, "<{tag}>: {name}");
        }
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new(), "everything is closed");
}

#[test]
fn the_page_is_well_formed_and_alone_and_not_large() {
    for page in [page(false), page(true)] {
        assert_well_formed(page);
        let lower = page.to_lowercase();
        for word in [
            "http:",
            "https:",
            "src=",
            "url(",
            "@import",
            "<link",
            "<script",
            "javascript",
        ] {
            assert!(!lower.contains(word), "{word}");
        }
        assert!(values(page, "href").iter().all(|to| to.starts_with('#')));
        assert!(page.len() < 3 << 20, "{} bytes", page.len());
    }
}

#[test]
fn every_link_leads_to_one_place() {
    let page = page(true);
    let ids = values(page, "id");
    let unique: BTreeSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "no name twice");
    for to in values(page, "href") {
        assert!(
            ids.contains(&to.trim_start_matches('#')),
            "{to} leads nowhere"
        );
    }
}

#[test]
fn every_cell_is_there_and_leads_to_graphs_of_its_outcome() {
    let table = Table::of_everything();
    let page = page(true);
    let grid = page.split("<table class=\"grid\">").nth(1).unwrap();
    let grid = grid.split("</table>").next().unwrap();
    let rows: Vec<_> = grid.split("<tr>").skip(2).collect();
    assert_eq!(rows.len(), table.rows().count());
    for (row, (scenario, reports)) in rows.iter().zip(table.rows()) {
        assert!(row.contains(&escape(scenario.title)));
        let cells: Vec<_> = row.split("<td").skip(1).collect();
        assert_eq!(cells.len(), Policy::ALL.len() + 1, "and the crates");
        for (cell, report) in cells.iter().zip(reports) {
            let words: Vec<_> = cell
                .split("</b>")
                .filter_map(|it| it.rsplit_once('>'))
                .collect();
            let words: Vec<_> = words.iter().map(|(_, word)| *word).collect();
            assert_eq!(
                words[..words.len() - 1].join("+"),
                report.cell(),
                "row {}",
                scenario.row
            );
            let to = values(cell, "href")[0].trim_start_matches('#');
            let place = page.split(&format!("<details id=\"{to}\"")).nth(1);
            let place = place.unwrap_or_else(|| panic!("row {}: no graphs at {to}", scenario.row));
            let figures = place.split("</details>").next().unwrap();
            assert_eq!(figures.matches("<svg class=\"graph\"").count(), 2);
            let summary = figures.split("</summary>").next().unwrap();
            for word in report.cell().split('+') {
                assert!(
                    summary.contains(&format!(">{word}</b>")),
                    "row {}",
                    scenario.row
                );
            }
        }
    }
}

#[test]
fn every_picture_says_in_words_what_it_shows() {
    let page = page(true);
    let pictures = page.matches("<svg ").count();
    let labels = values(page, "aria-label");
    assert_eq!(labels.len(), pictures);
    assert!(labels.iter().all(|label| label.len() > 20));
}

/// What is written beside the courses is inside the chart, and no line of it on another.
#[test]
fn charts_are_not_clipped() {
    let page = page(true);
    for chart in page.split("<svg class=\"chart\"").skip(1) {
        let chart = chart.split("</svg>").next().unwrap();
        let mut heights: Vec<f64> = Vec::new();
        for text in chart.split("<text class=\"end").skip(1) {
            let x: f64 = values(text, "x")[0].parse().unwrap();
            heights.push(values(text, "y")[0].parse().unwrap());
            let words = text.split_once('>').unwrap().1.split('<').next().unwrap();
            assert!(
                x + crate::picture::route::text_width(words, 10.) <= 400.,
                "{words}"
            );
        }
        heights.sort_by(f64::total_cmp);
        assert!(
            heights.iter().all(|at| (10. ..=150.).contains(at)),
            "{heights:?}"
        );
        assert!(
            heights.windows(2).all(|two| two[1] - two[0] >= 11.),
            "{heights:?}"
        );
    }
}

/// What the print style leaves out is said where it is left out, and only there.
#[test]
fn what_is_not_printed_is_said_on_paper() {
    let page = page(true);
    assert!(
        page.contains("details:not(.fine)::details-content")
            && page.contains(".drawn{display:none}")
    );
    let (screen, paper) = page.split_once("@media print{").unwrap();
    assert!(screen.contains(".paper{display:none}") && paper.contains(".paper{display:block}"));
    assert!(paper.contains("<p class=\"note paper\">Not printed"));
}

#[test]
fn what_the_crates_said_is_escaped_and_shown() {
    let with = page(true);
    let differs = crate::given::DIFFERENT.iter();
    for given in differs.filter(|given| with.contains(&format!("id=\"{}\"", anchor(given.row)))) {
        assert!(with.contains(&format!("<li>{}: ", given.row)), "{given:?}");
    }
    assert!(with.contains("a &lt;region&gt; &amp; its &quot;owner&quot;"));
    assert!(
        with.contains("In 1,234 generated sequences of 45,678 steps in all, 5 of them refused")
            && with.contains("after every step (all of them random walks).")
            && with.contains("4,321 address spaces were closed before their holders")
    );
    assert!(with.contains(&format!("id=\"{}-real\"", anchor("2a'"))));
    assert!(!page(false).contains("-real\""));
    assert!(with.contains("the crates: 345 µs, the call itself 12 µs"));
    assert!(with.contains("the crates: one from each of 20 devices in 10 cycles"));
    assert!(
        with.contains("bar&lt;0&gt;")
            && with.contains("no: <pre>device =(handle)=&gt; device</pre>")
    );
    assert!(with.contains(">1011</td>") && with.contains(">555</td>"));
    // 100 µs and three threads; 600, 20 and a fourth. The first is above it by one.
    assert!(with.contains(">401 <b class=\"word fault\">above</b></td>"));
    assert!(
        with.contains(">400</td>") && with.contains(">1022</td>") && with.contains(">1120</td>")
    );
    assert_eq!(with.matches(">above</b>").count(), 1);
    // What is late in a busy machine is nobody's mistake, as far as can be told.
    assert!(with.contains(">94000 <small>not judged: calm in 2 of 15</small></td>"));
    assert!(with.contains("0 of these were answered") && with.contains("read its bytes 123 times"));
    // Each of its rows leads to the explanation, and it to each of them.
    assert_eq!(with.matches("href=\"#why-0\"").count(), 2);
    let why = with.split("<article id=\"why-0\">").nth(1).unwrap();
    let why = why.split("</article>").next().unwrap();
    assert!(why.contains("#r3c") && why.contains("#r2ap") && why.contains("nearly"));
}

/// The same lines as a terminal gets, in the article of the scenario.
#[test]
fn what_a_scenario_shows_in_lines_is_on_the_page() {
    let table = Table::of_everything();
    let real = real(&table);
    let shown: Vec<&str> = real
        .cells
        .iter()
        .filter(|cell| !cell.shown.text.is_empty())
        .map(|cell| cell.row)
        .collect();
    assert_eq!(shown, ["5", "5b", "C8", "C11", "C15"]);
    for (row, part) in [
        ("5", "al, at 0x5000, reads as 0xc0de"),
        ("5b", "al, at 0x5000, reads as unassigned"),
        ("C8", "free the node of space 0: a no-op: done before"),
        ("C11", "al, at 0x5000, reads as unassigned"),
        ("C15", "demo lifetimes --without CloseOpened --steps 6"),
    ] {
        let cell = real.cell(row).unwrap();
        let on_page = super::scenarios::shown(cell);
        assert!(on_page.contains(part), "{row}: {on_page}");
        let mut lines = cell.shown.text.lines();
        let head = super::scenarios::as_heading(lines.next().unwrap());
        assert!(on_page.contains(&format!("<summary>{}</summary>", escape(&head))));
        let all = lines.all(|line| on_page.contains(&escape(line.trim())));
        assert!(all, "{row}: {on_page}");
    }
    let with = page(true);
    for cell in &real.cells {
        assert!(
            with.contains(&super::scenarios::shown(cell)),
            "{}",
            cell.row
        );
    }
    assert_eq!(with.matches("<details class=\"shown\"").count(), 5);
}

#[test]
fn what_the_ledger_does_not_explain_is_a_failure_and_so_is_a_loop_that_leaves_something() {
    let mut real = real(&Table::of_everything());
    assert_eq!(real.failures(), ["3c in a loop on the crates"]);
    real.courses[0].1.points.clear();
    assert!(real.failures().is_empty());
    // One had two and another none.
    let events = real.courses[0].1.events.as_mut().unwrap();
    (events.least, events.most) = (0, 2);
    assert_eq!(
        real.failures(),
        ["unplug events of 3c in a loop on the crates"]
    );
    real.courses.clear();
    let line = std::mem::take(&mut real.explained[0].held[0].line);
    real.explained[0].held[0].line = "lib.rs:8".into();
    assert_eq!(real.failures(), ["not explained: a field"]);
    real.explained[0].held[0].line = line;
    real.cells[3].is_good = false;
    assert_eq!(real.failures(), ["2a' on the crates"]);
    real.cells[3].wrong = Some("M goes before D".into());
    let told = "2a' on the crates: M goes before D";
    assert_eq!(real.failures(), [told]);
    real.cells[3].is_good = true;
    real.cells[3].shown.is_wrong = true;
    assert_eq!(real.failures(), ["what 2a' shows on the crates"]);
    real.cells[3].shown.is_wrong = false;
    let unmaps = real.unmaps.as_mut().unwrap();
    unmaps.unmaps[1].hurried.early = 1;
    assert!(real.failures()[0].starts_with("C13"));
}
