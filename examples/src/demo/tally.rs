//! The numbers of a replay, and how they are told.

use std::fmt;
use std::time::Duration;

use memory::host::live_backing_bytes;
use qom::MachineHandle;

use super::witness::Finalized;

/// How long things took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Times(Vec<Duration>);

impl Times {
    /// One more.
    pub(super) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Those of another.
    pub(super) fn add(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// Shortest, middle and longest; none where there are none.
    pub(super) fn spread(&self) -> Option<[Duration; 3]> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        Some([*sorted.first()?, sorted[sorted.len() / 2], *sorted.last()?])
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.spread() {
            None => f.write_str("none"),
            Some([least, median, most]) => write!(f, "{least:.1?} / {median:.1?} / {most:.1?}"),
        }
    }
}

/// What came of one replay, or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Lines of the trace.
    pub(super) lines: u64,
    /// Commands sent.
    pub(super) commands: u64,
    /// Replies that came, each compared.
    pub(super) replies: u64,
    /// Commands that a reset or a withdrawal dropped.
    pub(super) dropped: u64,
    /// Replies that came after one of a later command.
    pub(super) overtaken: u64,
    /// Resources created.
    pub(super) created: u64,
    /// Blobs mapped.
    pub(super) mapped: u64,
    /// Blobs unmapped by command.
    pub(super) unmapped: u64,
    /// Blobs that a reset or an unplug took out of the window.
    pub(super) taken_out: u64,
    /// Maps that were refused, as recorded.
    pub(super) refused: u64,
    /// Pages of guest RAM written.
    pub(super) pages: u64,
    /// Times the device was reset.
    pub(super) resets: u64,
    /// Interrupts raised.
    pub(super) interrupts: u64,
    /// Reads of the window that found a blob.
    pub(super) hits: u64,
    /// Reads that found a hole.
    pub(super) holes: u64,
    /// Reads that were checked against what the driver knew.
    pub(super) checked: u64,
    /// Transfers of the copy engine.
    pub(super) transfers: u64,
    /// Bytes it copied.
    pub(super) copied: u64,
    /// Mappings it held.
    pub(super) mappings: u64,
    /// From the command to its reply.
    pub(super) unmap_times: Times,
    /// What was finalized.
    pub(super) finalized: Finalized,
    /// What is left, where that has been measured.
    pub(super) left: Option<Left>,
}

/// What is left of a machine after its end, as measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// Objects of the machine.
    pub(super) objects: u64,
    /// Bytes of backings in this process; none where they were not looked at.
    pub(super) bytes: Option<u64>,
    /// Pins that are held.
    pub(super) pins: u64,
    /// Mappings that are open.
    pub(super) mappings: u64,
    /// Owned snapshots of views.
    pub(super) snapshots: u64,
}

impl Left {
    /// What there is of a machine now. Bytes are counted for the whole process, and only where nobody else has any.
    pub(super) fn of(machine: &MachineHandle, alone: bool) -> Self {
        let open = memory::counters(machine);
        Self {
            objects: machine.counters().live_objects,
            bytes: alone.then(live_backing_bytes),
            pins: open.live_pins,
            mappings: open.open_mappings,
            snapshots: open.live_snapshots,
        }
    }

    /// Whether nothing is left, as far as was looked.
    pub(super) fn is_nothing(&self) -> bool {
        let bytes = self.bytes.unwrap_or(0);
        [
            self.objects,
            bytes,
            self.pins,
            self.mappings,
            self.snapshots,
        ] == [0; 5]
    }

    fn add(&mut self, other: &Self) {
        self.objects += other.objects;
        self.bytes = self.bytes.zip(other.bytes).map(|(one, more)| one + more);
        self.pins += other.pins;
        self.mappings += other.mappings;
        self.snapshots += other.snapshots;
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            objects,
            bytes,
            pins,
            mappings,
            snapshots,
        } = self;
        write!(f, "{objects} objects, ")?;
        match bytes {
            Some(bytes) => write!(f, "{} bytes of backings, ", grouped(*bytes))?,
            None => f.write_str("bytes of backings not looked at, ")?,
        }
        write!(f, "{pins} pins, {mappings} mappings, {snapshots} snapshots")
    }
}

