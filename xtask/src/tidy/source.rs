//! A Rust file taken apart as far as the rules need: code without comments and texts, comments without code, functions, tests.
//!
//! It is a lexer and a matcher of brackets, not a parser. What that cannot tell apart is said at each rule that uses it.

use std::ops::Range;

/// A Rust file. All texts in it have the same length and lines as the file, so an offset means the same in each.
#[derive(Debug)]
pub(super) struct Source {
    /// The file with comments, and what is inside texts and characters, blanked.
    pub(super) code: String,
    /// The file with all but the comments blanked.
    pub(super) comments: String,
    line_starts: Vec<usize>,
    tests: Vec<Range<usize>>,
    functions: Vec<Function>,
}

/// A function that has a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Function {
    /// Its name; for one in a macro it may be `$name`.
    pub(super) name: String,
    /// Offset of the word `fn`.
    pub(super) at: usize,
    /// Offsets of the body, braces included.
    pub(super) body: Range<usize>,
}

impl Source {
    /// Takes a file apart.
    pub(super) fn new(text: &str) -> Self {
        let (code, comments) = split(text);
        let line_starts = std::iter::once(0)
            .chain(
                text.bytes()
                    .enumerate()
                    .filter(|(_, b)| *b == b'\n')
                    .map(|(at, _)| at + 1),
            )
            .collect();
        let tests = test_items(&code);
        let functions = functions(&code);
        Self {
            code,
            comments,
            line_starts,
            tests,
            functions,
        }
    }

    /// The line of an offset, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at)
    }

    /// A line of the comments, from 1; empty where there is no such line.
    pub(super) fn comment_line(&self, line: usize) -> &str {
        self.line_of(&self.comments, line)
    }

    /// A line of the code, from 1; empty where there is no such line.
    pub(super) fn code_line(&self, line: usize) -> &str {
        self.line_of(&self.code, line)
    }

    fn line_of<'a>(&self, text: &'a str, line: usize) -> &'a str {
        let start = line
            .checked_sub(1)
            .and_then(|index| self.line_starts.get(index));
        let rest = start.map_or("", |start| &text[*start..]);
        rest.lines().next().unwrap_or("")
    }

    /// Whether an offset is inside an item under `#[cfg(test)]`.
    pub(super) fn is_in_tests(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }

    /// The items under `#[cfg(test)]`, from the attribute to the end.
    pub(super) fn tests(&self) -> &[Range<usize>] {
        &self.tests
    }

    /// The functions, in order of their beginning.
    pub(super) fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The innermost function around an offset, its signature included.
    pub(super) fn function_at(&self, at: usize) -> Option<&Function> {
        self.functions
            .iter()
            .rev()
            .find(|f| (f.at..f.body.end).contains(&at))
    }

    /// The offsets of a word in the code.
    pub(super) fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        words(&self.code, word)
    }

    /// The first line of the comments and attributes that stand directly above a line; that line itself if none do.
    pub(super) fn first_line_above(&self, line: usize) -> usize {
        let mut first = line;
        while first > 1 {
            let code = self.code_line(first - 1).trim();
            let comment = self.comment_line(first - 1).trim();
            let attached = if code.is_empty() {
                !comment.is_empty()
            } else {
                code.starts_with("#[")
            };
            if !attached {
                break;
            }
            first -= 1;
        }
        first
    }

    /// The comments of the lines in a range, first and last included, joined.
    pub(super) fn comments_of(&self, lines: std::ops::RangeInclusive<usize>) -> String {
        lines
            .map(|line| self.comment_line(line).to_owned() + "\n")
            .collect()
    }

    /// The file's header: its leading `//!` lines without the marks.
    pub(super) fn header(&self) -> String {
        (1..=self.line_starts.len())
            .map(|line| self.comment_line(line).trim())
            .zip((1..).map(|line| self.code_line(line).trim()))
            .skip_while(|(_, code)| code.starts_with("#!/"))
            .map_while(|(comment, _)| comment.strip_prefix("//!"))
            .fold(String::new(), |header, line| header + line.trim() + "\n")
    }
}

/// The offsets of a whole word in a text.
pub(super) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let before = text[..*at].bytes().next_back();
            let after = text[at + word.len()..].bytes().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
}

