//! The hand-checked recordings: a script of what was done, line by line, beside what came of it.

use serde_json::Value;

use super::line::{Kind, Line, Op, Read, Region, address, hex, outcome, ranges, wrong};
use super::plain::Plain;

/// The recording that `value`, one entry of a hand-checked file, is.
///
/// These carry no marks where QEMU leaves the plain rules: its root shortcut is walked here to find out.
///
/// # Errors
///
/// Where it is not of the recordings' form.
pub fn from_json(value: &Value) -> Read<Line> {
    let (Some(name), Some(script)) = (value["name"].as_str(), value["script"].as_array()) else {
        return wrong("a name and a script", value);
    };
    let result = &value["result"];
    let mut line = Line {
        name: name.to_owned(),
        view: ranges(result, "view")?,
        last: ranges(result, "final")?,
        ..Line::default()
    };
    let mut outcomes = result["txns"].as_array().into_iter().flatten();
    let mut built = false;
    for step in script {
        let Some(step) = step.as_str() else {
            return wrong("a line of text", step);
        };
        let words: Vec<&str> = step.split_whitespace().collect();
        match words[..] {
            ["topo", _] | ["commit" | "end"] => {}
            ["region", id, kind, size, ref rest @ ..] => {
                if number(id)? != line.regions.len() {
                    return wrong("regions in order", step);
                }
                line.regions.push(region(kind, size, rest)?);
            }
            ["build", root] => {
                line.root = number(root)?;
                built = true;
            }
            ["begin"] => match outcomes.next() {
                Some(outcome_of) => line.transactions.push(outcome(outcome_of)?),
                None => return wrong("an outcome for each transaction", step),
            },
            _ => {
                let op = op(&words)?;
                match line.transactions.last_mut() {
                    Some(transaction) => transaction.ops.push(op),
                    None if !built => line.setup.push(op),
                    None => return wrong("an operation within a transaction", step),
                }
            }
        }
    }
    let mut line = line.with_known_regions()?;
    mark_deviations(&mut line);
    Ok(line)
}

fn mark_deviations(line: &mut Line) {
    let mut plain = Plain::new(&line.regions);
    for op in &line.setup {
        plain.apply(op);
    }
    line.view_deviates = plain.shortcut_deviates(line.root);
    line.last_deviates = line.view_deviates;
    for transaction in &mut line.transactions {
        for op in &transaction.ops {
            plain.apply(op);
        }
        transaction.deviates = plain.shortcut_deviates(line.root);
        line.last_deviates = transaction.deviates;
    }
}

fn number(word: &str) -> Read<usize> {
    word.parse().or_else(|_| wrong("a region's id", word))
}

fn flag(word: &str) -> Read<bool> {
    match word {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => wrong("0 or 1", word),
    }
}

fn priority(word: &str) -> Read<i32> {
    word.parse().or_else(|_| wrong("a priority", word))
}

fn region(kind: &str, size: &str, rest: &[&str]) -> Read<Region> {
    let kind = match (kind, rest) {
        ("container", []) => Kind::Container,
        ("ram", []) => Kind::Ram,
        ("rom", []) => Kind::Rom,
        ("io", []) => Kind::Io,
        ("reservation", []) => Kind::Reservation,
        ("romd", []) => Kind::Romd(true),
        ("alias", [target, offset]) => Kind::Alias {
            target: number(target)?,
            offset: address(offset)?,
        },
        _ => return wrong("a kind of region", kind),
    };
    Ok(Region::new(kind, hex(size)?))
}

fn op(words: &[&str]) -> Read<Op> {
    match *words {
        ["add", parent, child, offset, last] => Ok(Op::Add {
            parent: number(parent)?,
            child: number(child)?,
            offset: address(offset)?,
            priority: priority(last)?,
        }),
        ["del", parent, child] => Ok(Op::Del {
            parent: number(parent)?,
            child: number(child)?,
        }),
        ["set_enabled", region, to] => Ok(Op::SetEnabled(number(region)?, flag(to)?)),
        ["set_size", region, to] => Ok(Op::SetSize(number(region)?, hex(to)?)),
        ["set_address", region, to] => Ok(Op::SetAddress(number(region)?, address(to)?)),
        ["set_readonly", region, to] => Ok(Op::SetReadonly(number(region)?, flag(to)?)),
        ["set_nonvolatile", region, to] => Ok(Op::SetNonvolatile(number(region)?, flag(to)?)),
        ["set_romd", region, to] => Ok(Op::SetRomd(number(region)?, flag(to)?)),
        ["set_alias_offset", region, to] => Ok(Op::SetAliasOffset(number(region)?, address(to)?)),
        _ => wrong("an operation", words.join(" ")),
    }
}
