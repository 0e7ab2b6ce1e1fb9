//! What address spaces show, as bars side by side on one scale of addresses.
//!
//! The scale is neither linear nor a plain logarithm: between two neighbouring boundaries of any of the spaces the height grows with
//! the logarithm of their distance. So a page beside gigabytes can be seen and has room for its name, and equal addresses are at
//! equal heights.

use std::collections::BTreeSet;

use memory::{AddressSpace, Region, RegionKind};

use super::svg::{Anchor, FONT, Svg, fit, text_width, width};

/// One range that a space shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapRange {
    /// First address.
    pub first: u64,
    /// Last address.
    pub last: u64,
    /// What is there: a region's name.
    pub label: String,
    /// What kind of region it is.
    pub kind: RegionKind,
    /// Whether a guest cannot write it.
    pub readonly: bool,
    /// The offset in the region that its first address shows.
    pub offset: u64,
}

/// One address space, ranges ascending and apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapColumn {
    /// Its name.
    pub title: String,
    /// What it shows.
    pub ranges: Vec<MapRange>,
}

impl MapColumn {
    /// What a space shows at this moment. Any thread.
    pub fn of(space: &AddressSpace) -> Self {
        let guard = space.enter();
        let ranges = guard.view().ranges().map(|(range, leaf)| {
            let region = leaf.region();
            let part = region.and_then(|o| o.instance::<Region>());
            MapRange {
                first: range.span.first(),
                last: range.span.last(),
                label: part.map_or_else(String::new, |r| r.name().to_owned()),
                kind: part.map_or(RegionKind::Reservation, Region::kind),
                readonly: range.readonly,
                offset: range.offset.0,
            }
        });
        Self {
            title: space.name().to_owned(),
            ranges: ranges.collect(),
        }
    }
}

const MARGIN: f64 = 24.0;
const BETWEEN: f64 = 18.0;
/// Least height of anything that is there, with room for one line of text; and of holes.
const LEAST: f64 = 19.0;
/// Longest label, in characters.
const LABEL: usize = 40;
/// Widest axis label: 16 digits and the prefix.
const AXIS: usize = 18;

/// Draws what the spaces show, side by side.
///
/// ```
/// use holdfast_examples::draw::{MapColumn, memory_map};
/// use memory::{AddressSpace, Region, Size};
/// let machine = qom::Machine::new("doc");
/// let system = Region::container("system", Size::MAX).create(machine.root())?;
/// let space = AddressSpace::open(machine.root(), "memory", &system)?;
/// let svg = memory_map("an empty machine", &[MapColumn::of(&space)]);
/// assert!(svg.contains("memory"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn memory_map(title: &str, columns: &[MapColumn]) -> String {
    let scale = Scale::new(columns);
    let mut svg = Svg::new();
    let top = MARGIN + 48.0;
    svg.text((MARGIN, MARGIN + 12.0), Anchor::Start, "title", title);
    let left = MARGIN + width(AXIS) + 10.0;
    let widths: Vec<f64> = columns.iter().map(column_width).collect();
    let whole: f64 = widths.iter().sum::<f64>() + BETWEEN * index(columns.len().saturating_sub(1));
    for &(address, y) in &scale.marks {
        let text = format!("{address:#x}");
        svg.text((left - 10.0, top + y + 4.0), Anchor::End, "small", &text);
        svg.path(
            &format!("M{:.1},{:.1} h{:.1}", left - 6.0, top + y, whole + 12.0),
            "rule",
            None,
        );
    }
    let mut x = left;
    for (column, width) in columns.iter().zip(&widths) {
        svg.text(
            (x + width / 2.0, top - 12.0),
            Anchor::Middle,
            "label",
            &fit(&column.title, LABEL),
        );
        svg.rect((x, top), (*width, scale.height), 2.0, "hole");
        for range in &column.ranges {
            draw_range(&mut svg, range, &scale, (x, top), *width);
        }
        if column.ranges.is_empty() {
            svg.text(
                (x + width / 2.0, top + scale.height / 2.0 + 4.0),
                Anchor::Middle,
                "small",
                "nothing",
            );
        }
        x += width + BETWEEN;
    }
    let y = top + scale.height + 34.0;
    let legend = draw_legend(&mut svg, y);
    let head = text_width(title) * 15.0 / FONT;
    let content = (left - MARGIN + whole + 6.0).max(legend).max(head);
    svg.finish(content + 2.0 * MARGIN, y + MARGIN, STYLE)
}

