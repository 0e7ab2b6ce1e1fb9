//! How each thing on the page can be seen again.

use super::escape;
use std::fmt::Write as _;

/// What a command shows, and the command.
const COMMANDS: [(&str, &str); 9] = [
    (
        "everything here, and this page",
        "cargo xtask demo lifetimes",
    ),
    (
        "the table, and of each word how it came about",
        "cargo xtask demo lifetimes --table --why",
    ),
    (
        "the searches of one policy, by the head of its column",
        "cargo xtask demo lifetimes --policy skip-same",
    ),
    (
        "Holdfast’s searches alone, until they have met every state",
        "cargo xtask demo lifetimes --policy Holdfast",
    ),
    (
        "one scenario: steps, outcomes, reasons, the crates’ ledger",
        "cargo xtask demo lifetimes --row 12b",
    ),
    (
        "more holders, roots and containers, four steps less far",
        "cargo xtask demo lifetimes --wide",
    ),
    (
        "what one rule of the withdrawal is for: the search without it fails",
        "cargo xtask demo lifetimes --without RetractAliases",
    ),
    (
        "the same scenarios as tests",
        "cargo test -p holdfast-lifetimes",
    ),
    (
        "who holds what in the crates, as tests",
        "cargo test -p holdfast-tests --test lifetime_rows",
    ),
];

pub(super) fn write() -> String {
    let mut text = String::from("<dl class=\"commands\">");
    for (what, command) in COMMANDS {
        let _ = write!(
            text,
            "<dt>{}</dt><dd><code>{}</code></dd>",
            escape(what),
            escape(command)
        );
    }
    text + "</dl>\n<p>The scenarios are in <code>examples/lifetimes/src/scenario/</code>, a few lines each; the policies in \
            <code>examples/lifetimes/src/policy/</code>, one file each. <code>docs/lifetimes.md</code> has the argument why Holdfast’s rules leave nothing, with its \
            assumptions, and answers the objections of the discussion one by one.</p>\n"
}
