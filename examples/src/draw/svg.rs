//! Shapes and text of an SVG file, and how much room a text takes.

use std::fmt::Write as _;

/// Font size of ordinary text, in pixels.
pub(super) const FONT: f64 = 12.0;

/// Advance of one character of a monospaced font of size 1: that of `DejaVu Sans Mono`, among the widest there are.
const ADVANCE: f64 = 0.602;

/// Width of a text of the ordinary size, in pixels.
pub fn text_width(text: &str) -> f64 {
    width(text.chars().count())
}

/// Width of that many characters.
pub(super) fn width(chars: usize) -> f64 {
    f64::from(u32::try_from(chars).unwrap_or(u32::MAX)) * FONT * ADVANCE
}

/// The text in at most `chars` characters: where it is longer its middle makes room for an ellipsis, as both ends of a path say
/// more than its middle.
///
/// ```
/// use holdfast_examples::draw::fit;
/// assert_eq!(fit("/machine/gpu", 20), "/machine/gpu");
/// assert_eq!(fit("/machine/gpu/window/blob[12]", 15), "/machin…lob[12]");
/// ```
pub fn fit(text: &str, chars: usize) -> String {
    let len = text.chars().count();
    if len <= chars {
        return text.to_owned();
    }
    let kept = chars.saturating_sub(1);
    let head = kept.div_ceil(2);
    let tail = kept - head;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(len - tail).collect();
    format!("{start}…{end}")
}

/// An SVG document that is being written, from back to front.
#[derive(Debug, Default)]
pub struct Svg {
    body: String,
}

/// Where a text stands relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// A rectangle with round corners.
    pub(super) fn rect(&mut self, at: (f64, f64), size: (f64, f64), round: f64, class: &str) {
        let _ = writeln!(
            self.body,
            r#"<rect x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}" rx="{round}" class="{class}"/>"#,
            at.0, at.1, size.0, size.1
        );
    }

    /// One line of text; `y` is its base line.
    pub(super) fn text(&mut self, at: (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let _ = writeln!(
            self.body,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="{anchor}" class="{class}">{}</text>"#,
            at.0,
            at.1,
            escape(text)
        );
    }

    /// A path.
    pub(super) fn path(&mut self, d: &str, class: &str, title: Option<&str>) {
        let _ = match title {
            Some(title) => writeln!(
                self.body,
                r#"<path d="{d}" class="{class}"><title>{}</title></path>"#,
                escape(title)
            ),
            None => writeln!(self.body, r#"<path d="{d}" class="{class}"/>"#),
        };
    }

    /// What `draw` draws, with a text that a viewer shows when it is pointed at.
    pub(super) fn titled(&mut self, title: &str, draw: impl FnOnce(&mut Self)) {
        let _ = writeln!(self.body, "<g><title>{}</title>", escape(title));
        draw(self);
        self.body.push_str("</g>\n");
    }

    /// The document.
    pub(super) fn finish(self, width: f64, height: f64, style: &str) -> String {
        let (width, height) = (width.ceil(), height.ceil());
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">
<style>
text {{ font-family: "DejaVu Sans Mono", monospace; font-size: {FONT}px; fill: #1f2933; }}
.small {{ font-size: 10px; fill: #52606d; }}
.title {{ font-size: 15px; font-weight: bold; }}
.paper {{ fill: #ffffff; }}
{style}</style>
<rect width="{width}" height="{height}" class="paper"/>
{}</svg>
"#,
            self.body
        )
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML 1.0 knows no other control characters, not even escaped.
            c if c.is_control() && c != '\n' && c != '\t' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_keep_both_ends_and_never_pass_their_room() {
        for chars in 1..40 {
            let text = fit("/machine/peripheral/gpu/window/blob[12]", chars);
            assert!(text.chars().count() <= chars.max(1), "{text}");
        }
        assert_eq!(fit("äöü/äöü/äöü", 5), "äö…öü");
    }

    #[test]
    fn markup_in_labels_is_text() {
        let mut svg = Svg::new();
        svg.text((0.0, 0.0), Anchor::Start, "small", "a<b>&\"c\"\u{1}");
        let text = svg.finish(1.0, 1.0, "");
        assert!(
            text.contains("a&lt;b&gt;&amp;&quot;c&quot;\u{fffd}"),
            "{text}"
        );
    }
}