impl Tally {
    /// Adds another.
    pub(super) fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.lines, other.lines),
            (&mut self.commands, other.commands),
            (&mut self.replies, other.replies),
            (&mut self.dropped, other.dropped),
            (&mut self.overtaken, other.overtaken),
            (&mut self.created, other.created),
            (&mut self.mapped, other.mapped),
            (&mut self.unmapped, other.unmapped),
            (&mut self.taken_out, other.taken_out),
            (&mut self.refused, other.refused),
            (&mut self.pages, other.pages),
            (&mut self.resets, other.resets),
            (&mut self.interrupts, other.interrupts),
            (&mut self.hits, other.hits),
            (&mut self.holes, other.holes),
            (&mut self.checked, other.checked),
            (&mut self.transfers, other.transfers),
            (&mut self.copied, other.copied),
            (&mut self.mappings, other.mappings),
        ];
        for (mine, more) in pairs {
            *mine += more;
        }
        self.unmap_times.add(&other.unmap_times);
        self.finalized.add(&other.finalized);
        match (&mut self.left, &other.left) {
            (Some(left), Some(more)) => left.add(more),
            (left, more) => *left = left.or(*more),
        }
    }

    /// One line for a trace.
    pub(super) fn line(&self) -> String {
        format!(
            "{} commands, {} replies as recorded, {} dropped; {} mapped, {} unmapped; reads: {} hits, {} holes; {} finalized",
            self.commands,
            self.replies,
            self.dropped,
            self.mapped,
            self.unmapped,
            grouped(self.hits),
            grouped(self.holes),
            self.finalized.objects
        )
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "driver     {} commands: {} replies as recorded ({} overtook an earlier one), {} dropped by resets and unplugs; {} resets; {} interrupts",
            self.commands, self.replies, self.overtaken, self.dropped, self.resets, self.interrupts
        )?;
        writeln!(
            f,
            "resources  {} created; blobs: {} mapped, {} unmapped, {} taken out by resets and unplugs, {} refused; {} pages of guest RAM",
            self.created,
            self.mapped,
            self.unmapped,
            self.taken_out,
            self.refused,
            grouped(self.pages)
        )?;
        writeln!(
            f,
            "readers    {} reads found a blob, {} a hole; {} of them checked against what the driver knew",
            grouped(self.hits),
            grouped(self.holes),
            grouped(self.checked)
        )?;
        writeln!(
            f,
            "dma        {} mappings, {} pinned transfers, {} bytes",
            self.mappings,
            self.transfers,
            grouped(self.copied)
        )?;
        writeln!(
            f,
            "unmap      from the command to its reply: {} (least / median / most)",
            self.unmap_times
        )?;
        let kinds: Vec<String> = self
            .finalized
            .by_type
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        writeln!(
            f,
            "finalizers {} objects ({}); each of {} regions before its owner",
            self.finalized.objects,
            kinds.join(", "),
            self.finalized.regions
        )?;
        writeln!(f, "order      {}", self.finalized.order())?;
        match &self.left {
            Some(left) => write!(f, "left       {left}"),
            None => f.write_str("left       not looked at"),
        }
    }
}

/// A number with its digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use memory::{AddressSpace, Backing, Gpa, Intent, Offset, Priority, Region, RegionApi, Size};
    use qom::Machine;

    #[test]
    fn digits_come_in_groups() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn the_spread_is_least_median_most() {
        let mut times = Times::default();
        assert_eq!(times.to_string(), "none");
        for ms in [9, 1, 5, 3, 7] {
            times.push(Duration::from_millis(ms));
        }
        let ms = |n| Duration::from_millis(n);
        assert_eq!(times.spread(), Some([ms(1), ms(5), ms(9)]));
    }

    #[test]
    fn what_is_left_is_measured_and_told() {
        let machine = Machine::new("left");
        let root = machine.root();
        let system = Region::container("system", Size::MAX).create(root).unwrap();
        let space = AddressSpace::open(root, "memory", &system).unwrap();
        let ram = Region::ram("ram", Backing::anonymous(0x1000).unwrap());
        let ram = ram.create(root).unwrap();
        system.add_subregion(Offset(0), &ram, Priority(0)).unwrap();
        let map = space.map(root, Gpa(0), 16, Intent::Read).unwrap();
        let pins = [map.pin(0, 8).unwrap(), map.pin(8, 8).unwrap()];
        let snapshot = space.snapshot(root).unwrap();
        let mut left = Left::of(&machine, false);
        assert_eq!((left.pins, left.mappings, left.snapshots), (2, 1, 1));
        assert_eq!(left.objects, machine.counters().live_objects);
        assert!(left.objects >= 3 && !left.is_nothing());
        assert!(left.to_string().contains("not looked at"), "{left}");
        assert!(Left::of(&machine, true).bytes >= Some(0x1000));

        left.bytes = Some(0x1000);
        let one = Tally {
            left: Some(left),
            ..Tally::default()
        };
        let mut sum = one.clone();
        sum.add(&one);
        let text = sum.to_string();
        assert!(text.contains("8,192 bytes of backings, 4 pins"), "{text}");
        drop((pins, snapshot));
        assert!(map.unmap(0).unwrap().is_ok());

        let handle = machine.handle().clone();
        drop(space);
        machine.close(Duration::from_secs(20)).unwrap();
        let left = Left::of(&handle, false);
        assert!(left.is_nothing(), "{left}");
    }

    #[test]
    fn tallies_add_up() {
        let mut one = Tally {
            commands: 3,
            hits: 1,
            ..Tally::default()
        };
        one.unmap_times.push(Duration::from_millis(1));
        let mut sum = one.clone();
        sum.add(&one);
        assert_eq!((sum.commands, sum.hits, sum.unmap_times.0.len()), (6, 2, 2));
    }
}
