//! What the ledger of the real crates says of devices that misbehave on purpose.

use super::{Real, anchor, escape};
use std::fmt::Write as _;

pub(super) fn write(real: Option<&Real>) -> String {
    let Some(real) = real.filter(|real| !real.explained.is_empty()) else {
        return String::new();
    };
    let mut text = String::from(
        "<p>Types do not keep an author from storing a counted handle to his own region in his own field, or a transfer that only his finalizer ends. Each of these devices does something of the kind, in the real crates; \
         the text is the machine’s answer to why it is alive: holder, reason, and the line of source where the edge was made.</p>\n",
    );
    for one in &real.explained {
        let [holder, reason, place] = &one.held;
        let (left, after) = one.left;
        let _ = writeln!(
            text,
            "<article><h3>{}</h3><p>As in <a href=\"#{}\">{}</a>. Left: {left} {}. Held by <b>{}</b>, as {}, \
             taken at <code>{}</code>. Once it lets go: {}.</p><pre>{}</pre></article>",
            escape(&one.title),
            anchor(one.row),
            one.row,
            if left == 1 { "object" } else { "objects" },
            escape(holder),
            escape(reason),
            escape(place),
            match after {
                0 => "nothing is left".into(),
                _ => format!("{after} objects are left"),
            },
            escape(&one.text)
        );
    }
    text
}
