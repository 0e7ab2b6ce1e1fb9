//! The product through the interface of the scenarios: each is played on the real crates, and compared with the model's last column.

use holdfast_lifetimes::checker::Checked;
use holdfast_lifetimes::product::misbehaviour::Held;
use holdfast_lifetimes::scenario::demonstrations::DEMONSTRATIONS;
use holdfast_lifetimes::scenario::rows::ROWS;
use holdfast_lifetimes::scenario::{Scenario, Verdict, play};
use holdfast_lifetimes::step::Refusal;
use holdfast_lifetimes::{Policy, product};
use std::collections::BTreeSet;
use std::time::Duration;

/// By which error: what each refusal says, and of whom.
const REFUSED: &[(&str, &[&str])] = &[
    ("2c", &["cannot join address space", "is in init"]),
    (
        "7c",
        &["/machine/G", "cannot own `blob`", "`memory-region`"],
    ),
    ("8", &["cannot own `M`", "`lifetimes-card`"]),
    (
        "9'",
        &["/machine/D/M[0]", "/machine/E", "its parent is /machine/D"],
    ),
    ("13", &["cannot join /machine/S[0]", "is in init"]),
    ("16", &["/machine/D (withdrawn)", "`space0`"]),
    ("16'", &["M is gone"]),
    (
        "17",
        &[
            "/machine/D/M[0]",
            "cannot be added to /machine/S[0]",
            "it is in /machine/D/C[0]",
        ],
    ),
    ("C1", &["cannot join address space", "is in init"]),
    ("C16", &["/machine/D/M[0] is not in /machine/D/C[0]"]),
];

#[test]
fn every_scenario_ends_on_the_product_as_in_the_model() {
    for scenario in ROWS.iter().chain(DEMONSTRATIONS) {
        let row = scenario.row;
        let model = play(scenario, Policy::Withdrawal.rules());
        let real = product::play(scenario);
        assert!(real.verdict.is_good(), "{row}: {real:#?}");
        assert_eq!(real.verdict, model.verdict, "{row}: {:#?}", real.moments);
        let promised = model.check_order().unwrap_or_else(|broken| {
            panic!("{row}: the model: {}", broken.show(|id| format!("{id:?}")))
        });
        // Who is finalized after whom is looked at in both, as often.
        let mut checked = real.checked;
        if row == "C14" {
            // Its machine has threads of its own, and nobody looks at its spaces between their calls.
            assert_eq!((checked.shown, checked.spaces), (0, 0));
            checked = Checked {
                regions: checked.regions,
                ..promised
            };
        }
        assert_eq!(checked, promised, "{row}: {:#?}", real.moments);
        assert_eq!(real.left, [""; 0], "{row}");
        assert_eq!(real.why, [""; 0], "{row}");
        let model_order: BTreeSet<String> = model.order().iter().map(ToString::to_string).collect();
        let real_order: BTreeSet<String> = real.order.iter().cloned().collect();
        assert_eq!(real_order, model_order, "{row}: who is finalized");
        assert_eq!(real.order.len(), real_order.len(), "{row}: once each");
        let expected = REFUSED.iter().find(|(known, _)| *known == row);
        assert_eq!(
            real.refused.is_some(),
            expected.is_some(),
            "{row}: {:?}",
            real.refused
        );
        for part in expected.map_or(&[][..], |(_, parts)| parts) {
            let text = real.refused.as_deref().unwrap_or_default();
            assert!(text.contains(part), "{row}: no `{part}` in `{text}`");
        }
        if !matches!(real.verdict, Verdict::Refused(_)) {
            assert!(real.refused.is_none());
        }
    }
}

#[test]
fn generated_sequences_end_on_the_product_as_in_the_model() {
    // Without optimization each takes longer.
    let count = if cfg!(debug_assertions) { 1000 } else { 4000 };
    let agreement = product::agree(count, 1, |_| {});
    let shown: Vec<_> = agreement.disagreements.iter().take(5).collect();
    assert!(
        shown.is_empty(),
        "{} differ: {shown:#?}",
        agreement.disagreements.len()
    );
    assert_eq!(agreement.sequences, count);
    assert!(
        agreement.steps > 8 * count && agreement.refused > count,
        "{agreement:?}"
    );
    // A call on somebody who is withdrawn, and a second container: each about every second sequence at least.
    for refusal in [Refusal::Withdrawn, Refusal::Contained] {
        let times = agreement.refusals.get(&refusal);
        assert!(times > Some(&(count / 2)), "{refusal:?}: {agreement:?}");
    }
    assert!(agreement.unmaps > count / 10, "{agreement:?}");
    // Four regions of the devices' each time; a shown one and a space in somebody's name now and then.
    let checked = agreement.checked;
    assert_eq!(checked.regions, 4 * count);
    assert!(
        checked.shown > count / 2 && checked.spaces > count / 5,
        "{checked:?}"
    );
    // Everybody but the machine's own container, each time.
    assert_eq!(agreement.finalized, 7 * agreement.sequences);
}

