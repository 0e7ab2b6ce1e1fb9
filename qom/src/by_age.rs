//! A list by age, with holes: of what one object has opened, and of its children.
//!
//! Most of it comes and goes like a stack, and then this is one. What goes in another order leaves a hole: to move the younger ones up at once
//! would cost whoever closes many handles, oldest first, the square of their number. A hole is filled in when the list is tidied, which is when
//! more than half of it are holes, so each hole pays for at most two entries.

/// Oldest first.
///
/// INVARIANT: the ages ascend; the last entry is not a hole; at most half of the entries are holes, of which there are `holes`.
#[derive(Debug)]
pub(crate) struct ByAge<T> {
    entries: Vec<(u64, Option<T>)>,
    holes: usize,
}

impl<T> ByAge<T> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.holes
    }

    /// Adds what is younger than all that is or was in the list: `age` is a number that grows.
    pub(crate) fn push(&mut self, age: u64, item: T) {
        debug_assert!(self.entries.last().is_none_or(|(last, _)| *last < age));
        self.entries.push((age, Some(item)));
    }

    /// Takes the youngest one out.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let (_, item) = self.entries.pop()?;
        self.tidy();
        item
    }

    /// The one of an age, which it may well not have.
    pub(crate) fn get(&self, age: u64) -> Option<&T> {
        self.entries[self.find(age)?].1.as_ref()
    }

    fn find(&self, age: u64) -> Option<usize> {
        let found = self.entries.binary_search_by_key(&age, |(age, _)| *age);
        found.ok()
    }

    /// Takes one out, which it may well not have.
    pub(crate) fn remove(&mut self, age: u64) -> Option<T> {
        if self.entries.last()?.0 == age {
            return self.pop();
        }
        let at = self.find(age)?;
        let item = self.entries[at].1.take()?;
        self.holes += 1;
        self.tidy();
        Some(item)
    }

    /// Takes the youngest one out whose age is at least `from` and below `below`. Gives its age, too: who takes one after the other is to name
    /// the last one's age as `below`, so that no hole is passed twice.
    pub(crate) fn pop_within(&mut self, from: u64, below: u64) -> Option<(u64, T)> {
        let end = self.entries.partition_point(|(age, _)| *age < below);
        let older = self.entries[..end].iter().rev();
        let mut young_enough = older.take_while(|(age, _)| *age >= from);
        let (age, _) = young_enough.find(|(_, item)| item.is_some())?;
        let age = *age;
        Some((age, self.remove(age)?))
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.entries.iter().filter_map(|(_, item)| item.as_ref())
    }

    /// Oldest first, each with its age.
    pub(crate) fn with_ages(&self) -> impl Iterator<Item = (u64, &T)> {
        let entries = self.entries.iter();
        entries.filter_map(|(age, item)| Some((*age, item.as_ref()?)))
    }

    /// Restores the invariant after something was taken out.
    #[inline]
    fn tidy(&mut self) {
        if self.holes > 0 {
            self.fill_in();
        }
    }

    #[cold]
    fn fill_in(&mut self) {
        while self.entries.pop_if(|(_, item)| item.is_none()).is_some() {
            self.holes -= 1;
        }
        if self.holes * 2 > self.entries.len() {
            self.entries.retain(|(_, item)| item.is_some());
            self.holes = 0;
        }
    }
}

