//! Types: inheritance, class data, virtual methods, interfaces, casts.

use qom::{
    Class, ClassInit, Init, Machine, ObjectImpl, ObjectOps, ObjectType, Ref, RootObject, TypeError,
    class_named, classes, register,
};

/// The virtual methods of an animal.
#[derive(Clone)]
struct AnimalClass {
    speak: fn(&Animal) -> String,
    legs: u32,
}
impl Default for AnimalClass {
    fn default() -> Self {
        Self {
            speak: |a| format!("{} is silent", a.name),
            legs: 4,
        }
    }
}

struct Animal {
    object: RootObject,
    name: &'static str,
}
qom::object_type! { abstract Animal("animal") { object: RootObject } class AnimalClass }
impl ObjectImpl for Animal {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
            name: "somebody",
        }
    }
}
impl Animal {
    /// Calls the virtual method of the object's own class.
    fn speak(&self) -> String {
        let this = self.this().get().expect("alive");
        let class = this.object().class().data::<Animal>().expect("an animal");
        (class.speak)(self)
    }
}

trait Tagged {
    fn tag(&self) -> String;
}

struct Dog {
    animal: Animal,
}
qom::object_type! { Dog("dog") { animal: Animal } class u8 }
impl ObjectImpl for Dog {
    fn init(cx: &mut Init<'_>) -> Self {
        let mut animal = cx.parent::<Animal>();
        animal.name = "rex";
        Self { animal }
    }
    fn class_init(class: &mut ClassInit<'_>) {
        class.data::<Animal>().speak = |a| format!("{} barks", a.name);
        *class.data::<Dog>() = 7;
        class.interface::<dyn Tagged, Dog>(|d| d);
    }
}
impl Tagged for Dog {
    fn tag(&self) -> String {
        format!("dog {}", self.animal.name)
    }
}

struct Puppy {
    dog: Dog,
}
qom::object_type! { Puppy("puppy") { dog: Dog } }
impl ObjectImpl for Puppy {
    fn init(cx: &mut Init<'_>) -> Self {
        Self { dog: cx.parent() }
    }
    fn class_init(class: &mut ClassInit<'_>) {
        class.data::<Animal>().legs = 3;
        class.interface::<dyn Tagged, Puppy>(|p| p);
    }
}
impl Tagged for Puppy {
    fn tag(&self) -> String {
        format!("young {}", self.dog.tag())
    }
}

#[test]
fn a_subclass_copies_class_data_and_overrides_what_it_wants() {
    let (animal, dog, puppy) = (
        Class::of::<Animal>(),
        Class::of::<Dog>(),
        Class::of::<Puppy>(),
    );
    let legs = |c: &Class| c.data::<Animal>().map(|d| d.legs);
    assert_eq!(
        (legs(animal), legs(dog), legs(puppy)),
        (Some(4), Some(4), Some(3))
    );
    assert_eq!(puppy.data::<Dog>(), Some(&7), "inherited by copy");
    assert_eq!(animal.data::<Dog>(), None);
    assert!(puppy.is_a::<Dog>() && puppy.is_a::<Animal>() && puppy.is_a::<RootObject>());
    assert!(!dog.is_a::<Puppy>());
    assert!(puppy.is_a_named("animal") && !dog.is_a_named("puppy"));
    assert_eq!(puppy.parent().map(Class::name), Some("dog"));
}

#[test]
fn virtual_methods_are_those_of_the_objects_own_class() {
    let machine = Machine::new("types");
    let puppy = machine.create::<Puppy>().unwrap();
    assert_eq!(puppy.dog.animal.speak(), "rex barks");
    let up = puppy.cast::<Animal>().unwrap();
    assert_eq!(up.speak(), "rex barks", "through the ancestor, too");
    assert!(puppy.object().is_complete());
}

#[test]
fn an_abstract_type_has_no_instances() {
    let machine = Machine::new("abstract");
    let error = machine.create::<Animal>().unwrap_err();
    assert_eq!(error.to_string(), "type `animal` is abstract");
    assert!(machine.create::<RootObject>().is_err());
    let live = machine.counters().live_objects;
    assert_eq!(live, 1, "only the root");
}

