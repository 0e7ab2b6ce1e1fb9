//! One recording: the regions, what was done to them, what QEMU made of it; and its JSON form.

use std::fmt;

use serde_json::Value;

/// A recording that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError(pub String);

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReadError {}

/// What a region is, in the words of the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only its subregions.
    Container,
    /// Memory.
    Ram,
    /// Memory, read-only.
    Rom,
    /// Callbacks.
    Io,
    /// I/O without callbacks.
    Reservation,
    /// A ROM device, and whether it is read directly.
    Romd(bool),
    /// A window onto `target` from `offset` on.
    Alias {
        /// The region's id.
        target: usize,
        /// Bytes into it.
        offset: u64,
    },
}

/// A region; its id is its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own, settable by itself"
)]
pub struct Region {
    /// What it is.
    pub kind: Kind,
    /// Bytes, up to 2^64.
    pub size: u128,
    /// Own flag.
    pub readonly: bool,
    /// Own flag.
    pub nonvolatile: bool,
    /// Own flag; no recording has it.
    pub unmergeable: bool,
    /// Whether it shows.
    pub enabled: bool,
}

/// One change of the topology, of regions by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are the arguments of the operation of that name"
)]
pub enum Op {
    Add {
        parent: usize,
        child: usize,
        offset: u64,
        priority: i32,
    },
    Del {
        parent: usize,
        child: usize,
    },
    SetEnabled(usize, bool),
    SetSize(usize, u128),
    SetAddress(usize, u64),
    SetReadonly(usize, bool),
    SetNonvolatile(usize, bool),
    SetUnmergeable(usize, bool),
    SetRomd(usize, bool),
    SetAliasOffset(usize, u64),
    SetPriority(usize, i32),
    Retract(usize),
}

/// A range of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the columns of the recording")]
pub struct Range {
    pub start: u64,
    pub size: u128,
    pub region: usize,
    pub offset: u64,
    pub readonly: bool,
    pub romd: bool,
    pub nonvolatile: bool,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            start,
            size,
            region,
            offset,
            readonly,
            romd,
            nonvolatile,
        } = self;
        let [readonly, romd, nonvolatile] =
            [readonly, romd, nonvolatile].map(|&flag| u8::from(flag));
        write!(
            f,
            "[{start:#x}, {size:#x}, {region}, {offset:#x}, {readonly}, {romd}, {nonvolatile}]"
        )
    }
}

/// What a listener was told of a range; `romd` is not part of it and false here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Gone, new, or as before.
    pub kind: EventKind,
    /// The range.
    pub range: Range,
}

/// What became of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the recording's")]
pub enum EventKind {
    Del,
    Add,
    Nop,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.range)
    }
}

/// What happened between a begin and its commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// What was done.
    pub ops: Vec<Op>,
    /// What the listener was told, in order.
    pub events: Vec<Event>,
    /// Whether it was called at all.
    pub notified: bool,
    /// Whether the view is not what the plain rules give.
    pub deviates: bool,
}

/// One recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// How to speak of it: number and profile, or name.
    pub name: String,
    /// The regions.
    pub regions: Vec<Region>,
    /// What was done before the address space was made.
    pub setup: Vec<Op>,
    /// The root of the address space.
    pub root: usize,
    /// The view right after it was made.
    pub view: Vec<Range>,
    /// Whether it is not what the plain rules give.
    pub view_deviates: bool,
    /// What followed.
    pub transactions: Vec<Transaction>,
    /// The view after the last.
    pub last: Vec<Range>,
    /// Whether it is not what the plain rules give.
    pub last_deviates: bool,
}

pub(super) type Read<T> = Result<T, ReadError>;

pub(super) fn wrong<T>(what: &str, value: impl fmt::Display) -> Read<T> {
    Err(ReadError(format!("expected {what}, found {value}")))
}

/// A number in hexadecimal, as in the recordings.
pub(super) fn hex(text: &str) -> Read<u128> {
    let digits = text.strip_prefix("0x").unwrap_or("");
    u128::from_str_radix(digits, 16).or_else(|_| wrong("a hexadecimal number", text))
}

pub(super) fn address(text: &str) -> Read<u64> {
    u64::try_from(hex(text)?).or_else(|_| wrong("an address", text))
}

