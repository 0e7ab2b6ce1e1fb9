//! Objects, the tree, and what happens when a part of it is unparented: hooks from the leaves up, then finalizers.

use std::error::Error;
use std::io::{self, Write};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use qom::{Init, Machine, ObjectImpl, ObjectOps, Ref, RootObject};

/// Something that says what happens to it.
struct Part {
    object: RootObject,
    name: OnceLock<String>,
    tell: Mutex<Option<Sender<String>>>,
}

qom::object_type! { Part("example-part") { object: RootObject } }

impl Part {
    fn say(&self, what: &str) {
        let name = self.name.get().map_or("nameless", String::as_str);
        if let Ok(tell) = self.tell.lock()
            && let Some(tell) = &*tell
        {
            // Nobody listens any more at the end.
            let _ = tell.send(format!("{name} {what}"));
        }
    }
}

impl ObjectImpl for Part {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
            name: OnceLock::new(),
            tell: Mutex::default(),
        }
    }
    fn unparent(&self) {
        self.say("is withdrawn");
    }
    fn finalize(&self) {
        self.say("is finalized");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    show(&mut io::stdout())
}

pub(crate) fn show(out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let machine = Machine::new("garage");
    let (tell, told) = channel();
    let part = |name: &str| -> Result<Ref<Part>, qom::CreateError> {
        let part = machine.create::<Part>()?;
        let _ = part.name.set(name.to_owned());
        if let Ok(mut place) = part.tell.lock() {
            *place = Some(tell.clone());
        }
        Ok(part)
    };

    let car = part("car")?;
    let (engine, plug) = (part("engine")?, part("plug")?);
    machine.root().add_child("car", &car)?;
    car.add_child("engine", &engine)?;
    engine.add_child("plug[*]", &plug)?;
    writeln!(out, "the plug is at {}", plug.path().unwrap_or_default())?;

    // A handle keeps an object alive, but not in the tree.
    let weak = engine.downgrade();
    drop((engine, car));
    weak.get()?.unparent()?;
    writeln!(
        out,
        "unparented: a new handle is refused: {}",
        // As it is withdrawn, or gone already.
        weak.get().is_err()
    )?;
    writeln!(out, "the plug lives: {}", !plug.object().is_finalized())?;
    drop(plug);
    machine.quiesce(Duration::from_secs(10))?;
    for line in told.try_iter() {
        writeln!(out, "{line}")?;
    }

    machine
        .close(Duration::from_secs(10))
        .map_err(|(_, error)| error)?;
    for line in told.try_iter() {
        writeln!(out, "at the end: {line}")?;
    }
    Ok(())
}
