//! Lines that are not in the format, and what the error says of them.

use std::io::Cursor;

use super::*;

const HEADER: &str = r#"{"type":"header","format":1,"kernel":"6.1","transport":"mmio","ram_mib":1,"features_offered":"0x13000001b","features_accepted":"0x1b","window_base":"0x200000000","window_size":"0x10000000","queues":[256,16],"config":{"events_read":0,"events_clear":0,"num_scanouts":1,"num_capsets":2},"scanout0_enabled":true,"workload_name":"blob","workload":"words","frames_capped":false}"#;
const END: &str = r#"{"type":"end","reason":"guest reboot","resources_live":0,"blobs_mapped":0}"#;
const COMMAND: &str = r#"{"type":"cmd","queue":"control","us":7,"name":"X","request":"0001ff","response":"00","response_capacity":24,"descriptors":[[1,false],[2,false],[24,true]],"indirect":true}"#;

fn read(text: &str) -> Result<Vec<Recorded>, TraceError> {
    let reader = TraceReader::new("file".as_ref(), Cursor::new(text.to_owned().into_bytes()))?;
    reader.collect()
}

/// What the error says of one line between the header and the end.
fn problem(line: &str) -> String {
    let error = read(&format!("{HEADER}\n{line}\n{END}\n")).expect_err("not in the format");
    let text = error.to_string();
    let place = text.strip_prefix("file:2: ");
    place
        .unwrap_or_else(|| panic!("no place in {text:?}"))
        .to_owned()
}

#[test]
fn good_lines_are_read() {
    let events = read(&format!("{HEADER}\n{COMMAND}\n{END}\n")).expect("a trace");
    let Event::Command(command) = &events[0].event else {
        panic!("{events:?}")
    };
    assert_eq!((events[0].line, events[0].us), (2, Some(7)));
    assert_eq!(
        (&command.request[..], &command.response[..]),
        (&[0, 1, 0xff][..], &[0][..])
    );
    assert_eq!((command.capacity(), command.queue), (24, Queue::Control));
    assert_eq!(events.len(), 2);
    let reader = TraceReader::new("file".as_ref(), Cursor::new(HEADER)).expect("a header");
    assert_eq!(reader.header().window_base, 0x2_0000_0000);
    assert_eq!(
        (reader.header().ram_bytes, reader.header().capsets),
        (1 << 20, 2)
    );
}

#[test]
fn each_line_that_is_wrong_is_named() {
    for (from, to, says) in [
        ("\"cmd\"", "\"cmnd\"", "type \"cmnd\" is not known"),
        ("\"control\"", "\"other\"", "queue \"other\" is not known"),
        ("0001ff", "0001fF", "request is not bytes"),
        ("0001ff", "0001f", "request is not bytes"),
        ("0001ff", "0001", "a request of 2 bytes in descriptors of 3"),
        ("[2,false]", "[2,0]", "is not a length and a direction"),
        (
            "[2,false]",
            "[4294967298,false]",
            "is not a number of 32 bits",
        ),
        (
            "\"response_capacity\":24",
            "\"response_capacity\":23",
            "response_capacity is not the 24",
        ),
        ("\"us\":7", "\"us\":-7", "us is not a number"),
        ("\"us\":7,", "", "us is missing"),
        (
            "\"indirect\":true",
            "\"indirect\":1",
            "indirect is neither true nor false",
        ),
    ] {
        let line = COMMAND.replace(from, to);
        assert_ne!(line, COMMAND, "{from}");
        let problem = problem(&line);
        assert!(problem.contains(says), "{problem}");
    }
    assert!(problem("[]").contains("not an object"));
    assert!(problem("{").contains("not JSON"));
    assert!(problem(HEADER).contains("a second header"));
}

#[test]
fn pages_are_pages_inside_ram() {
    let page = |gpa: &str, data: &str| {
        problem(&format!(
            r#"{{"type":"guest_ram","gpa":"{gpa}","zlib_b64":"{data}"}}"#
        ))
    };
    // One byte, compressed.
    assert!(page("0x1000", "eJxjAAAAAQAB").contains("a page of 1 bytes"));
    assert!(page("0x1001", "").contains("not the address of a page"));
    assert!(page("0xfffffffffffff000", "").contains("not the address of a page"));
    assert!(page("0x1000", "!").contains("zlib_b64"));
    assert!(page("0x1000", "AAAA").contains("zlib_b64"));
    assert!(page("1000", "").contains("not a hexadecimal number"));
    assert!(page("0x+1000", "").contains("not a hexadecimal number"));
}

#[test]
fn a_page_must_not_lie_behind_ram() {
    use std::io::Write;
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&[7; 4096]).expect("to memory");
    let data = BASE64.encode(packer.finish().expect("to memory"));
    let line = |gpa: &str| format!(r#"{{"type":"guest_ram","gpa":"{gpa}","zlib_b64":"{data}"}}"#);
    assert!(problem(&line("0x100000")).contains("outside RAM"));
    let events = read(&format!("{HEADER}\n{}\n{END}\n", line("0xff000"))).expect("a trace");
    assert!(matches!(&events[0].event, Event::GuestRam(p) if p.bytes == [7; 4096]));
}

#[test]
fn the_order_of_lines_counts() {
    let early = COMMAND.replace("\"us\":7", "\"us\":6");
    let wrong = |text: String| read(&text).expect_err("wrong order").to_string();
    assert!(
        wrong(format!("{HEADER}\n{COMMAND}\n{early}\n{END}\n"))
            .starts_with("file:3: time goes back")
    );
    assert!(wrong(format!("{HEADER}\n{COMMAND}\n")).contains("without an end line"));
    assert!(
        wrong(format!("{HEADER}\n{END}\n{COMMAND}\n")).starts_with("file:3: a line behind the end")
    );
    assert!(wrong(format!("{COMMAND}\n{END}\n")).contains("the first line is not a header"));
    assert!(wrong(String::new()).contains("the file is empty"));
    let newer = HEADER.replace("\"format\":1", "\"format\":2");
    assert!(wrong(format!("{newer}\n{END}\n")).contains("format 2 is not known"));
}

#[test]
fn nothing_comes_after_an_error() {
    let text = format!("{HEADER}\n{{}}\n{COMMAND}\n{END}\n");
    let mut reader = TraceReader::new("file".as_ref(), Cursor::new(text)).expect("a header");
    assert!(reader.next().expect("a line").is_err());
    assert!(reader.next().is_none());
}

#[test]
fn a_file_that_is_not_gzip_is_an_error_with_its_name() {
    let error = TraceReader::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").as_ref());
    assert!(
        error
            .expect_err("not gzip")
            .to_string()
            .contains("Cargo.toml:1: cannot be read")
    );
    let error = TraceReader::open("/nowhere/at/all".as_ref());
    assert!(matches!(error, Err(TraceError::Open { .. })));
}
