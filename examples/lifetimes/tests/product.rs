//! The product through the interface of the scenarios: each is played on the real crates, and compared with the model's last column.

use holdfast_lifetimes::scenario::demonstrations::DEMONSTRATIONS;
use holdfast_lifetimes::scenario::rows::ROWS;
use holdfast_lifetimes::scenario::{Verdict, play};
use holdfast_lifetimes::{Policy, product};
use std::collections::BTreeSet;

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
        assert_eq!(real.verdict, model.verdict, "{row}: {:#?}", real.events);
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
    // Everybody but the machine's own container, each time.
    assert_eq!(agreement.finalized, 7 * agreement.sequences);
}
