//! Properties: types, accessors, gates and their refusals.

use parking_lot::Mutex;
use qom::{Class, ClassInit, Init, Machine, ObjectImpl, Property, RootObject, Value};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

struct Knob {
    object: RootObject,
    level: AtomicU8,
    label: Mutex<String>,
    locked: AtomicBool,
}
qom::object_type! { Knob("knob") { object: RootObject } }
impl ObjectImpl for Knob {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
            level: AtomicU8::new(1),
            label: Mutex::new("volume".into()),
            locked: AtomicBool::new(false),
        }
    }
    fn class_init(class: &mut ClassInit<'_>) {
        class
            .property(
                Property::new::<u8>("level")
                    .get(|k: &Knob| k.level.load(Ordering::SeqCst))
                    .set(|k: &Knob, v: u8| {
                        if v > 11 {
                            return Err(format!("{v} is more than eleven"));
                        }
                        k.level.store(v, Ordering::SeqCst);
                        Ok(())
                    })
                    .gate(|o| match o.instance::<Knob>() {
                        Some(k) if k.locked.load(Ordering::SeqCst) => Err("it is locked".into()),
                        _ => Ok(()),
                    }),
            )
            .property(Property::new::<String>("label").get(|k: &Knob| k.label.lock().clone()))
            .property(Property::new::<bool>("locked").set(|k: &Knob, v: bool| {
                k.locked.store(v, Ordering::SeqCst);
                Ok(())
            }));
    }
}

struct Dimmer {
    knob: Knob,
}
qom::object_type! { Dimmer("dimmer") { knob: Knob } }
impl ObjectImpl for Dimmer {
    fn init(cx: &mut Init<'_>) -> Self {
        Self { knob: cx.parent() }
    }
    fn class_init(class: &mut ClassInit<'_>) {
        class.property(Property::new::<i32>("offset").get(|_: &Dimmer| -5));
    }
}

#[test]
fn values_are_read_and_written_through_subclasses() {
    let machine = Machine::new("properties");
    let dimmer = machine.create::<Dimmer>().unwrap();
    let object = dimmer.object();
    assert_eq!(object.property("level"), Ok(Value::Uint(1)));
    for value in [Value::from(5u64), Value::from(6i32), Value::from(7u8)] {
        object.set_property("level", value.clone()).unwrap();
    }
    assert_eq!(dimmer.knob.level.load(Ordering::SeqCst), 7);
    assert_eq!(object.property("label"), Ok(Value::from("volume")));
    assert_eq!(object.property("offset"), Ok(Value::Int(-5)));
    let names: Vec<_> = Class::of::<Dimmer>().property_names().collect();
    assert_eq!(names, ["label", "level", "locked", "offset"]);
    assert!(!Class::of::<Knob>().property_names().any(|n| n == "offset"));
}

#[test]
fn refusals_say_what_and_why_and_change_nothing() {
    let machine = Machine::new("refusals");
    let knob = machine.create::<Knob>().unwrap();
    let object = knob.object();
    let set = |name: &str, v: Value| object.set_property(name, v).unwrap_err().to_string();
    assert_eq!(
        set("colour", 1u8.into()),
        "property `knob.colour` not found"
    );
    assert_eq!(
        object.property("colour").unwrap_err().to_string(),
        "property `knob.colour` not found"
    );
    assert_eq!(
        set("label", "x".into()),
        "property `knob.label` is not writable"
    );
    assert_eq!(
        object.property("locked").unwrap_err().to_string(),
        "property `knob.locked` is not readable"
    );
    assert_eq!(
        set("level", true.into()),
        "property `knob.level` expects uint8, got bool Bool(true)"
    );
    assert_eq!(
        set("level", 256u64.into()),
        "property `knob.level` expects uint8, got uint Uint(256)"
    );
    assert_eq!(
        set("level", (-1i64).into()),
        "property `knob.level` expects uint8, got int Int(-1)"
    );
    let name = object.describe();
    assert_eq!(
        set("level", 12u8.into()),
        format!("property `knob.level` of {name}: 12 is more than eleven")
    );
    object.set_property("locked", true).unwrap();
    assert_eq!(
        set("level", 2u8.into()),
        format!("property `knob.level` of {name}: it is locked")
    );
    assert_eq!(object.property("level"), Ok(Value::Uint(1)));
}

struct Shadow {
    knob: Knob,
}
qom::object_type! { Shadow("shadow-knob") { knob: Knob } }
impl ObjectImpl for Shadow {
    fn init(cx: &mut Init<'_>) -> Self {
        Self { knob: cx.parent() }
    }
    fn class_init(class: &mut ClassInit<'_>) {
        class.property(Property::new::<u8>("level"));
    }
}

#[test]
#[should_panic(expected = "type `shadow-knob` declares property `level` twice")]
fn a_property_of_an_ancestor_cannot_be_shadowed() {
    let _ = Class::of::<Shadow>();
}
