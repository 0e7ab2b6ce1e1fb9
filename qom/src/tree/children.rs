//! The children of one object: by age, by name, and the free indices of `name[*]`.
//!
//! Most objects have none, and most that have some have few: those are on a list that is looked through, from which the free indices are read
//! off, too. Whoever has many keeps maps beside it.

use super::TreeKey;
use crate::by_age::ByAge;
use crate::name::Name;
use std::collections::{BTreeSet, HashMap};

/// So many are looked through. An index that is free among so many is a single digit.
const FEW: usize = 8;

/// By name. Names come from device models and users, not from a guest, and each map has a seed of its own.
type ByName<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The children of one object.
#[derive(Default)]
pub(super) struct Children {
    by_age: ByAge<Child>,
    /// INVARIANT: there where there are more than [`FEW`] children.
    names: Option<Box<Names>>,
}

struct Child {
    key: TreeKey,
    name: Name,
}

/// What many children are found by.
#[derive(Default)]
struct Names {
    ages: ByName<Name, u64>,
    /// Of those names that were asked for with `[*]`.
    indices: ByName<String, IndexPool>,
}

impl Children {
    pub(super) fn len(&self) -> usize {
        self.by_age.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&Name, TreeKey)> {
        self.by_age.iter().map(|child| (&child.name, child.key))
    }

    /// The one called `name`.
    pub(super) fn named(&self, name: &str) -> Option<TreeKey> {
        let child = match &self.names {
            Some(names) => self.by_age.get(*names.ages.get(name.as_bytes())?)?,
            None => {
                let mut all = self.by_age.iter();
                all.find(|child| child.name.as_bytes() == name.as_bytes())?
            }
        };
        Some(child.key)
    }

    /// Adds one that is younger than all others, under a name that is free.
    pub(super) fn add(&mut self, age: u64, key: TreeKey, name: Name) {
        if let Some(names) = &mut self.names {
            names.ages.insert(name.clone(), age);
        }
        self.by_age.push(age, Child { key, name });
        if self.names.is_none() && self.by_age.len() > FEW {
            let all = self.by_age.with_ages();
            let ages = all.map(|(age, child)| (child.name.clone(), age)).collect();
            self.names = Some(Box::new(Names {
                ages,
                indices: ByName::default(),
            }));
        }
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, age: u64) {
        let Some(child) = self.by_age.remove(age) else {
            return;
        };
        let Some(names) = &mut self.names else {
            return;
        };
        names.ages.remove(&child.name);
        if let Some((base, index)) = split_index(child.name.as_str()) {
            names.give_back(base, index);
        }
        // The room of many is not kept for none.
        if names.ages.is_empty() {
            *self = Self::default();
        }
    }

    /// The name `base[index]` with the lowest free index, and that. It is taken from then on, until a child of that name is removed, or it is
    /// [given back](Self::give_back).
    pub(super) fn free_name(&mut self, base: &str) -> (Name, u32) {
        let Some(names) = &mut self.names else {
            let index = self.free_index(base);
            return (Name::indexed(base, index), index);
        };
        let pool = if let Some(pool) = names.indices.get_mut(base) {
            pool
        } else {
            names.indices.entry(base.into()).or_default()
        };
        loop {
            let index = pool.take();
            let name = Name::indexed(base, index);
            // A name that somebody chose by hand, or that is from the time when there were few, is skipped; it comes back to the pool when it is
            // freed.
            if !names.ages.contains_key(&name) {
                return (name, index);
            }
        }
    }

    /// An index that was taken, and not used.
    pub(super) fn give_back(&mut self, base: &str, index: u32) {
        if let Some(names) = &mut self.names {
            names.give_back(base, index);
        }
    }

    /// The lowest free index, where there are few.
    fn free_index(&self, base: &str) -> u32 {
        let mut taken = 0_u16;
        for child in self.by_age.iter() {
            let index = child.name.as_bytes().strip_prefix(base.as_bytes());
            if let Some(&[b'[', digit @ b'0'..=b'9', b']']) = index {
                taken |= 1 << (digit - b'0');
            }
        }
        taken.trailing_ones()
    }
}

impl Names {
    fn give_back(&mut self, base: &str, index: u32) {
        if let Some(pool) = self.indices.get_mut(base) {
            pool.give_back(index);
            if pool.is_unused() {
                self.indices.remove(base);
            }
        }
    }
}

/// The free indices of `name[*]`: those below `next` that are in `free`, and all from `next` on.
#[derive(Default)]
struct IndexPool {
    next: u32,
    free: BTreeSet<u32>,
}