impl<T> Default for ByAge<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            holes: 0,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn list(ids: impl IntoIterator<Item = u64>) -> ByAge<u64> {
        let mut list = ByAge::default();
        for number in ids {
            list.push(number, number);
        }
        list
    }

    fn all(list: &ByAge<u64>) -> Vec<u64> {
        list.iter().copied().collect()
    }

    fn check(list: &ByAge<u64>) {
        let holes = list.entries.iter().filter(|(_, h)| h.is_none()).count();
        assert_eq!(list.holes, holes);
        assert!(holes * 2 <= list.entries.len(), "{list:?}");
        assert!(list.entries.last().is_none_or(|(_, h)| h.is_some()));
        assert!(list.entries.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn the_youngest_goes_first_past_holes() {
        let mut list = list(0..8);
        for gone in [6, 2, 5] {
            assert_eq!(list.remove(gone), Some(gone));
            check(&list);
        }
        assert_eq!(all(&list), [0, 1, 3, 4, 7]);
        assert_eq!((list.entries.len(), list.holes), (8, 3), "holes stay");
        assert_eq!(list.pop(), Some(7));
        check(&list);
        assert_eq!(
            (list.entries.len(), list.holes),
            (5, 1),
            "the last is no hole"
        );
        let mut order = Vec::new();
        while let Some(handle) = list.pop() {
            check(&list);
            order.push(handle);
        }
        assert_eq!(order, [4, 3, 1, 0]);
    }

    #[test]
    fn what_is_not_there_is_not_taken_out() {
        let mut list = list([3, 5, 9, 11]);
        assert_eq!(list.remove(5), Some(5));
        for absent in [0, 4, 5, 10, 12] {
            assert_eq!(list.remove(absent), None, "{absent}");
            check(&list);
        }
        assert_eq!(all(&list), [3, 9, 11]);
        assert_eq!(ByAge::<u64>::default().remove(0), None);
    }

    #[test]
    fn more_holes_than_handles_are_filled_in() {
        let mut list = list(0..8);
        for gone in 0..4 {
            assert_eq!(list.remove(gone), Some(gone));
        }
        assert_eq!((list.entries.len(), list.holes), (8, 4));
        assert_eq!(list.remove(4), Some(4));
        assert_eq!((list.entries.len(), list.holes), (3, 0));
        assert_eq!(all(&list), [5, 6, 7]);
        // Found under their ids afterwards, too.
        assert_eq!(list.remove(6), Some(6));
        list.push(8, 8);
        assert_eq!(all(&list), [5, 7, 8]);
        check(&list);
    }

    #[test]
    fn the_youngest_between_two_marks_is_taken_past_holes() {
        let mut list = list(0..10);
        for gone in [0, 3, 4, 7] {
            assert_eq!(list.remove(gone), Some(gone));
        }
        assert_eq!(list.pop_within(3, 8), Some((6, 6)));
        check(&list);
        assert_eq!(list.pop_within(3, 6), Some((5, 5)));
        check(&list);
        assert_eq!(list.pop_within(3, 5), None, "older ones are not taken");
        assert_eq!(list.pop_within(9, u64::MAX), Some((9, 9)));
        assert_eq!(list.pop_within(9, u64::MAX), None);
        check(&list);
        assert_eq!(all(&list), [1, 2, 8]);
        assert_eq!(list.pop_within(0, 1), None);
        assert_eq!(ByAge::<u64>::default().pop_within(0, u64::MAX), None);
    }

    #[test]
    fn it_says_what_a_plain_list_says() {
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let (mut list, mut plain) = (ByAge::default(), Vec::new());
        for number in 0..20_000 {
            match next(8) {
                0..4 => {
                    list.push(number, number);
                    plain.push(number);
                }
                4 => assert_eq!(list.pop(), plain.pop()),
                5 if next(50) == 0 => {
                    let (from, mut below) = (next(number + 1), next(number + 1));
                    let end = plain.partition_point(|n| *n < below);
                    let begin = plain.partition_point(|n| *n < from).min(end);
                    for expected in plain.drain(begin..end).rev() {
                        let (age, item) = list.pop_within(from, below).expect("it is there");
                        assert_eq!((age, item), (expected, expected));
                        below = age;
                    }
                    assert_eq!(list.pop_within(from, below), None);
                }
                _ => {
                    let near = plain
                        .len()
                        .saturating_sub(1 + usize::try_from(next(20)).unwrap());
                    let gone = plain.get(near).copied().unwrap_or(number);
                    let expected = (near < plain.len()).then(|| plain.remove(near));
                    assert_eq!(list.remove(gone), expected);
                }
            }
            check(&list);
        }
        assert_eq!(all(&list), plain);
    }

    /// How many entries are looked at or moved while each handle is taken out, in the order given. A search in a sorted list is not counted.
    fn steps(many: u64, order: impl Iterator<Item = u64>) -> usize {
        let mut list = list(0..many);
        let mut steps = 0;
        for gone in order {
            let newest = list.entries.last().is_some_and(|(last, _)| *last == gone);
            let before = (list.entries.len(), list.holes);
            assert_eq!(list.remove(gone), Some(gone));
            steps += 1 + before.0 - list.entries.len();
            if list.holes == 0 && (before.1 > 0 || !newest) {
                // What the filling in left.
                steps += list.entries.len();
            }
        }
        assert_eq!(all(&list), [0; 0]);
        steps
    }

    #[test]
    fn the_work_is_linear_in_any_order() {
        for many in [5_000, 40_000] {
            let limit = 4 * usize::try_from(many).unwrap();
            for (name, steps) in [
                ("oldest first", steps(many, 0..many)),
                ("newest first", steps(many, (0..many).rev())),
                // 7919 divides neither number, so each comes once.
                ("mixed", steps(many, (0..many).map(|n| n * 7919 % many))),
                (
                    "from the middle",
                    steps(many, (many / 2..many).chain(0..many / 2)),
                ),
            ] {
                assert!(steps <= limit, "{name}: {steps} for {many}");
            }
        }
    }

    #[test]
    fn a_queue_stays_as_long_as_what_is_in_it() {
        let mut list = list(0..100);
        for number in 100..10_000 {
            list.push(number, number);
            assert_eq!(list.remove(number - 100), Some(number - 100));
            assert!(list.entries.len() <= 201, "{}", list.entries.len());
        }
        check(&list);
    }
}