/// Whether a byte can be part of a Rust name.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The offset just behind the bracket that closes the one at `open`; the end of the code if none does.
pub(super) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// The offset of the bracket that opens the innermost block, list or index around an offset.
pub(super) fn enclosing(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    code[..at]
        .bytes()
        .enumerate()
        .rev()
        .find_map(|(at, byte)| match byte {
            b'}' | b')' | b']' => {
                depth += 1;
                None
            }
            b'{' | b'(' | b'[' if depth == 0 => Some(at),
            b'{' | b'(' | b'[' => {
                depth -= 1;
                None
            }
            _ => None,
        })
}

/// What a byte of a Rust file belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    Text,
}

/// The code and the comments of a file, each blanked where the other stands.
fn split(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let mut parts = vec![Part::Code; bytes.len()];
    let mut at = 0;
    while at < bytes.len() {
        let (part, end) = token(text, at);
        parts[at..end].fill(part);
        at = end;
    }
    let keep = |wanted: Part| {
        let kept = bytes.iter().zip(&parts).map(|(byte, part)| {
            if *byte == b'\n' || *part == wanted {
                *byte
            } else {
                b' '
            }
        });
        // Tokens begin and end at whole characters, and what is blanked is blanked byte by byte.
        String::from_utf8(kept.collect()).unwrap_or_default()
    };
    (keep(Part::Code), keep(Part::Comment))
}

/// The token at an offset: what it is, and where it ends. Its quotes belong to a text.
fn token(text: &str, at: usize) -> (Part, usize) {
    let bytes = text.as_bytes();
    let rest = &bytes[at..];
    let line_end = || {
        rest.iter()
            .position(|b| *b == b'\n')
            .map_or(bytes.len(), |n| at + n)
    };
    if at == 0 && rest.starts_with(b"#!/") {
        return (Part::Code, line_end());
    }
    if rest.starts_with(b"//") {
        return (Part::Comment, line_end());
    }
    if rest.starts_with(b"/*") {
        return (Part::Comment, block_comment_end(bytes, at));
    }
    if is_word(rest[0]) {
        let end = at + rest.iter().position(|b| !is_word(*b)).unwrap_or(rest.len());
        if matches!(&bytes[at..end], b"r" | b"br" | b"cr")
            && let Some(end) = raw_text_end(bytes, end)
        {
            return (Part::Text, end);
        }
        return (Part::Code, end);
    }
    match rest[0] {
        b'"' => (Part::Text, text_end(bytes, at)),
        b'\'' => match character_end(text, at) {
            Some(end) => (Part::Text, end),
            None => (Part::Code, at + 1),
        },
        _ => (Part::Code, at + 1),
    }
}

fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let (mut depth, mut next) = (1_usize, at + 2);
    while next < bytes.len() {
        let rest = &bytes[next..];
        if rest.starts_with(b"/*") {
            depth += 1;
            next += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            next += 2;
            if depth == 0 {
                return next;
            }
        } else {
            next += 1;
        }
    }
    bytes.len()
}

/// The end of a raw text whose prefix ends at `at`; `None` where `r#name` is meant.
fn raw_text_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at..].iter().take_while(|b| **b == b'#').count();
    if bytes.get(at + hashes) != Some(&b'"') {
        return None;
    }
    let begin = at + hashes + 1;
    let close = |n: usize| {
        bytes[n] == b'"'
            && bytes[n + 1..]
                .iter()
                .take_while(|b| **b == b'#')
                .take(hashes)
                .count()
                == hashes
    };
    let end = (begin..bytes.len()).find(|n| close(*n));
    Some(end.map_or(bytes.len(), |n| n + 1 + hashes))
}

fn text_end(bytes: &[u8], at: usize) -> usize {
    let mut next = at + 1;
    while next < bytes.len() {
        match bytes[next] {
            b'\\' => next += 2,
            b'"' => return next + 1,
            _ => next += 1,
        }
    }
    bytes.len()
}

/// The end of a character; `None` where the quote begins a lifetime.
fn character_end(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at + 1..];
    let first = rest.chars().next()?;
    if first == '\\' {
        // The escaped character itself may be a quote.
        return rest[2..].find('\'').map(|n| at + 1 + 2 + n + 1);
    }
    rest[first.len_utf8()..]
        .starts_with('\'')
        .then_some(at + 1 + first.len_utf8() + 1)
}