fn draw_range(svg: &mut Svg, range: &MapRange, scale: &Scale, at: (f64, f64), width: f64) {
    let (from, to) = (scale.start(range.first), scale.end(range.last));
    let size = human_size(range.first, range.last);
    let kind = kind_name(range);
    let offset = if range.offset == 0 {
        String::new()
    } else {
        format!(", from its {:#x} on", range.offset)
    };
    let title = format!(
        "{} ({kind}): {:#x}-{:#x}, {size}{offset}",
        range.label, range.first, range.last
    );
    svg.titled(&title, |svg| {
        svg.rect(
            (at.0 + 1.0, at.1 + from + 0.5),
            (width - 2.0, to - from - 1.0),
            2.0,
            class(range),
        );
        let middle = at.1 + f64::midpoint(from, to) + 4.0;
        svg.text(
            (at.0 + width / 2.0, middle),
            Anchor::Middle,
            "label",
            &line(range),
        );
    });
}

/// The one line in a bar.
fn line(range: &MapRange) -> String {
    let size = human_size(range.first, range.last);
    let room = LABEL - size.chars().count() - 1;
    format!("{} {size}", fit(&range.label, room))
}

fn column_width(column: &MapColumn) -> f64 {
    let longest = column.ranges.iter().map(|r| line(r).chars().count()).max();
    let title = column.title.chars().count().min(LABEL);
    width(longest.unwrap_or(0).max(title).max(14)) + 20.0
}

fn kind_name(range: &MapRange) -> &'static str {
    match range.kind {
        RegionKind::Ram if range.readonly => "ROM",
        RegionKind::Ram => "RAM",
        RegionKind::RomDevice => "ROM device",
        RegionKind::Io => "callbacks",
        RegionKind::Reservation => "reserved",
        RegionKind::Container => "container",
        RegionKind::Alias => "alias",
    }
}

fn class(range: &MapRange) -> &'static str {
    match range.kind {
        RegionKind::Ram if range.readonly => "rom",
        RegionKind::Ram => "ram",
        RegionKind::RomDevice => "rom",
        RegionKind::Io => "io",
        RegionKind::Reservation | RegionKind::Container | RegionKind::Alias => "reserved",
    }
}

fn draw_legend(svg: &mut Svg, y: f64) -> f64 {
    let mut x = MARGIN;
    for (class, text) in [
        ("ram", "RAM"),
        ("rom", "ROM, ROM device"),
        ("io", "callbacks"),
        ("reserved", "reserved"),
        ("hole", "nothing"),
    ] {
        svg.rect((x, y - 11.0), (16.0, 13.0), 2.0, class);
        svg.text((x + 22.0, y), Anchor::Start, "label", text);
        x += 22.0 + text_width(text) + 18.0;
    }
    x - MARGIN
}

/// A number of bytes for people: exact, in the largest unit that divides it.
fn human_size(first: u64, last: u64) -> String {
    let bytes = u128::from(last - first) + 1;
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut amount = bytes;
    let mut unit = 0;
    while amount.is_multiple_of(1024) && unit + 1 < units.len() {
        amount /= 1024;
        unit += 1;
    }
    if amount > 99_999 {
        return format!("{bytes:#x} B");
    }
    format!("{amount} {}", units[unit])
}

/// Heights of addresses.
#[derive(Debug)]
struct Scale {
    /// Each boundary with its height, ascending. The last may be one past the last address of all.
    bounds: Vec<(u128, f64)>,
    /// Those that are written at the axis.
    marks: Vec<(u128, f64)>,
    height: f64,
}

