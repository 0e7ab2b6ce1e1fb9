//! What may happen in a random life, and how it is drawn.

use holdfast_tests::rig::Point;
use proptest::prelude::*;

/// Pages that are drawn: as many as are probed.
const PAGES_DRAWN: u8 = 12;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Io,
    Ram,
    /// RAM whose bytes the caller lends.
    Lent,
    Box,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    Wait,
    Async,
    InTransaction,
    InGuard,
    ForgetTicket,
    /// From two threads, of which the other one unparents this owner.
    TwoThreads(u8),
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Owner {
        device: bool,
        parent: Option<u8>,
    },
    Region {
        owner: u8,
        kind: Kind,
    },
    Alias {
        owner: u8,
        target: u8,
    },
    /// `show` puts it into the system, else into a region.
    Add {
        show: bool,
        container: u8,
        sub: u8,
        page: u8,
    },
    Del {
        show: bool,
        container: u8,
        sub: u8,
    },
    Move {
        region: u8,
        page: u8,
    },
    Enable {
        region: u8,
        on: bool,
    },
    Map {
        holder: u8,
        page: u8,
        write: bool,
    },
    Unmap(u8),
    ForgetMapping(u8),
    Pin {
        holder: u8,
        page: u8,
    },
    PinMapping(u8),
    Unpin(u8),
    Space {
        holder: u8,
        root: u8,
    },
    CloseSpace(u8),
    Listen {
        holder: u8,
        space: u8,
        panics: bool,
    },
    CloseListener(u8),
    ForgetListener(u8),
    Snapshot(u8),
    DropSnapshot(u8),
    Link {
        from: u8,
        to: u8,
    },
    Realize(u8),
    Unrealize(u8),
    Unparent {
        owner: u8,
        how: How,
    },
    UnparentRegion(u8),
    /// Have a station of one owner unparent another one.
    Arm {
        owner: u8,
        point: Point,
        victim: u8,
    },
    /// `bomb`: what it panics with panics in its turn when it is dropped.
    PanicAt {
        owner: u8,
        point: Point,
        bomb: bool,
    },
    /// Open a handle in the owner's name.
    Open(u8),
    DropHandle(u8),
    /// Have a listener on the system drop the handle, at its first or at its last call.
    DropInListener {
        owner: u8,
        late: bool,
    },
    Enter(u8),
    Park {
        reader: u8,
        page: u8,
    },
    Leave(u8),
    /// Write to a page, beside its tag.
    Store(u8),
    Probe,
    Quiesce,
}

pub(crate) fn point() -> impl Strategy<Value = Point> {
    prop::sample::select(vec![
        Point::Realize,
        Point::Unrealize,
        Point::Unparent,
        Point::Finalize,
        Point::Read,
        Point::Write,
        Point::Drop,
        Point::Close,
        Point::CloseDrop,
        Point::OpsDrop,
        Point::Keeper,
        Point::BytesGone,
    ])
}