#[test]
fn interfaces_are_inherited_and_can_be_overridden() {
    let machine = Machine::new("interfaces");
    let (dog, puppy) = (
        machine.create::<Dog>().unwrap(),
        machine.create::<Puppy>().unwrap(),
    );
    let tag = |o: &qom::Object| o.interface::<dyn Tagged>().map(Tagged::tag);
    assert_eq!(tag(dog.object()).as_deref(), Some("dog rex"));
    assert_eq!(tag(puppy.object()).as_deref(), Some("young dog rex"));
    assert!(Class::of::<Puppy>().implements::<dyn Tagged>());
    assert!(!Class::of::<Animal>().implements::<dyn Tagged>());
}

#[test]
fn casts_go_up_and_down_and_failures_name_both_types() {
    let machine = Machine::new("casts");
    let dog = machine.create::<Dog>().unwrap();
    machine.root().add_child("dog", &dog).unwrap();
    let any: Ref = dog.cast::<RootObject>().unwrap();
    assert_eq!(any.cast::<Dog>().unwrap().animal.name, "rex");
    assert_eq!(any.object().counts().users(), 2);
    let error = any.cast::<Puppy>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "/machine/dog of type `dog` is no `puppy`"
    );
    assert_eq!(
        any.object().counts().users(),
        2,
        "a failed cast counts nothing"
    );
    assert!(machine.root().child_named::<Puppy>("dog").is_none());
    assert!(machine.root().child_named::<Animal>("dog").is_some());
}

struct Impostor {
    object: RootObject,
}
qom::object_type! { Impostor("dog") { object: RootObject } }
impl ObjectImpl for Impostor {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
        }
    }
}
struct Nameless {
    object: RootObject,
}
qom::object_type! { Nameless("0x") { object: RootObject } }
impl ObjectImpl for Nameless {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
        }
    }
}
struct Narcissus {
    object: RootObject,
}
qom::object_type! { Narcissus("narcissus") { object: RootObject } }
impl ObjectImpl for Narcissus {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
        }
    }
    fn class_init(_: &mut ClassInit<'_>) {
        if let Err(error) = register::<Self>() {
            panic!("{error}");
        }
    }
}

#[test]
fn names_are_legal_unique_and_found() {
    let dog = register::<Dog>().unwrap();
    assert!(
        std::ptr::eq(dog, Class::of::<Dog>()),
        "registering again is a no-op"
    );
    assert!(std::ptr::eq(dog, class_named("dog").unwrap()));
    let error = register::<Impostor>().unwrap_err();
    assert!(
        matches!(&error, TypeError::NameTaken { name, old, new }
        if name == "dog" && old.ends_with("types::Dog") && new.ends_with("Impostor")),
        "{error}"
    );
    let error = register::<Nameless>().unwrap_err();
    assert!(error.to_string().contains("`0x`"), "{error}");
    assert_eq!(
        class_named("unicorn").unwrap_err().to_string(),
        "no type `unicorn` is registered"
    );
    let names: Vec<_> = classes().iter().map(|c| c.name()).collect();
    assert!(names.is_sorted() && names.contains(&"dog") && names.contains(&"object"));
}

#[test]
fn objects_can_be_made_by_name() {
    let machine = Machine::new("named");
    register::<Dog>().unwrap();
    let dog = machine.create_named("dog").unwrap();
    assert_eq!(dog.cast::<Dog>().unwrap().animal.name, "rex");
    let error = machine.create_named("yeti").unwrap_err();
    assert_eq!(error.to_string(), "no type `yeti` is registered");
}

#[test]
fn a_class_that_needs_itself_is_refused_and_blocks_nobody() {
    let panic = std::panic::catch_unwind(register::<Narcissus>).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("`narcissus` needs itself"), "{text}");
    assert!(
        register::<Puppy>().is_ok(),
        "other types are not in its way"
    );
}