fn field<'a>(value: &'a Value, key: &str) -> Read<&'a Value> {
    value
        .get(key)
        .map_or_else(|| wrong(&format!("the key {key}"), value), Ok)
}

fn list(value: &Value) -> Read<&[Value]> {
    value
        .as_array()
        .map_or_else(|| wrong("a list", value), |list| Ok(&list[..]))
}

fn text(value: &Value) -> Read<&str> {
    value.as_str().map_or_else(|| wrong("text", value), Ok)
}

fn id(value: &Value) -> Read<usize> {
    value
        .as_u64()
        .and_then(|id| usize::try_from(id).ok())
        .map_or_else(|| wrong("a region's id", value), Ok)
}

fn flag(value: &Value) -> Read<bool> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        _ if value == 0 => Ok(false),
        _ if value == 1 => Ok(true),
        _ => wrong("0 or 1", value),
    }
}

fn priority(value: &Value) -> Read<i32> {
    value
        .as_i64()
        .and_then(|n| i32::try_from(n).ok())
        .map_or_else(|| wrong("a priority", value), Ok)
}

impl Region {
    /// A region of this kind: enabled, without flags but a ROM's own.
    pub fn new(kind: Kind, size: u128) -> Self {
        let readonly = kind == Kind::Rom;
        Self {
            kind,
            size,
            readonly,
            nonvolatile: false,
            unmergeable: false,
            enabled: true,
        }
    }

    fn from_json(value: &Value) -> Read<Self> {
        let kind = match text(field(value, "kind")?)? {
            "container" => Kind::Container,
            "ram" => Kind::Ram,
            "rom" => Kind::Rom,
            "io" => Kind::Io,
            "reservation" => Kind::Reservation,
            "romd" => Kind::Romd(flag(field(value, "romd")?)?),
            "alias" => Kind::Alias {
                target: id(field(value, "target")?)?,
                offset: address(text(field(value, "offset")?)?)?,
            },
            other => return wrong("a kind of region", other),
        };
        let or = |key, absent| value.get(key).map_or(Ok(absent), flag);
        Ok(Self {
            readonly: or("readonly", false)?,
            nonvolatile: or("nonvolatile", false)?,
            enabled: or("enabled", true)?,
            ..Self::new(kind, hex(text(field(value, "size")?)?)?)
        })
    }
}

impl Op {
    fn from_json(value: &Value) -> Read<Self> {
        let Some((name, arguments)) = list(value)?.split_first() else {
            return wrong("an operation", value);
        };
        match (text(name)?, arguments) {
            ("add", [parent, child, offset, last]) => Ok(Self::Add {
                parent: id(parent)?,
                child: id(child)?,
                offset: address(text(offset)?)?,
                priority: priority(last)?,
            }),
            ("del", [parent, child]) => Ok(Self::Del {
                parent: id(parent)?,
                child: id(child)?,
            }),
            ("set_enabled", [region, to]) => Ok(Self::SetEnabled(id(region)?, flag(to)?)),
            ("set_size", [region, to]) => Ok(Self::SetSize(id(region)?, hex(text(to)?)?)),
            ("set_address", [region, to]) => Ok(Self::SetAddress(id(region)?, address(text(to)?)?)),
            ("set_readonly", [region, to]) => Ok(Self::SetReadonly(id(region)?, flag(to)?)),
            ("set_nonvolatile", [region, to]) => Ok(Self::SetNonvolatile(id(region)?, flag(to)?)),
            ("set_romd", [region, to]) => Ok(Self::SetRomd(id(region)?, flag(to)?)),
            ("set_alias_offset", [region, to]) => {
                Ok(Self::SetAliasOffset(id(region)?, address(text(to)?)?))
            }
            _ => wrong("an operation", value),
        }
    }
}

impl Range {
    fn from_json(value: &Value) -> Read<Self> {
        let [start, size, region, offset, readonly, romd, nonvolatile] = list(value)? else {
            return wrong("a range", value);
        };
        Ok(Self {
            start: address(text(start)?)?,
            size: hex(text(size)?)?,
            region: id(region)?,
            offset: address(text(offset)?)?,
            readonly: flag(readonly)?,
            romd: flag(romd)?,
            nonvolatile: flag(nonvolatile)?,
        })
    }

    /// The range as a listener is told of it.
    #[must_use]
    pub fn told(self) -> Self {
        Self {
            romd: false,
            ..self
        }
    }
}

