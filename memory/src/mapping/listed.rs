//! The mappings of one region: what is closed when it is withdrawn.

use std::sync::Weak;

/// In the order in which they were opened. Those that are gone stay until there is no room for a further one.
#[derive(Debug)]
pub(crate) struct Listed<M>(Vec<Weak<M>>);

impl<M> Listed<M> {
    /// Adds one.
    pub(crate) fn add(&mut self, mapping: Weak<M>) {
        let list = &mut self.0;
        if list.len() == list.capacity() {
            list.retain(|m| m.strong_count() > 0);
            // As many again before the next look: where hardly any are gone, each further one would else pay for a look at all.
            list.reserve(list.len());
        }
        list.push(mapping);
    }

    /// Takes all out.
    pub(crate) fn take(&mut self) -> Vec<Weak<M>> {
        std::mem::take(&mut self.0)
    }

    /// A copy, for whoever looks at them outside the lock.
    pub(crate) fn copy(&self) -> Vec<Weak<M>> {
        self.0.clone()
    }
}

impl<M> Default for Listed<M> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn there(list: &Listed<usize>) -> Vec<usize> {
        let there = list.copy().into_iter().filter_map(|m| m.upgrade());
        there.map(|m| *m).collect()
    }

    #[test]
    fn all_that_are_there_are_listed_by_age_and_taken_once() {
        let mut list = Listed::default();
        let mut kept = Vec::new();
        for number in 0..1000 {
            let mapping = Arc::new(number);
            list.add(Arc::downgrade(&mapping));
            if number % 3 == 0 {
                kept.push(mapping);
            }
        }
        let numbers: Vec<usize> = kept.iter().map(|m| **m).collect();
        assert_eq!(there(&list), numbers);
        let taken = list.take().into_iter().filter_map(|m| m.upgrade());
        assert_eq!(taken.map(|m| *m).collect::<Vec<_>>(), numbers);
        assert_eq!(there(&list), [0; 0]);
    }

    #[test]
    fn those_that_come_and_go_need_no_more_room() {
        let mut list = Listed::default();
        for number in 0..10_000 {
            list.add(Arc::downgrade(&Arc::new(number)));
        }
        assert!(list.0.capacity() <= 8, "{}", list.0.capacity());
    }

    /// How many of the list are looked at while `come_and_go` mappings are opened and closed beside so many that stay.
    fn looks(stay: usize, come_and_go: usize) -> usize {
        let mut list = Listed::default();
        let kept: Vec<Arc<usize>> = (0..stay).map(Arc::new).collect();
        let gone = (0..come_and_go).map(Arc::new);
        let mut looks = 0;
        for mapping in kept.iter().cloned().chain(gone) {
            if list.0.len() == list.0.capacity() {
                looks += list.0.len();
            }
            list.add(Arc::downgrade(&mapping));
        }
        looks
    }

    #[test]
    fn one_that_comes_and_goes_does_not_look_at_all_that_stay() {
        // Lists that are full when all have come, or have room for one or a few more.
        for stay in [4095, 4096, 4097, 5000, 6000, 8190] {
            let looks = looks(stay, 10_000);
            assert!(looks <= 6 * (stay + 10_000), "{looks} beside {stay}");
        }
    }
}
