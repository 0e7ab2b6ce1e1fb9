//! A name that is kept where it stands: those of children and regions are a few letters, too few for a block of memory each.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// So many bytes need no block of memory: what fits with the length into three words.
const SHORT: usize = 22;

/// A name; cheap to copy.
#[derive(Clone)]
pub struct Name(Kept);

#[derive(Clone)]
enum Kept {
    /// INVARIANT: the first `len` bytes are a text; the others are zero.
    Short {
        len: u8,
        bytes: [u8; SHORT],
    },
    Long(Arc<str>),
}

const _: () = assert!(size_of::<Name>() == 24, "three words");

impl Name {
    /// The name `base[index]`.
    pub(crate) fn indexed(base: &str, index: u32) -> Self {
        // Nearly all.
        if index < 10 && base.len() + 3 <= SHORT {
            let digit = b'0' + index.to_le_bytes()[0];
            let mut bytes = [0; SHORT];
            let (own, rest) = bytes.split_at_mut(base.len());
            own.copy_from_slice(base.as_bytes());
            rest[..3].copy_from_slice(&[b'[', digit, b']']);
            return Self(Kept::Short {
                len: length(base.len() + 3),
                bytes,
            });
        }
        format!("{base}[{index}]").as_str().into()
    }

    /// The text as bytes, which is what names are compared by.
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Kept::Short { len, bytes } => &bytes[..usize::from(*len)],
            Kept::Long(text) => text.as_bytes(),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // INVARIANT: it was made of a text.
            Kept::Short { .. } => str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Kept::Long(text) => text,
        }
    }

    /// The text, for several to share.
    pub(crate) fn shared(&self) -> Arc<str> {
        match &self.0 {
            Kept::Short { .. } => Arc::from(self.as_str()),
            Kept::Long(text) => text.clone(),
        }
    }
}

/// A length of at most [`SHORT`].
fn length(len: usize) -> u8 {
    u8::try_from(len).expect("the caller has looked")
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        if text.len() > SHORT {
            return Self(Kept::Long(Arc::from(text)));
        }
        let mut bytes = [0; SHORT];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self(Kept::Short {
            len: length(text.len()),
            bytes,
        })
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

// As that of its bytes, by which it is looked for.
impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_name_is_its_text_short_or_long() {
        let longest_short = "a".repeat(SHORT);
        let shortest_long = "a".repeat(SHORT + 1);
        // The last letter of the one in the middle has two bytes, the first of which is the last that would fit.
        let split = format!("{}é", "a".repeat(SHORT - 1));
        for text in ["", "x", "é", &longest_short, &split, &shortest_long] {
            let name = Name::from(text);
            assert_eq!(name.as_str(), text);
            assert_eq!((&*name.shared(), name.to_string().as_str()), (text, text));
            assert_eq!(name.clone(), name);
            assert_eq!(format!("{name:?}"), format!("{text:?}"));
            assert_ne!(name, Name::from(format!("{text}a").as_str()));
            let is_short = matches!(name.0, Kept::Short { .. });
            assert_eq!(is_short, text.len() <= SHORT, "{text}");
        }
    }

    #[test]
    fn an_index_stands_behind_the_base() {
        for length in [0, 1, SHORT - 3, SHORT - 2, SHORT, SHORT + 1] {
            for index in [0, 7, 9, 10, 12345, u32::MAX] {
                let base = "é".repeat(length / 2) + &"b".repeat(length % 2);
                let text = format!("{base}[{index}]");
                assert_eq!(Name::indexed(&base, index), Name::from(text.as_str()));
                assert_eq!(Name::indexed(&base, index).as_str(), text);
            }
        }
    }

    #[test]
    fn it_is_found_by_its_bytes() {
        let texts = ["", "regs[0]", "a name that is too long for three words"];
        let all: HashMap<Name, &str> = texts.iter().map(|t| (Name::from(*t), *t)).collect();
        for text in texts {
            assert_eq!(all.get(text.as_bytes()), Some(&text));
        }
        assert!(!all.contains_key("regs[1]".as_bytes()));
    }
}