/// The items under an attribute `#[cfg(test)]` or `#[cfg(all(test, ..))]`.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut items: Vec<Range<usize>> = Vec::new();
    for (at, _) in code.match_indices("#[cfg(") {
        let end = closing(code, at + 1);
        let condition = &code[at + "#[cfg(".len()..end];
        let for_tests = words(condition, "test").next().is_some() && !condition.contains("not(");
        if for_tests && !items.iter().any(|item| item.contains(&at)) {
            items.push(at..item_end(code, end));
        }
    }
    items
}

/// The end of the item that begins behind an attribute: its body's last brace, or its semicolon.
fn item_end(code: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(byte) = code.as_bytes().get(at) {
        match byte {
            b'{' => return closing(code, at),
            b';' => return at + 1,
            b'(' | b'[' => at = closing(code, at),
            _ => at += 1,
        }
    }
    code.len()
}

fn functions(code: &str) -> Vec<Function> {
    words(code, "fn")
        .filter_map(|at| {
            let rest = code[at + 2..].trim_start();
            let length = rest
                .bytes()
                .take_while(|b| is_word(*b) || *b == b'$')
                .count();
            let name = &rest[..length];
            let from = code.len() - rest.len() + length;
            let end = item_end(code, from);
            // No name: a pointer type. No brace: a declaration.
            let open = code[..end]
                .ends_with('}')
                .then(|| body_open(code, from, end))?;
            (!name.is_empty()).then(|| Function {
                name: name.to_owned(),
                at,
                body: open..end,
            })
        })
        .collect()
}

fn body_open(code: &str, from: usize, end: usize) -> usize {
    let mut at = from;
    while at < end {
        match code.as_bytes()[at] {
            b'{' => return at,
            b'(' | b'[' => at = closing(code, at),
            _ => at += 1,
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        let source = Source::new(text);
        assert_eq!(source.code.len(), text.len());
        assert_eq!(source.comments.len(), text.len());
        source.code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_texts_are_not_code() {
        assert_eq!(code("a // unsafe\nb"), "a b");
        assert_eq!(code("a /* x /* y */ unsafe */ b"), "a b");
        assert_eq!(code(r#"f("unsafe \" {", 1)"#), "f( , 1)");
        assert_eq!(code("f(r#\"a \" b\"#, br\"c\", r#d)"), "f( , , r#d)");
        assert_eq!(
            code("x == '\"' && y == '\\'' && z == b'{' && w == 'ä'"),
            "x == && y == && z == b && w =="
        );
        assert_eq!(
            code("fn f<'a>(x: &'a str, y: &'static u8)"),
            "fn f<'a>(x: &'a str, y: &'static u8)"
        );
        assert_eq!(
            code("'outer: loop { break 'outer; }"),
            "'outer: loop { break 'outer; }"
        );
    }

    #[test]
    fn comments_are_kept_apart() {
        let source = Source::new("//! A header.\n//! More.\n\nlet x = \"// no\"; // yes\n");
        assert_eq!(source.header(), "A header.\nMore.\n");
        assert_eq!(source.comment_line(4).trim(), "// yes");
        assert_eq!(source.comment_line(9), "");
    }

    #[test]
    fn functions_are_found_with_their_bodies() {
        let text = "fn a(x: [u8; {1}]) -> impl Fn() { let p: fn(u8); fn b() {} }\ntrait T { fn c(); }\n#[x]\nfn $n() {}";
        let source = Source::new(text);
        let names: Vec<&str> = source.functions().iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "$n"]);
        let body = source.functions()[0].body.clone();
        assert_eq!(&text[body], "{ let p: fn(u8); fn b() {} }");
        let inner = source
            .function_at(text.find("{}").expect("b's body"))
            .expect("a function");
        assert_eq!(inner.name, "b");
        assert_eq!(source.first_line_above(4), 3);
    }

    #[test]
    fn test_items_are_found() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\n#[cfg(not(test))] fn c() {}\n#[cfg(all(test, x))]\nmod more;\nfn d() {}";
        let source = Source::new(text);
        let inside = |what: &str| source.is_in_tests(text.find(what).expect("there"));
        assert!(inside("fn b") && inside("mod more"));
        assert!(!inside("fn a") && !inside("fn c") && !inside("fn d"));
        assert_eq!(source.line(text.find("fn b").expect("there")), 4);
    }
}
