//! An object that writes down what happens to it, and does at its hooks what a test asks for.

use parking_lot::Mutex;
use qom::{Handle, Init, MachineHandle, ObjectImpl, ObjectOps, Ref, RootObject, layer};
use std::sync::Arc;
use std::time::Duration;

/// More than anything here takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(20);
/// For waits that are expected to run out.
pub(crate) const SHORT: Duration = Duration::from_millis(50);

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn say(&self, what: impl Into<String>) {
        self.0.lock().push(what.into());
    }
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }
    pub(crate) fn count(&self, what: &str) -> usize {
        self.0.lock().iter().filter(|l| *l == what).count()
    }
    /// The lines that begin with `what`.
    pub(crate) fn of(&self, what: &str) -> Vec<String> {
        let mut lines = self.all();
        lines.retain(|l| l.starts_with(what));
        lines
    }
}

pub(crate) type Hook = Box<dyn Fn(&Probe) + Send + Sync>;

/// What a probe does beside writing.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) post_init: Option<Hook>,
    pub(crate) unparent: Option<Hook>,
    pub(crate) finalize: Option<Hook>,
    pub(crate) dropped: Option<Hook>,
}

impl Hooks {
    pub(crate) fn unparent(f: impl Fn(&Probe) + Send + Sync + 'static) -> Self {
        Self {
            unparent: Some(Box::new(f)),
            ..Self::default()
        }
    }
    pub(crate) fn finalize(f: impl Fn(&Probe) + Send + Sync + 'static) -> Self {
        Self {
            finalize: Some(Box::new(f)),
            ..Self::default()
        }
    }
}

pub(crate) struct Probe {
    object: RootObject,
    pub(crate) name: String,
    log: Log,
    hooks: Hooks,
}

qom::object_type! { Probe("probe") { object: RootObject } }

impl ObjectImpl for Probe {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
            name: "unnamed".into(),
            log: Log::default(),
            hooks: Hooks::default(),
        }
    }
    fn post_init(&self) {
        self.log.say(format!("post-init {}", self.name));
        self.hooks.post_init.iter().for_each(|f| f(self));
    }
    fn unparent(&self) {
        self.log.say(format!("unparent {}", self.name));
        self.hooks.unparent.iter().for_each(|f| f(self));
    }
    fn finalize(&self) {
        self.log.say(format!("finalize {}", self.name));
        self.hooks.finalize.iter().for_each(|f| f(self));
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.log.say(format!("drop {}", self.name));
        if let Some(f) = self.hooks.dropped.take() {
            f(self);
        }
    }
}

#[track_caller]
pub(crate) fn probe(machine: &MachineHandle, log: &Log, name: &str) -> Ref<Probe> {
    probe_with(machine, log, name, Hooks::default())
}

#[track_caller]
pub(crate) fn probe_with(
    machine: &MachineHandle,
    log: &Log,
    name: &str,
    hooks: Hooks,
) -> Ref<Probe> {
    layer::create_with(machine, None, |cx| Probe {
        object: cx.parent(),
        name: name.to_owned(),
        log: log.clone(),
        hooks,
    })
    .expect("a probe is made")
}

/// A probe under `parent`, without a handle to it.
pub(crate) fn plant(
    machine: &MachineHandle,
    parent: &impl ObjectOps,
    log: &Log,
    name: &str,
) -> Ref<Probe> {
    let new = probe(machine, log, name);
    parent.add_child(name, &new).expect("the name is free");
    new
}

/// Something opened that writes down its end.
pub(crate) struct Opened {
    pub(crate) name: &'static str,
    pub(crate) log: Log,
    pub(crate) on_close: Option<fn()>,
}

impl Handle for Opened {
    fn close(&self) {
        self.log.say(format!("close {}", self.name));
        if let Some(f) = self.on_close {
            f();
        }
    }
    fn describe(&self) -> String {
        format!("handle {}", self.name)
    }
}

pub(crate) fn opened(log: &Log, name: &'static str) -> Arc<Opened> {
    Arc::new(Opened {
        name,
        log: log.clone(),
        on_close: None,
    })
}
