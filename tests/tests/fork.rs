//! A forked child uses the crates: machines of its own wholly, its parent's in so far as no thread that stayed behind is needed.
#![cfg(unix)]
#![expect(unsafe_code, reason = "forks")]

use std::time::{Duration, Instant};

use holdfast_tests::rig::{Dev, LONG, Observed, Point, Rig, container, io, ram};
use memory::{Attrs, Gpa, Intent, MemTxError, RegionApi};
use qdev::DeviceOps;
use qom::{ObjectOps, WaitError};

/// Longer than a child takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs `child` in a fork of this process, and says whether all of it held; a child that hangs is ended and has failed.
fn in_child(child: impl FnOnce()) -> bool {
    // SAFETY: the child runs code of this test and of the crates, and leaves without unwinding into the test harness. The threads of the
    // parent are at rest, so no lock is held in the child but for those of the harness, which it does not use.
    let id = match unsafe { libc::fork() } {
        0 => {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(outcome.is_err())) }
        }
        id => id,
    };
    assert!(id > 0, "{}", std::io::Error::last_os_error());
    let start = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: asks after the child that was just made, and writes to a local.
        match unsafe { libc::waitpid(id, &raw mut status, libc::WNOHANG) } {
            0 if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(5)),
            0 => {
                // SAFETY: ends and reaps the child that was just made.
                unsafe {
                    libc::kill(id, libc::SIGKILL);
                    libc::waitpid(id, &raw mut status, 0);
                }
                return false;
            }
            found => {
                assert_eq!(found, id);
                return libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
            }
        }
    }
}

/// A whole life: plug, access, map, unplug, nothing left, closed.
fn a_machine_of_its_own() {
    let rig = Rig::new("own");
    let card = rig.plug::<Dev>("card");
    let (regs, bytes) = (io::<Dev>(&card, 7).unwrap(), ram(&card, 8).unwrap());
    rig.show(&regs, 1);
    rig.show(&bytes, 2);
    card.realize().unwrap();
    assert_eq!((rig.load(1), rig.load(2)), (Ok(7), Ok(8)));
    rig.store(2, 9).unwrap();
    let mapping = rig
        .space
        .map(rig.machine.root(), Gpa(0x2000), 4, Intent::Read)
        .unwrap();
    assert_eq!(mapping.pin(0, 4).unwrap().bytes().load_u32(0), Some(9));
    let end = card.downgrade();
    assert!(card.unparent().unwrap().is_done());
    assert_eq!(rig.load(1), Err(MemTxError::DECODE));
    assert!(!mapping.is_open());
    drop((card, mapping));
    rig.machine.wait_finalized(&end, LONG).unwrap();
    rig.finish();
}

/// One test, so that no other test's thread is in the middle of something when the process forks.
#[test]
fn a_forked_child_uses_machines() {
    let rig = Rig::new("parent");
    let card = rig.plug::<Dev>("card");
    let (regs, bytes) = (io::<Dev>(&card, 7).unwrap(), ram(&card, 8).unwrap());
    rig.show(&regs, 1);
    rig.show(&bytes, 2);
    card.realize().unwrap();
    let unrealized = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = unrealized.clone();
    card.part().on(Point::Unrealize, move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    // The machine's threads have run, and have slept for a while when the process forks.
    rig.machine.quiesce(LONG).unwrap();
    std::thread::sleep(Duration::from_millis(50));

    assert!(in_child(a_machine_of_its_own), "a machine of the child's");

    // The child takes its copy, and the parent's stays.
    let mut plugged = Some((rig, card));
    let fine = in_child(|| {
        let (rig, card) = plugged.take().unwrap();
        // Reading, and changing the map.
        assert_eq!((rig.load(1), rig.load(2)), (Ok(7), Ok(8)));
        let more = ram(rig.machine.root(), 5).unwrap();
        rig.show(&more, 3);
        rig.system.del_subregion(&bytes).unwrap();
        assert_eq!(rig.load(3), Ok(5));
        assert_eq!(rig.load(2), Err(MemTxError::DECODE));
        let mut word = [0; 4];
        let read = rig.space.read(Gpa(0x3000), &mut word, Attrs::default());
        assert!(read.is_ok() && word == [5, 0, 0, 0]);
        // Unplugging: the hooks run in the caller.
        assert!(card.unparent().unwrap().is_done());
        assert_eq!(unrealized.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert_eq!(rig.load(1), Err(MemTxError::DECODE));
        assert!(container(&card, 1).is_err(), "a withdrawn owner");
        // Finalizers would run on the executor, which stayed behind: whoever waits is told.
        let end = card.downgrade();
        drop(card);
        let short = Duration::from_millis(100);
        let late = rig.machine.quiesce(short).unwrap_err();
        assert!(matches!(late, WaitError::TimedOut { .. }), "{late:?}");
        let late = rig.machine.wait_finalized(&end, short).unwrap_err();
        assert!(matches!(late, WaitError::TimedOut { .. }), "{late:?}");
        // Beside it another machine works; and dropping this one does not wait for anybody.
        a_machine_of_its_own();
        let Rig { machine, .. } = rig;
        drop(machine);
    });
    assert!(fine, "the parent's machine");

    // And the parent is as before.
    let (rig, card) = plugged.unwrap();
    assert_eq!((rig.load(1), rig.load(2)), (Ok(7), Ok(8)));
    assert!(card.unparent().unwrap().is_done());
    drop(card);
    rig.finish();
}