pub(crate) fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        3 => Just(How::Wait),
        2 => Just(How::Async),
        1 => Just(How::InTransaction),
        1 => Just(How::InGuard),
        1 => Just(How::ForgetTicket),
        1 => any::<u8>().prop_map(How::TwoThreads),
    ]
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![3 => Just(Kind::Io), 3 => Just(Kind::Ram), 2 => Just(Kind::Lent), 3 => Just(Kind::Box)];
    let i = any::<u8>;
    let page = || 0..PAGES_DRAWN;
    let making = prop_oneof![
        3 => (any::<bool>(), prop::option::weighted(0.85, i()))
            .prop_map(|(device, parent)| Op::Owner { device, parent }),
        5 => (i(), kind).prop_map(|(owner, kind)| Op::Region { owner, kind }),
        2 => (i(), i()).prop_map(|(owner, target)| Op::Alias { owner, target }),
        8 => (prop::bool::weighted(0.6), i(), i(), page())
            .prop_map(|(show, container, sub, page)| Op::Add { show, container, sub, page }),
        1 => (any::<bool>(), i(), i())
            .prop_map(|(show, container, sub)| Op::Del { show, container, sub }),
        1 => (i(), page()).prop_map(|(region, page)| Op::Move { region, page }),
        1 => (i(), any::<bool>()).prop_map(|(region, on)| Op::Enable { region, on }),
    ];
    let opening = prop_oneof![
        4 => (i(), page(), any::<bool>())
            .prop_map(|(holder, page, write)| Op::Map { holder, page, write }),
        1 => i().prop_map(Op::Unmap),
        1 => i().prop_map(Op::ForgetMapping),
        2 => (i(), page()).prop_map(|(holder, page)| Op::Pin { holder, page }),
        1 => i().prop_map(Op::PinMapping),
        2 => i().prop_map(Op::Unpin),
        2 => (i(), i()).prop_map(|(holder, root)| Op::Space { holder, root }),
        1 => i().prop_map(Op::CloseSpace),
        2 => (i(), i(), prop::bool::weighted(0.3))
            .prop_map(|(holder, space, panics)| Op::Listen { holder, space, panics }),
        1 => i().prop_map(Op::CloseListener),
        1 => i().prop_map(Op::ForgetListener),
        3 => i().prop_map(Op::Open),
        1 => i().prop_map(Op::Snapshot),
        1 => i().prop_map(Op::DropSnapshot),
        1 => i().prop_map(Op::DropSnapshot),
        1 => (i(), i()).prop_map(|(from, to)| Op::Link { from, to }),
    ];
    let ending = prop_oneof![
        3 => i().prop_map(Op::Realize),
        1 => i().prop_map(Op::Unrealize),
        2 => (i(), how()).prop_map(|(owner, how)| Op::Unparent { owner, how }),
        1 => i().prop_map(Op::UnparentRegion),
        2 => (i(), point(), i())
            .prop_map(|(owner, point, victim)| Op::Arm { owner, point, victim }),
        4 => (i(), point(), prop::bool::weighted(0.2))
            .prop_map(|(owner, point, bomb)| Op::PanicAt { owner, point, bomb }),
        3 => i().prop_map(Op::DropHandle),
        2 => (i(), any::<bool>()).prop_map(|(owner, late)| Op::DropInListener { owner, late }),
    ];
    let looking = prop_oneof![
        2 => i().prop_map(Op::Enter),
        2 => (i(), page()).prop_map(|(reader, page)| Op::Park { reader, page }),
        2 => i().prop_map(Op::Leave),
        3 => page().prop_map(Op::Store),
        4 => Just(Op::Probe),
        2 => Just(Op::Quiesce),
    ];
    prop_oneof![9 => making, 6 => opening, 5 => ending, 5 => looking]
}

/// One owner to begin with, and its regions, shown at their pages.
pub(crate) type First = (bool, Vec<(Kind, u8)>);

pub(crate) fn first() -> impl Strategy<Value = First> {
    let kind = prop_oneof![4 => Just(Kind::Io), 3 => Just(Kind::Ram), 2 => Just(Kind::Lent), 2 => Just(Kind::Box)];
    (
        any::<bool>(),
        prop::collection::vec((kind, 0..PAGES_DRAWN), 1..5),
    )
}

pub(crate) fn pick(i: u8, len: usize) -> Option<usize> {
    (len > 0).then(|| usize::from(i) % len)
}

/// Mostly one that is not gone.
pub(crate) fn pick_living(i: u8, gone: impl Iterator<Item = bool> + Clone) -> Option<usize> {
    let all: Vec<usize> = (0..).zip(gone.clone()).map(|(at, _)| at).collect();
    let living: Vec<usize> = (0..)
        .zip(gone)
        .filter_map(|(at, gone)| (!gone).then_some(at))
        .collect();
    let from = if i < 216 && !living.is_empty() {
        living
    } else {
        all
    };
    pick(i, from.len()).map(|at| from[at])
}

pub(crate) fn take<T>(from: &mut Vec<T>, i: u8) -> Option<T> {
    pick(i, from.len()).map(|at| from.swap_remove(at))
}
