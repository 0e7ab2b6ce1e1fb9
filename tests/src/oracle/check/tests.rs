//! The checker finds what it is there to find.

use super::*;
use crate::oracle::line::{Kind, Op, Region};
use crate::oracle::topologies::Topologies;

/// RAM with an I/O page in its middle, which goes.
fn line() -> Line {
    let regions = [
        (Kind::Ram, 0x4000),
        (Kind::Io, 0x1000),
        (Kind::Container, 0x1_0000),
    ];
    let add = |child, offset, priority| Op::Add {
        parent: 2,
        child,
        offset,
        priority,
    };
    let range = |start, size, region, offset| Range {
        start,
        size,
        region,
        offset,
        readonly: false,
        romd: false,
        nonvolatile: false,
    };
    let view = vec![
        range(0, 0x1000, 0, 0),
        range(0x1000, 0x1000, 1, 0),
        range(0x2000, 0x2000, 0, 0x2000),
    ];
    let last = vec![range(0, 0x4000, 0, 0)];
    Line {
        name: "line".to_owned(),
        regions: regions.map(|(kind, size)| Region::new(kind, size)).to_vec(),
        setup: vec![add(0, 0, 0), add(1, 0x1000, 1)],
        root: 2,
        transactions: vec![Transaction {
            ops: vec![Op::Del {
                parent: 2,
                child: 1,
            }],
            events: calls(&view, &last),
            notified: true,
            deviates: false,
        }],
        view,
        last,
        ..Line::default()
    }
}

fn difference(change: impl FnOnce(&mut Line)) -> String {
    let mut line = line();
    change(&mut line);
    check_line::<Topologies>(&line).unwrap_err()
}

#[test]
fn a_right_line_passes() {
    check_line::<Topologies>(&line()).unwrap();
}

#[test]
fn each_part_is_compared() {
    assert!(difference(|line| line.view[1].size = 0x800).contains("first view"));
    assert!(difference(|line| line.last[0].offset = 8).contains("last view"));
    assert!(difference(|line| line.transactions[0].notified = false).contains("count"));
    assert!(difference(|line| line.transactions[0].events.swap(0, 1)).contains("the calls: at 0"));
    assert!(
        difference(|line| line.transactions[0].events.truncate(3)).contains("should be nothing")
    );
    assert!(
        difference(|line| line.transactions[0].events[3].range.readonly = true)
            .contains("the calls: at 3")
    );
    assert!(difference(|line| line.setup[1] = line.setup[0]).contains("already"));
}

/// A deviating view is not looked at; what the plain rules say still is.
#[test]
fn deviating_views_are_passed_over() {
    let mut line = line();
    line.view_deviates = true;
    line.view.clear();
    // The old view that the recorded calls speak of is the deviating one.
    line.transactions[0]
        .events
        .retain(|event| event.kind != EventKind::Del);
    check_line::<Topologies>(&line).unwrap();
    line.transactions[0].events[0].range.size = 0x3000;
    assert!(
        check_line::<Topologies>(&line)
            .unwrap_err()
            .contains("the new ranges")
    );
    line.transactions[0].deviates = true;
    check_line::<Topologies>(&line).unwrap();
}

/// An engine that reports too little, and one whose renderers disagree, do not get through.
#[test]
fn broken_engines_are_found() {
    struct Broken<const WHAT: usize>(Topologies);
    impl<const WHAT: usize> Engine for Broken<WHAT> {
        fn new(regions: &[Region], setup: &[Op]) -> Result<Self, String> {
            Topologies::new(regions, setup).map(Self)
        }
        fn open(&mut self, root: usize) -> Result<Vec<Event>, String> {
            let mut told = self.0.open(root)?;
            told.truncate(if WHAT == 0 { 2 } else { 3 });
            Ok(told)
        }
        fn transaction(&mut self, ops: &[Op]) -> Result<Commit, String> {
            let mut commit = self.0.transaction(ops)?;
            commit.notified &= WHAT != 1;
            commit.events.truncate(if WHAT == 2 { 3 } else { 4 });
            Ok(commit)
        }
        fn view(&self) -> Vec<Range> {
            self.0.view().split_off(usize::from(WHAT == 3))
        }
        fn rendered_anew(&self) -> Vec<Range> {
            self.0.rendered_anew().split_off(usize::from(WHAT == 4))
        }
    }
    let line = line();
    assert!(
        check_line::<Broken<0>>(&line)
            .unwrap_err()
            .contains("registration")
    );
    assert!(
        check_line::<Broken<1>>(&line)
            .unwrap_err()
            .contains("notified")
    );
    assert!(
        check_line::<Broken<2>>(&line)
            .unwrap_err()
            .contains("the calls")
    );
    assert!(
        check_line::<Broken<3>>(&line)
            .unwrap_err()
            .contains("where it was damaged")
    );
    assert!(
        check_line::<Broken<4>>(&line)
            .unwrap_err()
            .contains("rendered anew")
    );
    check_line::<Broken<5>>(&line).unwrap();
}
