//! What this thread is in the middle of: hooks, finalizers, listeners, transactions, the executor.
//!
//! A thread that is inside one of these may not wait for a withdrawal or a grace period: what it waits for could be
//! waiting for it. The layers above say where they are with [`enter`]; the waiting calls ask [`innermost`].

use crate::object::ObjectId;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// A place in which waiting is forbidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A read section of this machine.
    Guard,
    /// An object's own code: init, unrealize, unparent hook, close of a handle.
    Hook,
    /// A finalizer.
    Finalizer,
    /// The machine's executor (a bottom half, a deferred drop).
    Executor,
    /// A topology transaction.
    Transaction,
    /// A listener.
    Listener,
    /// Whoever is told of a machine's events.
    Subscriber,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Guard => "a read section",
            Self::Hook => "an object's hook",
            Self::Finalizer => "a finalizer",
            Self::Executor => "the machine's executor",
            Self::Transaction => "a topology transaction",
            Self::Listener => "a listener",
            Self::Subscriber => "a subscriber of machine events",
        })
    }
}

thread_local! {
    static DEPTHS: [Cell<u32>; 7] = const { [const { Cell::new(0) }; 7] };
    static RUNNING: Cell<Option<Code>> = const { Cell::new(None) };
}

/// Code of an object's that this thread runs.
#[derive(Clone, Copy, Debug)]
struct Code {
    object: ObjectId,
    /// How many callbacks deep the thread was when it entered.
    callbacks: usize,
}

/// How many callbacks deep this thread is, and whose the innermost is.
pub type Callbacks = fn() -> (usize, Option<ObjectId>);

/// Who knows that. A callback is entered far too often to be noted here too, so a layer that has some is asked when a handle is taken.
static CALLBACKS: OnceLock<Callbacks> = OnceLock::new();

/// Says who knows whose callbacks a thread is in; the first layer that says so is asked.
pub fn callbacks_are_known_by(layer: Callbacks) {
    // Later machines of the same process say the same again.
    let _ = CALLBACKS.set(layer);
}

fn callbacks() -> (usize, Option<ObjectId>) {
    CALLBACKS.get().map_or((0, None), |layer| layer())
}

/// Says that this thread is inside `place` until the result is dropped.
#[inline]
pub fn enter(place: Place) -> Inside {
    let _ = DEPTHS.try_with(|d| d[place as usize].set(d[place as usize].get() + 1));
    Inside(place, PhantomData)
}

/// The same for code of an object's: the ledger notes that it is whose code took the user handles that are taken meanwhile.
#[inline]
pub fn enter_code(place: Place, object: ObjectId) -> InsideCode {
    InsideCode {
        outer: replace_running(object),
        _inside: Some(enter(place)),
    }
}

/// The same for code that may wait: a property's accessor.
pub(crate) fn enter_accessor(object: ObjectId) -> InsideCode {
    InsideCode {
        outer: replace_running(object),
        _inside: None,
    }
}

fn replace_running(object: ObjectId) -> Option<Code> {
    let (callbacks, _) = callbacks();
    let code = Code { object, callbacks };
    let outer = RUNNING.try_with(|running| running.replace(Some(code)));
    outer.unwrap_or(None)
}

/// The object whose code this thread runs, the innermost of several.
pub(crate) fn running() -> Option<ObjectId> {
    let code = RUNNING.try_with(Cell::get).unwrap_or(None);
    let (depth, owner) = callbacks();
    match code {
        Some(code) if depth <= code.callbacks => Some(code.object),
        _ => owner.or(code.map(|code| code.object)),
    }
}

/// How deep this thread is inside `place`.
#[inline]
pub fn depth(place: Place) -> u32 {
    DEPTHS.try_with(|d| d[place as usize].get()).unwrap_or(0)
}

/// The first place, in the order of [`Place`], that this thread is inside of.
///
/// Read sections are counted by their own machine and are not among the answers.
pub fn innermost() -> Option<Place> {
    [
        Place::Hook,
        Place::Finalizer,
        Place::Executor,
        Place::Transaction,
        Place::Listener,
        Place::Subscriber,
    ]
    .into_iter()
    .find(|p| depth(*p) > 0)
}

/// A stay inside a [`Place`]; belongs to its thread.
#[must_use]
#[derive(Debug)]
pub struct Inside(Place, PhantomData<*const ()>);

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        let _ = DEPTHS.try_with(|d| d[self.0 as usize].set(d[self.0 as usize].get() - 1));
    }
}

/// A stay inside an object's code; belongs to its thread.
#[must_use]
#[derive(Debug)]
pub struct InsideCode {
    outer: Option<Code>,
    _inside: Option<Inside>,
}

impl Drop for InsideCode {
    #[inline]
    fn drop(&mut self) {
        let _ = RUNNING.try_with(|running| running.set(self.outer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_nest_and_end() {
        assert_eq!(innermost(), None);
        let hook = enter(Place::Hook);
        let txn = enter(Place::Transaction);
        assert_eq!(innermost(), Some(Place::Hook));
        drop(hook);
        assert_eq!(innermost(), Some(Place::Transaction));
        drop(txn);
        assert_eq!((innermost(), depth(Place::Hook)), (None, 0));
    }
}