#[test]
fn the_ledger_explains_whoever_misbehaves_by_holder_reason_and_source_line() {
    let leaks = product::misbehaviour::all();
    let explained: BTreeSet<&str> = leaks.iter().flat_map(|leak| leak.rows).copied().collect();
    // What leaks under any policy has been provoked, and what has been provoked leaks.
    let leaks_somewhere = |scenario: &&Scenario| {
        let mut reports = Policy::ALL
            .map(|policy| play(scenario, policy.rules()))
            .into_iter();
        reports.any(|report| report.cell().contains("LEAK"))
    };
    let all = ROWS.iter().chain(DEMONSTRATIONS);
    let leaking: BTreeSet<&str> = all.filter(leaks_somewhere).map(|one| one.row).collect();
    assert_eq!(explained, leaking);
    assert!(leaking.len() > 40, "{leaking:?}");
    // Each deed's own line, not that of a function which they share; both rings share theirs.
    let places: BTreeSet<&str> = leaks.iter().map(|leak| &*leak.held[0].place).collect();
    assert!(places.len() + 1 >= leaks.len(), "{places:?}");
    let mut named = TAKERS.iter();
    for leak in &leaks {
        let (title, text) = (leak.title, &leak.text);
        let (row, takers) = named.next().expect("one for each");
        assert_eq!(*row, leak.rows[0], "{title}");
        // Who never had a name has a number, of which nothing is known.
        let without_number = |held: &Held| -> String {
            let by = &held.by;
            by.trim_end_matches(|digit: char| digit.is_ascii_digit())
                .into()
        };
        let found: Vec<String> = leak.held.iter().map(without_number).collect();
        assert_eq!(found, *takers, "{title}");
        for held in &leak.held {
            let deed = "examples/lifetimes/src/product/misbehaviour/";
            assert!(held.place.starts_with(deed), "{title}: {held:?}");
            // One line says all of it.
            for part in [&held.line, &held.by, held.reason, &held.place] {
                let mut lines = text.lines().filter(|line| line.contains(&*held.line));
                let is_told = lines.any(|line| line.contains(part));
                assert!(is_told, "{title}: no `{part}` in\n{text}");
            }
        }
        for line in text.lines().filter(|line| line.contains("[user handle]")) {
            let is_whose = line.contains("taken in the code of");
            assert!(is_whose, "{title}: `{line}` says not whose in\n{text}");
        }
        let (left, after) = leak.left;
        assert!(left >= 1, "{title}: nobody is left");
        assert_eq!(after, 0, "{title}: it was not what kept them");
        assert!(leak.is_explained());
    }
    assert!(named.next().is_none());
}

/// Whose code takes what is kept, for each who misbehaves.
const TAKERS: &[(&str, &[&str])] = &[
    ("1a", &["lifetimes-hoarder#"]),
    ("1b", &["/machine/card"]),
    ("2a'", &["/machine/card"]),
    ("2b", &["/machine/card"]),
    ("2c", &["lifetimes-hoarder#"]),
    ("3c", &["/machine/card"]),
    ("C3c", &["/machine/card"]),
    ("C4", &["/machine/first", "/machine/second"]),
    ("6b", &["/machine/parent", "/machine/parent/child"]),
    ("7c", &["/machine/card"]),
    ("9'", &["/machine/card"]),
    ("12b", &["/machine/a", "/machine/b"]),
    ("C10b", &["/machine/a", "/machine/b", "/machine/c"]),
    ("11'", &["/machine/board"]),
    ("15", &["/machine/card"]),
    ("15'", &["/machine/card"]),
    ("C15", &["/machine/parent", "/machine/parent/child"]),
    ("C18", &["/machine/card", "/machine/card"]),
    ("2a", &["/machine/card"]),
    ("C5c", &["/machine/device", "/machine/device/heap"]),
    ("7", &["/machine/device/heap"]),
    ("12b", &["/machine/a", "/machine/b"]),
];

#[test]
fn cycles_leave_nothing_behind() {
    use holdfast_lifetimes::product::severity::cycles;
    for scenario in ROWS.iter().chain(DEMONSTRATIONS) {
        let cycles = cycles(scenario, 20, 10);
        // The last finalizer ends after the call that unplugs has begun.
        assert!(
            cycles.took.is_none_or(|took| !took.finalized.is_zero()),
            "{}: {:?}",
            scenario.row,
            cycles.took
        );
        // From each device that is unplugged or dropped: not two from one and none from another.
        if let Some(events) = cycles.events {
            assert!(events.are_right(), "{}: {events}", scenario.row);
        }
        let devices = cycles.events.map(|events| (events.cycles, events.devices));
        match scenario.row {
            "C4" | "C9" => assert_eq!(devices, Some((40, 40)), "each of its two cycles"),
            "12b" => assert_eq!(devices, Some((20, 40))),
            _ => {}
        }
        let samples = cycles.samples;
        assert_eq!(
            samples
                .iter()
                .map(|sample| sample.cycle)
                .collect::<Vec<_>>(),
            [0, 10, 20]
        );
        for sample in samples {
            assert_eq!(
                (sample.live_objects, sample.bytes),
                (0, 0),
                "{}: {sample:?}",
                scenario.row
            );
        }
    }
}

