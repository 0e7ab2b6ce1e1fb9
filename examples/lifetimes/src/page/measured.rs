//! What was looked at and measured on the real crates beside the scenarios: the bundled devices, and the answer to an unmap.

use super::{Real, escape};
use crate::product::latency::{RESTS, asleep};
use std::fmt::Write as _;
use std::time::Duration;

/// What belongs into the article of a scenario.
pub(super) fn of(real: Option<&Real>, row: &str) -> String {
    match (row, real) {
        ("C12", Some(real)) => devices(real),
        ("C13", Some(real)) => unmaps(real),
        _ => String::new(),
    }
}

fn devices(real: &Real) -> String {
    if real.devices.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "<p>The bundled devices, each plugged into a machine of the real crates, mapped as a board does it, unrealized, and then unplugged. What its author’s unrealize \
         leaves in a container is what would be lost, or kept for ever, if nothing detached it: with these rules the withdrawal does.</p>\
         <table class=\"blocks\"><thead><tr><th scope=\"col\">device</th><th scope=\"col\">region</th><th scope=\"col\">in</th>\
         <th scope=\"col\">after its own unrealize</th><th scope=\"col\">hot-unpluggable</th></tr></thead><tbody>\n",
    );
    for device in &real.devices {
        let gone = match &device.gone {
            Ok(took) => format!("yes, finalized after {} µs", took.as_micros()),
            Err(why) => format!("no: <pre>{}</pre>", escape(why)),
        };
        for (at, region) in device.regions.iter().enumerate() {
            let owner = if region.is_own {
                "its own"
            } else {
                "the board’s"
            };
            let left = if region.is_left {
                "still there: the withdrawal takes it out"
            } else {
                "taken out by its author"
            };
            let _ = writeln!(
                text,
                "<tr><th scope=\"row\"><code>{}</code></th><td data-of=\"region\">{}, {}</td><td data-of=\"in\">{owner} {}</td>\
                 <td data-of=\"after its own unrealize\">{left}</td><td data-of=\"hot-unpluggable\">{}</td></tr>",
                escape(device.name),
                escape(&region.name),
                escape(&region.kind),
                escape(&region.container),
                if at == 0 { gone.as_str() } else { "as above" }
            );
        }
    }
    text + "</tbody></table>\n<p class=\"note\">Blobs are regions of objects of their own (row 7): their authors detach nothing either. The device that stays keeps a handle to its own \
            region on purpose: it is a demonstration of the ledger.</p>\n"
}

fn unmaps(real: &Real) -> String {
    if real.unmaps.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "<p>Measured on the real crates: from the call that unmaps to the answer, while a reader stays in its read section. In a hurry is what a withdrawal is: grace periods begin \
         at once, and what they held up is dropped at once. Without a hurry views may rest for {} µs more at most: half a millisecond with whoever retires the next ones, and the \
         pace of grace periods (<code>DomainConfig::pace</code>); what the scheduler takes comes on top, and may be more than that on a busy machine. While a reader stays the reclaimer looks after it in sleeps of a quarter of the time that it has waited, 50 µs to 20 ms: so \
         much later than the reader leaves may the answer come, and by what the scheduler takes. No bound is on the reader: who waits for him gets a typed error with his name after the time \
         that he gave, and what is retired meanwhile is bounded (<code>retired_bytes_limit</code>).</p>\
         <table class=\"blocks numbers thirds\"><thead><tr><th scope=\"col\">the reader stays</th><th scope=\"col\">in a hurry, µs</th>\
         <th scope=\"col\">after it has left, µs</th><th scope=\"col\">bound on that, µs</th><th scope=\"col\">without, µs</th>\
         <th scope=\"col\">after it has left, µs</th><th scope=\"col\">bound on that, µs</th></tr></thead><tbody>\n",
        RESTS.as_micros()
    );
    for one in &real.unmaps {
        let stays = match one.stays.as_micros() {
            0 => "no reader".to_owned(),
            stays => format!("{stays} µs"),
        };
        let _ = write!(text, "<tr><th scope=\"row\">{stays}</th>");
        for (of, answer, rests) in [
            ("in a hurry, µs", one.hurried, Duration::ZERO),
            ("without, µs", one.unhurried, RESTS),
        ] {
            let _ = write!(
                text,
                "<td data-of=\"{of}\">{}</td><td data-of=\"after it has left, µs\">{}</td><td class=\"none\" data-of=\"bound on that, µs\">{}</td>",
                answer.after.as_micros(),
                answer.beyond.as_micros(),
                match (asleep(one.stays) + rests).as_micros() {
                    0 => "–".to_owned(),
                    bound => bound.to_string(),
                }
            );
        }
        text += "</tr>\n";
    }
    text + "</tbody></table>\n"
}
