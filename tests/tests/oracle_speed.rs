//! What lookups, changes and whole views cost: `cargo test --release … --test oracle_speed -- --ignored --nocapture`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memory::addr::{Offset, Size};
use memory::flat::{FlatRange, FlatView, Views};
use memory::topology::{Damage, Priority, RegionKey, RegionSpec, SpaceKey, Topology};

const PAGE: u64 = 0x1000;
const SPACE: SpaceKey = SpaceKey(0);

/// A container with `siblings` I/O pages, every other page, and the space rooted at it.
struct Bus {
    topology: Topology,
    views: Views<(FlatRange, Arc<u64>)>,
    root: RegionKey,
}

impl Bus {
    fn new(siblings: u64) -> Self {
        let mut topology = Topology::new();
        let root = topology.insert(RegionSpec::container(Size::MAX)).unwrap();
        topology.attach_root(SPACE, root).unwrap();
        let mut this = Self {
            topology,
            views: Views::new(),
            root,
        };
        this.commit();
        // In an order that is neither ascending nor descending.
        for i in 0..siblings {
            let place = i.wrapping_mul(0x9e37_79b1) % siblings.next_power_of_two();
            let page = this
                .topology
                .insert(RegionSpec::io(Size::new(PAGE)))
                .unwrap();
            this.topology
                .add_subregion(root, page, Offset(place * 2 * PAGE), Priority(0))
                .unwrap();
        }
        this
    }

    fn commit(&mut self) {
        let pending = self.topology.take_pending();
        black_box(self.views.commit(&self.topology, pending, |range| {
            (*range, Arc::new(range.offset.0))
        }));
    }

    fn view(&self) -> &FlatView<(FlatRange, Arc<u64>)> {
        self.views.view(SPACE).unwrap()
    }
}

/// The shortest of several runs, as others share the machine.
fn best(runs: usize, mut run: impl FnMut() -> Duration) -> Duration {
    (0..runs).map(|_| run()).min().unwrap()
}

fn lookup(view: &FlatView<(FlatRange, Arc<u64>)>, addresses: &[u64]) -> f64 {
    let time = best(20, || {
        let start = Instant::now();
        let mut found = 0;
        for &address in addresses {
            found += u64::from(black_box(view.get(black_box(address))).is_some());
        }
        black_box(found);
        start.elapsed()
    });
    time.as_secs_f64() * 1e9 / f64::from(u32::try_from(addresses.len()).unwrap())
}

#[test]
#[ignore = "measures"]
fn lookups() {
    for siblings in [16, 256, 4096, 65_536] {
        let mut bus = Bus::new(siblings);
        bus.commit();
        let view = bus.view();
        assert_eq!(view.len() as u64, siblings);
        let mut state = 1u64;
        let random: Vec<u64> = (0..1 << 16)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % siblings * 2 * PAGE + (state >> 20 & 0xfff)
            })
            .collect();
        let hot = vec![random[0]; 1 << 16];
        println!(
            "{siblings:6} ranges: hot {:5.2} ns, random {:5.2} ns",
            lookup(view, &hot),
            lookup(view, &random)
        );
    }
}

#[test]
#[ignore = "measures"]
fn changes() {
    for siblings in [16, 256, 4096, 65_536] {
        let mut bus = Bus::new(siblings);
        bus.commit();
        let extra = bus
            .topology
            .insert(RegionSpec::io(Size::new(PAGE)))
            .unwrap();
        let rounds = 4000u64;
        let [mut near, mut far] = [0.0, 0.0];
        for (result, stride) in [(&mut near, 0), (&mut far, 0x9e37_79b1u64)] {
            let time = best(5, || {
                let start = Instant::now();
                for round in 0..rounds {
                    let place = (round.wrapping_mul(stride) % siblings) * 2 * PAGE + PAGE;
                    bus.topology
                        .add_subregion(bus.root, extra, Offset(place), Priority(0))
                        .unwrap();
                    bus.commit();
                    bus.topology.del_subregion(bus.root, extra).unwrap();
                    bus.commit();
                }
                start.elapsed()
            });
            *result = time.as_secs_f64() * 1e6 / 4000.0;
        }
        println!(
            "beside {siblings:6} siblings: add and del {near:5.2} us at one place, {far:5.2} us all over"
        );
    }
}

#[test]
#[ignore = "measures"]
fn whole_views() {
    let time = best(5, || {
        let start = Instant::now();
        let mut bus = Bus::new(65_536);
        let added = start.elapsed();
        bus.commit();
        let whole = start.elapsed();
        assert_eq!(bus.view().len(), 65_536);
        println!("65536 regions: made and added {added:.2?}, with the commit {whole:.2?}");
        whole
    });
    println!("65536 regions in one transaction: {time:.2?}");
    let mut bus = Bus::new(65_536);
    bus.commit();
    let start = Instant::now();
    let (view, _) =
        FlatView::empty().update(&bus.topology, Some(bus.root), &mut Damage::all(), |range| {
            (*range, Arc::new(range.offset.0))
        });
    println!(
        "65536 ranges, first view of a space: {:.2?}",
        start.elapsed()
    );
    assert_eq!(view.len(), 65_536);
}