impl Scale {
    fn new(columns: &[MapColumn]) -> Self {
        let ranges = || columns.iter().flat_map(|c| &c.ranges);
        let mut places: BTreeSet<u128> = BTreeSet::new();
        for range in ranges() {
            places.insert(u128::from(range.first));
            places.insert(u128::from(range.last) + 1);
        }
        let places: Vec<u128> = places.into_iter().collect();
        let mut y = 0.0;
        let mut bounds = Vec::new();
        for pair in places.windows(2) {
            bounds.push((pair[0], y));
            let taken =
                ranges().any(|r| u128::from(r.first) < pair[1] && pair[0] <= u128::from(r.last));
            let bytes = pair[1] - pair[0];
            let doublings = f64::from(bytes.ilog2());
            // Holes say nothing but that they are there.
            y += if taken {
                LEAST + doublings * 0.9
            } else {
                LEAST * 0.8 + doublings * 0.3
            };
        }
        bounds.extend(places.last().map(|&last| (last, y)));
        let height = if bounds.is_empty() { 4.0 * LEAST } else { y };
        Self {
            marks: bounds.clone(),
            bounds,
            height,
        }
    }

    fn at(&self, address: u128) -> f64 {
        // INVARIANT: asked only for boundaries of the ranges that it was made of.
        let found = self.bounds.binary_search_by_key(&address, |b| b.0);
        found.map_or(0.0, |i| self.bounds[i].1)
    }

    fn start(&self, first: u64) -> f64 {
        self.at(u128::from(first))
    }

    fn end(&self, last: u64) -> f64 {
        self.at(u128::from(last) + 1)
    }
}

fn index(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

const STYLE: &str = ".hole { fill: #f7f7f7; stroke: #cbd2d9; }
.ram { fill: #cfe6d4; stroke: #3f7d52; }
.rom { fill: #f6e3b4; stroke: #a07a1f; }
.io { fill: #cfe0f5; stroke: #2f5f9f; }
.reserved { fill: #e4e4ea; stroke: #7b7b8f; }
.rule { stroke: #d9dee3; stroke-width: 0.7; }
";

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, last: u64, label: &str) -> MapRange {
        MapRange {
            first,
            last,
            label: label.to_owned(),
            kind: RegionKind::Ram,
            readonly: false,
            offset: 0,
        }
    }

    fn column(ranges: &[(u64, u64)]) -> MapColumn {
        MapColumn {
            title: "t".to_owned(),
            ranges: ranges.iter().map(|&(a, b)| range(a, b, "r")).collect(),
        }
    }

    #[test]
    fn small_ranges_have_room_for_a_line_beside_the_whole_space() {
        let columns = [
            column(&[(0, 0), (0x1000, 0x1000), (0x8000_0000, u64::MAX)]),
            column(&[(0, u64::MAX)]),
        ];
        let scale = Scale::new(&columns);
        for range in columns.iter().flat_map(|c| &c.ranges) {
            let room = scale.end(range.last) - scale.start(range.first);
            assert!(room >= LEAST, "{range:?} has {room}");
        }
        assert!(scale.height < 500.0, "{}", scale.height);
        let whole = &columns[1].ranges[0];
        assert!((scale.end(whole.last) - scale.start(whole.first) - scale.height).abs() < 1e-9);
    }

    #[test]
    fn marks_are_far_enough_apart_to_be_read() {
        let scale = Scale::new(&[column(&[(0, 9), (11, 11), (12, 12), (100, 4095)])]);
        for pair in scale.marks.windows(2) {
            assert!(pair[1].1 - pair[0].1 >= 12.0, "{pair:?}");
        }
    }

    #[test]
    fn sizes_are_exact() {
        assert_eq!(human_size(0, u64::MAX), "16 EiB");
        assert_eq!(human_size(0, 4095), "4 KiB");
        assert_eq!(human_size(1, 4095), "4095 B");
        assert_eq!(human_size(0, 0x1234_5678), "0x12345679 B");
    }

    #[test]
    fn empty_maps_are_pictures_too() {
        assert!(memory_map("t", &[MapColumn::default()]).contains("nothing"));
        assert!(memory_map("t", &[]).starts_with("<svg"));
    }

    #[test]
    fn long_labels_do_not_leave_their_bar() {
        let long = "x".repeat(200);
        let columns = [MapColumn {
            title: long.clone(),
            ranges: vec![range(0, 0x0fff, &long)],
        }];
        assert!(line(&columns[0].ranges[0]).chars().count() <= LABEL);
        let svg = memory_map("t", &columns);
        let texts = || {
            svg.split("</text>")
                .filter_map(|part| part.rsplit('>').next())
        };
        assert!(texts().all(|text| text.chars().count() <= LABEL.max(60)));
        assert_eq!(texts().filter(|text| text.contains('…')).count(), 2);
    }
}