impl IndexPool {
    /// The lowest free index.
    fn take(&mut self) -> u32 {
        self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    fn give_back(&mut self, index: u32) {
        // What was named by hand beyond the counter is still ahead of it.
        if index < self.next {
            self.free.insert(index);
        }
    }

    fn is_unused(&self) -> bool {
        self.free.len() == self.next as usize
    }
}

/// `base[7]` → `("base", 7)`.
fn split_index(name: &str) -> Option<(&str, u32)> {
    let (base, rest) = name.strip_suffix(']')?.rsplit_once('[')?;
    Some((base, rest.parse().ok()?))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Children that are found by their number, and the same as plain maps.
    #[derive(Default)]
    struct Checked {
        children: Children,
        names: BTreeMap<u64, String>,
        next: u64,
    }

    impl Checked {
        fn add(&mut self, name: &str) {
            let key = TreeKey {
                at: usize::try_from(self.next).unwrap(),
                stamp: self.next,
            };
            self.children.add(self.next, key, name.into());
            self.names.insert(self.next, name.into());
            self.next += 1;
            self.check();
        }

        fn add_free(&mut self, base: &str) -> String {
            let (name, index) = self.children.free_name(base);
            let name = name.to_string();
            assert_eq!(name, format!("{base}[{index}]"));
            let taken = |i: &u32| self.names.values().any(|n| *n == format!("{base}[{i}]"));
            let free = (0..1000).find(|i| !taken(i));
            assert_eq!(Some(index), free, "the lowest free");
            self.add(&name);
            name
        }

        fn remove(&mut self, age: u64) {
            self.children.remove(age);
            self.names.remove(&age);
            self.check();
        }

        fn check(&self) {
            let listed = |(name, key): (&Name, TreeKey)| (key.stamp, name.to_string());
            let names: Vec<(u64, String)> = self.names.clone().into_iter().collect();
            assert_eq!(self.children.iter().map(listed).collect::<Vec<_>>(), names);
            let mut back: Vec<_> = self.children.iter().rev().map(listed).collect();
            back.reverse();
            assert_eq!(back, names);
            for (age, name) in &self.names {
                assert_eq!(self.children.named(name).unwrap().stamp, *age);
            }
            assert!(self.children.named("nobody").is_none());
            assert!(self.names.len() <= FEW || self.children.names.is_some());
        }
    }

    #[test]
    fn indices_are_the_lowest_free_ones_with_few_and_with_many() {
        let mut all = Checked::default();
        // No index of `x`, though they look like it.
        for name in ["x", "x[01]", "x[+2]", "xx[0]", "[0]", "x[0][0]"] {
            all.add(name);
        }
        all.add("x[1]");
        assert_eq!(all.add_free("x"), "x[0]");
        assert!(all.children.names.is_none(), "few");
        assert_eq!(all.add_free("x"), "x[2]");
        assert!(all.children.names.is_some(), "many");
        assert_eq!(all.add_free("x"), "x[3]");
        // Of the time when there were few.
        all.remove(6);
        assert_eq!(all.add_free("x"), "x[1]");
        assert_eq!(all.add_free("y"), "y[0]");
        for age in 0..all.next {
            all.remove(age);
        }
        assert!(all.children.names.is_none());
        assert_eq!(all.add_free("x"), "x[0]");
    }

    #[test]
    fn an_index_that_was_not_used_is_free_again() {
        let mut all = Checked::default();
        for _ in 0..2 {
            let (name, index) = all.children.free_name("x");
            all.children.give_back("x", index);
            assert_eq!(all.add_free("x"), name.as_str());
            while all.names.len() <= FEW {
                all.add_free("other");
            }
        }
    }

    #[test]
    fn they_say_what_plain_maps_say() {
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random >> 8).unwrap() % below
        };
        let mut all = Checked::default();
        for round in 0..4000 {
            // Few for a while, then many, and so on.
            let limit = if round / 200 % 2 == 0 { 6 } else { 30 };
            let there: Vec<u64> = all.names.keys().copied().collect();
            if next(2) == 0 && there.len() < limit {
                let base = ["a", "b", "c"][next(3)];
                let by_hand = format!("{base}[{}]", next(12));
                if next(4) > 0 {
                    all.add_free(base);
                } else if all.children.named(&by_hand).is_none() {
                    all.add(&by_hand);
                }
            } else if !there.is_empty() {
                all.remove(there[next(there.len())]);
            }
        }
        assert!(all.next > 1000, "{} were added, each compared", all.next);
    }
}
