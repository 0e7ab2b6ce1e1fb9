//! A system call filter that forbids `membarrier`, before and after the crate first asked for it; and the choice of the engine.
//!
//! Each case runs in a process of its own: this test binary, started again with the case's name in an environment variable.
#![cfg(all(target_os = "linux", not(loom), not(holdfast_plain_atomics)))]
#![expect(unsafe_code, reason = "installs a system call filter")]

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use qom_grace::{
    Domain, DomainConfig, EngineError, EngineKind, GraceError, Published, choose_engine, engine,
};

const CASE: &str = "GRACE_TEST_CASE";
const LONG: Option<Duration> = Some(Duration::from_secs(20));

/// Starts this binary again to run one test in a process of its own.
fn rerun(case: &str, variable: Option<&str>) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "--nocapture", "case"])
        .env(CASE, case)
        .env_remove("HOLDFAST_GRACE");
    if let Some(value) = variable {
        command.env("HOLDFAST_GRACE", value);
    }
    command.output().unwrap()
}

fn passes(case: &str, variable: Option<&str>) {
    let output = rerun(case, variable);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{case}: {out}{err}");
    assert!(
        out.contains(&format!("ran {case}")),
        "the case did not run: {out}{err}"
    );
}

/// Has the kernel answer `membarrier` with `EPERM` in every thread of this process, from now on.
fn forbid_membarrier() {
    const LOAD_NUMBER: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let number = u32::try_from(libc::SYS_membarrier).unwrap();
    let refusal = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::EPERM).unwrap();
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(LOAD_NUMBER, 0, 0, 0),
        step(JUMP_IF_EQUAL, number, 0, 1),
        step(RETURN, refusal, 0, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: prctl with plain numbers, and seccomp with a program that lives across the call.
    let outcome = unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const program,
        )
    };
    assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: a query, with plain numbers.
    let query = unsafe { libc::syscall(libc::SYS_membarrier, 0, 0, 0) };
    assert_eq!(query, -1, "the filter does not work");
}

/// A domain of the chosen engine does its work.
fn works() {
    let domain = Domain::new(DomainConfig::default(), Arc::new(drop));
    assert_eq!(domain.engine(), engine());
    let cell = Published::new(&domain, Arc::new(1));
    let guard = domain.enter();
    cell.store(Arc::new(2), 1);
    assert_eq!(domain.counters().retired_items, 1);
    assert_eq!(*cell.load(&guard), 2);
    drop(guard);
    domain.barrier(LONG).unwrap();
    assert_eq!(domain.counters().retired_items, 0);
    assert_eq!(domain.counters().refused_barriers, 0);
}

/// Not a test of its own: does what the environment says, and passes when it says nothing.
#[test]
fn case() {
    let Ok(case) = std::env::var(CASE) else {
        return;
    };
    match case.as_str() {
        "denied from the start" => {
            forbid_membarrier();
            assert_eq!(
                choose_engine(EngineKind::Membarrier),
                Err(EngineError::Unavailable {
                    wanted: EngineKind::Membarrier
                })
            );
            assert_eq!(engine(), EngineKind::Epoch);
            works();
            // A domain that insists gets the other engine.
            let config = DomainConfig {
                engine: Some(EngineKind::Membarrier),
                ..DomainConfig::default()
            };
            assert_eq!(
                Domain::new(config, Arc::new(drop)).engine(),
                EngineKind::Epoch
            );
        }
        "denied too late" => {
            let domain = Domain::new(
                DomainConfig {
                    retired_bytes_limit: 5,
                    limit_wait: Duration::from_millis(20),
                    ..DomainConfig::default()
                },
                Arc::new(drop),
            );
            assert_eq!(domain.engine(), EngineKind::Membarrier);
            domain.barrier(LONG).unwrap();
            forbid_membarrier();
            // Without a barrier nothing is disposed of, and everybody is told.
            domain.retire(6, Box::new(()), "it");
            let error = domain
                .barrier(Some(Duration::from_millis(100)))
                .unwrap_err();
            assert!(
                matches!(error, GraceError::TimedOut { reader: None, .. }),
                "{error}"
            );
            assert!(matches!(
                domain.make_room(),
                Err(GraceError::Overloaded { reader: None, .. })
            ));
            let counters = domain.counters();
            assert!(
                counters.refused_barriers > 0 && counters.retired_items == 1,
                "{counters:?}"
            );
        }
        "default" => {
            assert_eq!(engine(), EngineKind::Membarrier);
            works();
        }
        "variable" => {
            assert_eq!(engine(), EngineKind::Epoch);
            works();
        }
        "chosen" => {
            choose_engine(EngineKind::Epoch).unwrap();
            choose_engine(EngineKind::Epoch).unwrap();
            assert_eq!(
                choose_engine(EngineKind::Membarrier),
                Err(EngineError::AlreadyChosen {
                    wanted: EngineKind::Membarrier,
                    chosen: EngineKind::Epoch
                })
            );
            works();
        }
        other => panic!("no case `{other}`"),
    }
    println!("ran {case}");
}

#[test]
fn a_filter_that_forbids_membarrier_selects_epochs() {
    passes("denied from the start", None);
    // Asking for the impossible does not make it possible.
    passes("denied from the start", Some("membarrier"));
}

#[test]
fn a_filter_that_comes_too_late_frees_nothing() {
    passes("denied too late", None);
}

#[test]
fn the_environment_chooses_the_engine() {
    passes("default", None);
    passes("default", Some("membarrier"));
    passes("default", Some("nonsense"));
    passes("variable", Some("epoch"));
}

#[test]
fn the_program_chooses_the_engine_once() {
    passes("chosen", None);
    passes("chosen", Some("membarrier"));
}
