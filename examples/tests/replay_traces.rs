//! The main job of the `demo` command on the small traces, with all its checks; and that it finds what is not as recorded.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use holdfast_examples::demo::{DemoError, Stage, Traces};

fn given(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/virtio-gpu-traces");
    folder.join(format!("{name}.jsonl.gz"))
}

fn replay(files: impl IntoIterator<Item = PathBuf>) -> Result<String, DemoError> {
    let mut out = Vec::new();
    Traces::of(files)
        .beside_others()
        .run(&mut Stage::new(&mut out))?;
    Ok(String::from_utf8(out).expect("text"))
}

/// A copy of a trace with one change, in a file of its own.
fn changed(name: &str, what: &str, change: impl Fn(String) -> String) -> PathBuf {
    let mut text = String::new();
    let file = std::fs::File::open(given(name)).expect("a trace");
    MultiGzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("a readable trace");
    let new = change(text.clone());
    assert_ne!(new, text, "{what} changes nothing");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{what}.jsonl.gz"));
    let file = std::fs::File::create(&path).expect("a file");
    let mut packed = GzEncoder::new(file, Compression::fast());
    packed.write_all(new.as_bytes()).expect("written");
    packed.finish().expect("finished");
    path
}

fn difference(file: PathBuf) -> String {
    replay([file])
        .expect_err("the change has to be found")
        .chain()
}

const BLOB: &str = "linux-6.1.192-mmio-blob";

#[test]
fn the_small_traces_come_out_as_recorded_and_leave_nothing() {
    let traces = [
        BLOB,
        "linux-6.12.117-pci-blob",
        "linux-6.1.192-mmio-reset",
        "linux-6.12.117-pci-reset",
        "linux-6.1.192-mmio-hotplug",
    ];
    let text = replay(traces.map(given)).unwrap_or_else(|error| panic!("{}", error.chain()));
    for name in traces {
        assert!(text.contains(name), "{text}");
    }
    // Other tests of this program have machines of their own meanwhile.
    let left =
        "left       0 objects, bytes of backings not looked at, 0 pins, 0 mappings, 0 snapshots";
    assert!(text.contains(left), "{text}");
    assert_eq!(text.matches("order: ").count(), traces.len(), "{text}");
    // Two commands wait for pins at the reset and at the unplug of each.
    assert!(text.contains("20 dropped"), "{text}");
}

#[test]
fn a_reply_that_differs_is_named_with_its_line() {
    // The first fence id that comes back.
    let fence = |text: String| {
        text.replacen(
            "\"response\":\"001100000100000001",
            "\"response\":\"001100000100000002",
            1,
        )
    };
    let error = difference(changed(BLOB, "wrong-fence", fence));
    assert!(
        error.contains("wrong-fence.jsonl.gz:17: SUBMIT_3D: fence_id"),
        "{error}"
    );
}

#[test]
fn a_config_space_and_counts_that_differ_are_named() {
    let capsets = |text: String| text.replacen("\"data\":\"02000000\"", "\"data\":\"03000000\"", 1);
    let error = difference(changed(BLOB, "wrong-config", capsets));
    assert!(error.contains("wrong-config.jsonl.gz:7:"), "{error}");
    let end = |text: String| {
        let at = text.rfind("\"resources_live\":").expect("an end line");
        format!("{}\"resources_live\":9{}", &text[..at], &text[at + 17..])
    };
    let error = difference(changed(BLOB, "wrong-end", end));
    assert!(error.contains("resources"), "{error}");
}

#[test]
fn what_the_device_cannot_offer_is_said_at_once() {
    let base = |text: String| {
        text.replacen(
            "\"window_base\":\"0x200000000\"",
            "\"window_base\":\"0x1000\"",
            1,
        )
    };
    let error = difference(changed(BLOB, "window-in-ram", base));
    assert!(error.contains("overlap"), "{error}");
}

#[test]
fn a_file_that_is_no_trace_is_an_error() {
    let error = difference(given("missing"));
    assert!(error.contains("missing.jsonl.gz"), "{error}");
}

#[test]
fn all_files_are_replayed_and_each_that_differs_is_told() {
    let fence = |text: String| {
        text.replacen(
            "\"response\":\"001100000100000001",
            "\"response\":\"001100000100000002",
            1,
        )
    };
    let files = [
        given("missing"),
        changed(BLOB, "wrong-among-others", fence),
        given("linux-6.1.192-mmio-reset"),
    ];
    let mut out = Vec::new();
    let error = Traces::of(files)
        .beside_others()
        .run(&mut Stage::new(&mut out))
        .expect_err("two of three");
    let (text, error) = (String::from_utf8(out).expect("text"), error.chain());
    assert!(
        error.contains("2 of 3 traces")
            && error.contains("missing.jsonl.gz")
            && error.contains("wrong-among-others.jsonl.gz:17: SUBMIT_3D: fence_id"),
        "{error}"
    );
    assert!(
        text.contains("112 commands, 108 replies") && text.contains("1 of 3 traces"),
        "{text}"
    );
}
