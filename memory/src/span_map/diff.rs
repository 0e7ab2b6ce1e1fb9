//! What differs between two maps, passing over the nodes that they share.

use super::SpanMap;
use super::iter::Cursor;
use crate::addr::Span;

impl<V> SpanMap<V> {
    /// Calls `differs` for each entry that is in one map only, ascending by first address: with
    /// the old entry, the new entry, or both where two different ones begin at one address. Entries are
    /// the same where their spans are equal and `same` says so of their values.
    ///
    /// Nodes that the maps share are passed over, so that two maps one splice apart cost what was
    /// spliced.
    pub fn diff<'a>(
        &'a self,
        new: &'a Self,
        mut same: impl FnMut(&V, &V) -> bool,
        mut differs: impl FnMut(Option<(Span, &'a V)>, Option<(Span, &'a V)>),
    ) {
        let mut olds = Cursor::at(self.root.as_ref(), 0);
        let mut news = Cursor::at(new.root.as_ref(), 0);
        loop {
            // The highest common node at whose beginning both are; heights count from the leaves.
            let shared = olds
                .begun()
                .zip(news.begun())
                .map(|(old, new)| old.is_same(new));
            if let Some((height, _)) = shared.enumerate().filter(|&(_, same)| same).last() {
                olds.skip(height);
                news.skip(height);
                continue;
            }
            match (olds.entry(), news.entry()) {
                (None, None) => return,
                (Some(old), Some(new)) if old.0.first() == new.0.first() => {
                    if old.0 != new.0 || !same(old.1, new.1) {
                        differs(Some(old), Some(new));
                    }
                    olds.step();
                    news.step();
                }
                (Some(old), new) if new.is_none_or(|new| old.0.first() < new.0.first()) => {
                    differs(Some(old), None);
                    olds.step();
                }
                (_, new) => {
                    differs(None, new);
                    news.step();
                }
            }
        }
    }
}