/// Of each bundled device it is known what it would lose; all but the one that misbehaves on purpose can be unplugged.
#[test]
fn the_bundled_devices_are_looked_at() {
    let devices = product::devices::all().unwrap();
    let names: Vec<&str> = devices.iter().map(|device| device.name).collect();
    assert_eq!(
        names,
        [
            "demo-card",
            "demo-dma-engine",
            "demo-hoarder",
            "virtio-gpu-mmio"
        ]
    );
    for device in &devices {
        assert!(!device.regions.is_empty(), "{device:?}");
        // None of them detaches anything: the rules do.
        assert!(
            device.regions.iter().all(|region| region.is_left),
            "{device:?}"
        );
        assert_eq!(
            device.gone.is_err(),
            device.name == "demo-hoarder",
            "{device:?}"
        );
    }
    let card = &devices[0];
    let own: Vec<&str> = card
        .regions
        .iter()
        .filter(|region| region.is_own)
        .map(|region| &*region.name)
        .collect();
    assert_eq!(own, ["regs", "ram"]);
    let why = devices[2].gone.as_ref().unwrap_err();
    assert!(why.contains("examples/src/demo/why_alive.rs:"), "{why}");
}

#[test]
fn nobody_is_answered_while_a_reader_may_be_there() {
    let measured = product::latency::measure(3);
    assert_eq!(measured.unmaps.len(), 4);
    assert!(!measured.is_wrong(), "{measured:?}");
    for unmap in &measured.unmaps {
        assert!(
            unmap.hurried.after >= unmap.stays && unmap.unhurried.after >= unmap.stays,
            "{measured:?}"
        );
    }
}

/// What a scenario measures, lists or draws is in the text about it, not on the page alone.
#[test]
fn what_a_scenario_shows_is_text_as_well() {
    use holdfast_lifetimes::exhibit::{Times, show};
    let times = Times {
        cycles: 10,
        unmaps: 1,
    };
    for (row, parts) in [
        (
            "C4",
            &[
                "C4   guest: the guest points a descriptor",
                "Holdfast: in each of 2 cycles one, after 1 grace period",
                "on the crates: one from each of 20 devices in 20 cycles",
                "skip-same       40 objects,  320 MiB, after 10 cycles",
                "the crates       0 objects,      0 B, after 10 cycles",
            ][..],
        ),
        ("C12", &["virtio-gpu-mmio", "demo-card", "bar* in system"]),
        (
            "C13",
            &[
                "reader stays  1000 µs",
                "answered while the reader was there: 0",
            ],
        ),
        (
            "C14",
            &[
                "on the virtio-gpu and by its ring",
                "after “a reader enters its section, and E begins a transfer”",
                "I/O of /machine/E [pin (I/O in flight)]",
                "W =(subregion)=> blob",
                "after “RESOURCE_UNMAP_BLOB is sent”",
                "the ledger: /machine/gpu/blob[0] is alive",
                "the ledger:   flat views [shown by a view]",
                "blob =(owner)=> V",
                "V =(blob)=> G",
                "the reply is in the ring”",
            ],
        ),
        (
            "C7",
            &[
                "who did what when",
                "unrealize of K runs",
                "N is finalized",
                "the order of ends in all",
                "  the crates\n    open a space on S",
            ],
        ),
        // Of any scenario, in the model and on the crates.
        (
            "2b",
            &[
                "  Holdfast\n",
                "  the crates\n",
                "      space 0 is closed\n      C is finalized\n    whatever passes by itself\n      a grace period ends\n      M is finalized\n",
            ],
        ),
        (
            "C17",
            &[
                "skip-same, count-sub",
                "M is not in C any more: nothing to do",
            ],
        ),
        ("3c", &["Holdfast: after 1 grace period"]),
        // Shown again after its target's end, the alias is a hole.
        (
            "C11",
            &["after “nest al in S”: al, at 0x5000, reads as unassigned"],
        ),
        // A tag is what was written to the target.
        (
            "5",
            &["after “nest al in S”: al, at 0x5000, reads as 0xc0de"],
        ),
        ("C8", &["free the node of space 0: a no-op"]),
        ("C15", &["--without CloseOpened --steps 6"]),
    ] {
        let scenario = DEMONSTRATIONS.iter().chain(ROWS);
        let scenario = scenario.into_iter().find(|known| known.row == row).unwrap();
        let shown = show(scenario, times).unwrap();
        assert!(!shown.is_wrong, "{}", shown.text);
        let text = shown.text;
        for part in parts {
            assert!(text.contains(part), "{row}: no `{part}` in\n{text}");
        }
    }
}