impl Event {
    fn from_json(value: &Value) -> Read<Self> {
        let [kind, start, size, region, offset, readonly, nonvolatile] = list(value)? else {
            return wrong("a listener's call", value);
        };
        let kind = match text(kind)? {
            "del" => EventKind::Del,
            "add" => EventKind::Add,
            "nop" => EventKind::Nop,
            other => return wrong("del, add or nop", other),
        };
        let range = Range {
            start: address(text(start)?)?,
            size: hex(text(size)?)?,
            region: id(region)?,
            offset: address(text(offset)?)?,
            readonly: flag(readonly)?,
            romd: false,
            nonvolatile: flag(nonvolatile)?,
        };
        Ok(Self { kind, range })
    }
}

fn all<T>(value: &Value, read: impl Fn(&Value) -> Read<T>) -> Read<Vec<T>> {
    list(value)?.iter().map(read).collect()
}

/// A list of ranges.
pub(super) fn ranges(value: &Value, key: &str) -> Read<Vec<Range>> {
    all(field(value, key)?, Range::from_json)
}

/// The calls, and whether there were any, of one transaction.
pub(super) fn outcome(value: &Value) -> Read<Transaction> {
    Ok(Transaction {
        ops: Vec::new(),
        events: all(field(value, "events")?, Event::from_json)?,
        notified: flag(field(value, "notified")?)?,
        deviates: value.get("deviates").is_some(),
    })
}

impl Op {
    /// The regions that it names.
    fn regions(&self) -> [usize; 2] {
        match *self {
            Self::Add { parent, child, .. } | Self::Del { parent, child } => [parent, child],
            Self::SetEnabled(one, _)
            | Self::SetSize(one, _)
            | Self::SetAddress(one, _)
            | Self::SetReadonly(one, _)
            | Self::SetNonvolatile(one, _)
            | Self::SetUnmergeable(one, _)
            | Self::SetRomd(one, _)
            | Self::SetAliasOffset(one, _)
            | Self::SetPriority(one, _)
            | Self::Retract(one) => [one; 2],
        }
    }
}

impl Line {
    /// The line, if each region that is named in it exists.
    pub(super) fn with_known_regions(self) -> Read<Self> {
        let targets = self.regions.iter().filter_map(|region| match region.kind {
            Kind::Alias { target, .. } => Some(target),
            _ => None,
        });
        let during = self.transactions.iter().flat_map(|t| &t.ops);
        let mut named = self
            .setup
            .iter()
            .chain(during)
            .flat_map(Op::regions)
            .chain(targets)
            .chain([self.root]);
        match named.find(|&id| id >= self.regions.len()) {
            Some(unknown) => wrong(
                &format!("ids of {} regions", self.regions.len()),
                format_args!("region {unknown}"),
            ),
            None => Ok(self),
        }
    }

    /// The line that `value` is.
    ///
    /// # Errors
    ///
    /// Where it is not of the recordings' form.
    pub fn from_json(value: &Value) -> Read<Self> {
        let regions = list(field(value, "regions")?)?;
        for (place, region) in regions.iter().enumerate() {
            if id(field(region, "id")?)? != place {
                return wrong(&format!("the region with id {place}"), region);
            }
        }
        let setup = all(field(value, "adds")?, |add| match list(add)? {
            [parent, child, offset, last] => Ok(Op::Add {
                parent: id(parent)?,
                child: id(child)?,
                offset: address(text(offset)?)?,
                priority: priority(last)?,
            }),
            _ => wrong("parent, child, offset and priority", add),
        })?;
        let transactions = all(field(value, "txns")?, |one| {
            Ok(Transaction {
                ops: all(field(one, "ops")?, Op::from_json)?,
                ..outcome(one)?
            })
        })?;
        let line = Self {
            name: format!(
                "{} ({})",
                field(value, "id")?,
                text(field(value, "profile")?)?
            ),
            regions: regions.iter().map(Region::from_json).collect::<Read<_>>()?,
            setup,
            root: id(field(value, "root")?)?,
            view: ranges(value, "view")?,
            view_deviates: value.get("view_deviates").is_some(),
            transactions,
            last: ranges(value, "final")?,
            last_deviates: value.get("final_deviates").is_some(),
        };
        line.with_known_regions()
    }
}
