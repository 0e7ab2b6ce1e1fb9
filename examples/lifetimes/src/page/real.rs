//! What the ledger of the real crates says of devices that misbehave on purpose.

use super::{Real, anchor, escape};
use crate::product::misbehaviour::Held;
use std::fmt::Write as _;

pub(super) fn write(real: Option<&Real>) -> String {
    let Some(real) = real.filter(|real| !real.explained.is_empty()) else {
        return String::new();
    };
    let mut text = String::from(
        "<p>Types do not keep an author from storing a counted handle to his own region in his own field, or a transfer that only his finalizer ends. Each of these devices does something of the kind, in the real crates; \
         the text is the machine’s answer to why it is alive: holder, reason, and the line of source where the edge was made. Each does it in its own code, in its realize, its post-init or a callback of \
         its registers, and the machine notes in whose code a handle is taken: so it can say whose field to look at.</p>\n",
    );
    text += "<p>Every scenario that leaks under a policy of the table is here with its shape, who keeps whom. What leaks under mutual strong references and nowhere else has one shape, \
             the owner that holds its region and the region that holds its owner: a device, or an object that is none, keeps a counted handle to its own region.</p>\n";
    for (number, one) in real.explained.iter().enumerate() {
        let held: Vec<_> = one.held.iter().map(held).collect();
        let (left, after) = one.left;
        let rows: Vec<_> = one
            .rows
            .iter()
            .map(|row| format!("<a href=\"#{}\">{}</a>", anchor(row), escape(row)))
            .collect();
        let near = match one.near {
            "" => String::new(),
            near => format!(" <span class=\"near\">{}</span>", escape(near)),
        };
        let _ = write!(
            text,
            "<article id=\"why-{number}\"><h3>{}</h3><p>As in {}.{near} Left: {left} {}. Kept: {}. \
             Once that is let go of: {}.</p><pre>{}</pre></article>",
            escape(one.title),
            rows.join(", "),
            if left == 1 { "object" } else { "objects" },
            held.join("; "),
            match after {
                0 => "nothing is left".into(),
                _ => format!("{after} objects are left"),
            },
            escape(&one.text)
        );
    }
    text
}

fn held(held: &Held) -> String {
    format!(
        "a {}, taken by the code of <b>{}</b> at <code>{}</code>",
        escape(held.reason),
        escape(&held.by),
        escape(&held.place)
    )
}