#[test]
fn an_unmap_through_the_ring_waits_for_the_reader_and_nobody_else_does() {
    let meanwhile = product::latency::meanwhile();
    assert!(!meanwhile.early && !meanwhile.freed_early, "{meanwhile:?}");
    assert!(meanwhile.is_as_it_must_be(), "{meanwhile:?}");
    // A millisecond for each of twenty rounds.
    assert!(meanwhile.stayed.as_millis() >= 20, "{meanwhile:?}");
}

/// Not late by three times the bound in a calm machine, where nothing is optimized; by far more in a busy one. The middle one of a few.
#[test]
fn an_answer_is_not_late_by_ten_times_its_bound() {
    let measured = product::latency::measure(5);
    for (stays, answers) in measured.bounded() {
        for (answer, bound) in answers {
            let latest = if answer.is_judged {
                bound * 3
            } else {
                bound * 10 + Duration::from_millis(20)
            };
            assert!(answer.beyond < latest, "{stays:?}: {measured:?}");
        }
    }
}

/// A descriptor in the guest's RAM names the address of the device's own BAR, and it is there that the device maps what it is then at.
#[test]
fn a_descriptor_leads_the_device_to_its_own_bar() {
    for row in ["C3a", "C3b", "C3c"] {
        let scenario = DEMONSTRATIONS.iter().find(|known| known.row == row);
        let report = product::play(scenario.unwrap());
        assert_eq!(report.verdict, Verdict::Clean, "{row}");
        let read = "D: reads the descriptor at 0x2008, which names 0x4000".to_owned();
        let mut happened = report.moments.iter().flat_map(|moment| &moment.happened);
        assert!(
            happened.any(|what| *what == read),
            "{row}: {:#?}",
            report.moments
        );
        // Through the one view that shows it: none of the device's own.
        let held = report.held.join("\n");
        assert!(
            held.contains("  flat views [shown by a view]"),
            "{row}: {held}"
        );
    }
}

/// Who holds the blob of the virtio-gpu, its object and the device, after each step of an unmap.
#[test]
fn the_stages_of_an_unmap_are_those_of_the_device() {
    let stages = product::unmap::stages();
    let holders = |of: &str| -> Vec<Vec<&str>> {
        let of = format!("=> {of}");
        let all = stages.iter().map(|stage| {
            let edges = stage.edges.iter().map(String::as_str);
            edges.filter(|edge| edge.ends_with(&of)).collect()
        });
        all.collect()
    };
    let in_view = "flat views =(view)=> blob";
    let in_window = "W =(subregion)=> blob";
    let (child, transfer) = ("V =(child)=> blob", "I/O of E =(transfer)=> blob");
    let expected: [&[&str]; 7] = [
        &[child, in_window, in_view],
        &[child, in_window, in_view, transfer],
        &[in_view, transfer],
        &[transfer],
        &[],
        &[],
        &[],
    ];
    assert_eq!(holders("blob"), expected);
    let (child, owner) = (vec!["G =(child)=> V"], vec!["blob =(owner)=> V"]);
    let gone = vec![];
    assert_eq!(
        holders("V"),
        [&child, &child, &owner, &owner, &gone, &gone, &gone].map(Clone::clone)
    );
    let on_its_way = holders("G")
        .iter()
        .map(|all| all.contains(&"V =(blob)=> G"))
        .collect::<Vec<_>>();
    assert_eq!(on_its_way, [false, false, true, true, false, false, false]);
    let told: Vec<usize> = stages.iter().map(|stage| stage.said.len()).collect();
    assert_eq!(
        told,
        [0, 0, 2, 2, 0, 0, 0],
        "the blob’s object and its region"
    );
}

/// Where a peer is at work in somebody's memory, the machine knows that it is the peer.
#[test]
fn the_peer_holds_what_it_is_at_work_in() {
    for (row, holder) in [
        ("4", "I/O of /machine/E"),
        ("7", "I/O of /machine/E"),
        ("9", "I/O of /machine/E"),
        ("C14", "I/O of /machine/E"),
    ] {
        let scenario = DEMONSTRATIONS.iter().chain(ROWS);
        let scenario = scenario.into_iter().find(|known| known.row == row).unwrap();
        let report = product::play(scenario);
        assert_eq!(report.verdict, Verdict::Clean, "{row}");
        let held = report.held.join("\n");
        assert!(held.contains(holder), "{row}: {held}");
    }
}
