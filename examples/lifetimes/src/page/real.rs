//! What the ledger of the real crates says of devices that misbehave on purpose.

use super::{Real, escape};
use std::fmt::Write as _;

pub(super) fn write(real: Option<&Real>) -> String {
    let Some(real) = real.filter(|real| !real.explained.is_empty()) else {
        return String::new();
    };
    let mut text = String::from(
        "<p>Types do not keep an author from storing a counted handle to his own region in his own field. Each of these devices does something of the kind, in the real crates; \
         the text is the machine’s answer to why it is alive: holder, reason, and the line of source where the edge was made.</p>\n",
    );
    for (title, explanation) in &real.explained {
        let _ = writeln!(
            text,
            "<article><h3>{}</h3><pre>{}</pre></article>",
            escape(title),
            escape(explanation)
        );
    }
    text
}
