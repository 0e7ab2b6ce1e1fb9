//! What was looked at and measured on the real crates beside the scenarios: the bundled devices, and the answer to an unmap.

use super::{Real, escape};
use crate::exhibit::{self, Exhibit};
use crate::product::latency::{MET, Measured, QUEUED, RESTS, WAKES};
use std::fmt::Write as _;

/// What belongs into the article of a scenario.
pub(super) fn of(real: Option<&Real>, row: &str) -> String {
    match (exhibit::of(row), real) {
        (Some(Exhibit::Devices), Some(real)) => devices(real),
        (Some(Exhibit::Unmaps), Some(real)) => real.unmaps.as_ref().map(unmaps).unwrap_or_default(),
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

fn unmaps(measured: &Measured) -> String {
    let mut text = format!(
        "<p>Measured on the real crates, with a reader in a read section of the machine that reads the blob’s bytes until it leaves. <b>In a hurry</b> is the guest’s command: its driver puts \
         <code>VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB</code> with a fence into the ring of the bundled virtio-gpu and notifies, and it is answered when the interrupt line goes high for the \
         reply in the used ring. For the device unmapping is a withdrawal, and a withdrawal is a hurry: grace periods begin at once, and what they held up is dropped at once. \
         <b>Without a hurry</b> nothing answers a command, as the device always withdraws: there the same blob’s region is taken out of the window by hand, nothing is withdrawn, nobody waits in the library, \
         and the time ends when no view holds the region any more. Views may rest for {} µs then: half a millisecond with whoever retires the next ones, and the \
         pace of grace periods (<code>DomainConfig::pace</code>).</p>\
         <p>The bound is on the time after the reader has left, and from the command on where there is none. It is the sum of the crates’ own sleeps, and of {} µs for each of the two to four threads that are woken \
         one after the other. It is fixed; held against it are unmaps right before and right after which a woken thread was no later than that, and during which the threads waited for a core for no more than {} µs in all. Others are taken again, and where too few are so calm nothing is judged, \
         which stands beside the figure. All figures are the middle ones of many. While a reader stays the reclaimer looks after it in sleeps of a quarter of the time that it has waited, \
         50 µs to 20 ms; where nobody stays, it may meet somebody’s short section, and is done within {} µs. What is above its bound is marked: it is a mistake, or a scheduler that was at rest before and after, but not meanwhile. \
         No bound is on the reader: who waits for him gets a typed error with his name after the time \
         that he gave, and what is retired meanwhile is bounded (<code>retired_bytes_limit</code>).</p>\
         <table class=\"blocks numbers thirds\"><thead><tr><th scope=\"col\">the reader stays</th><th scope=\"col\">in a hurry, µs</th>\
         <th scope=\"col\">after it has left, µs</th><th scope=\"col\">bound on that, µs</th><th scope=\"col\">without, µs</th>\
         <th scope=\"col\">after it has left, µs</th><th scope=\"col\">bound on that, µs</th></tr></thead><tbody>\n",
        RESTS.as_micros(),
        WAKES.as_micros(),
        QUEUED.as_micros(),
        MET.as_micros()
    );
    for (stays, answers) in measured.bounded() {
        let stays = match stays.as_micros() {
            0 => "no reader".to_owned(),
            stays => format!("{stays} µs"),
        };
        let _ = write!(text, "<tr><th scope=\"row\">{stays}</th>");
        for (of, (answer, bound)) in ["in a hurry, µs", "without, µs"].into_iter().zip(answers) {
            let above = match answer.remark(bound) {
                remark if remark.is_empty() => remark,
                _ if answer.is_above(bound) => " <b class=\"word fault\">above</b>".into(),
                remark => format!(" <small>{remark}</small>"),
            };
            let _ = write!(
                text,
                "<td data-of=\"{of}\">{}</td><td data-of=\"after it has left, µs\">{}{above}</td><td class=\"none\" data-of=\"bound on that, µs\">{}</td>",
                answer.after.as_micros(),
                answer.beyond.as_micros(),
                bound.as_micros()
            );
        }
        text += "</tr>\n";
    }
    let early = measured.early();
    let _ = writeln!(
        text,
        "</tbody></table>\n<p>{early} of these were answered while the reader was there. {}</p>",
        escape(&measured.meanwhile.sentence())
    );
    text
}
