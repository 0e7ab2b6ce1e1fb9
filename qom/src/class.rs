//! Types by name, with single inheritance, class data, virtual methods and interfaces.
//!
//! A *class* is built once per type, parents first: the parent's class data is copied wholesale, the type adds its own, and
//! its `class_init` overrides what it wants to. After that a class never changes, so it is read without locks.

use crate::error::TypeError;
use crate::init::Init;
use crate::instance::Instance;
use crate::layer::LayerHooks;
use crate::object::{ObjectImpl, RootObject};
use crate::property::Property;
use arc_swap::ArcSwap;
use once_cell::sync::OnceCell;
use parking_lot::{ReentrantMutex, const_reentrant_mutex};
use std::any::{Any, TypeId, type_name};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What one level of a type hierarchy keeps per class: its virtual methods, mostly function pointers.
///
/// Implemented for everything that is `Clone + Default + Send + Sync`; cloning is how a subclass inherits.
pub trait ClassData: Any + Send + Sync {
    /// A copy for a subclass.
    fn copy(&self) -> Box<dyn ClassData>;
    /// For downcasts.
    fn as_any(&self) -> &dyn Any;
    /// For downcasts.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<T: Any + Clone + Send + Sync> ClassData for T {
    fn copy(&self) -> Box<dyn ClassData> {
        Box::new(self.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

type InitFn = fn(&mut Init<'_>) -> Box<dyn Instance>;
type InstanceHook = fn(&dyn Instance);

/// The hooks of one level, called with the whole instance.
#[derive(Clone, Copy)]
pub(crate) struct LevelHooks {
    pub(crate) level: &'static str,
    pub(crate) post_init: InstanceHook,
    pub(crate) unparent: InstanceHook,
    pub(crate) finalize: InstanceHook,
}

/// A type at run time.
pub struct Class {
    name: &'static str,
    rust_name: &'static str,
    type_id: TypeId,
    parent: Option<&'static Class>,
    is_abstract: bool,
    init: InitFn,
    data: HashMap<TypeId, Box<dyn ClassData>>,
    interfaces: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    pub(crate) properties: BTreeMap<&'static str, Arc<Property>>,
    /// Root first; without the root itself, which has no hooks.
    pub(crate) levels: Vec<LevelHooks>,
    /// Root first.
    pub(crate) layers: Vec<&'static LayerHooks>,
}

impl Class {
    /// The class of `T`, built at first use. Any thread.
    ///
    /// # Panics
    /// Where `T`'s name is illegal or taken (see [`register`] for the error), and where a `class_init` panics.
    pub fn of<T: ObjectImpl>() -> &'static Class {
        match register::<T>() {
            Ok(class) => class,
            Err(error) => panic!("{error}"),
        }
    }

    /// The type's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The parent type; none for the root.
    pub fn parent(&self) -> Option<&'static Class> {
        self.parent
    }

    /// Whether the type has no instances of its own.
    pub fn is_abstract(&self) -> bool {
        self.is_abstract
    }

    /// Whether this type is `T` or inherits from it.
    pub fn is_a<T: ObjectImpl>(&self) -> bool {
        self.is_a_type(TypeId::of::<T>())
    }

    /// Whether this type is the one called `name` or inherits from it.
    pub fn is_a_named(&self, name: &str) -> bool {
        self.name == name || self.parent.is_some_and(|p| p.is_a_named(name))
    }

    pub(crate) fn is_a_type(&self, id: TypeId) -> bool {
        self.type_id == id || self.parent.is_some_and(|p| p.is_a_type(id))
    }

    /// The class data that level `T` keeps, as this type overrides it; none where this type is no `T`.
    pub fn data<T: ObjectImpl>(&self) -> Option<&T::Class> {
        let boxed = self.data.get(&TypeId::of::<T>())?;
        (**boxed).as_any().downcast_ref()
    }

    /// `instance` seen through interface `I` (a trait object type), where the type implements it.
    pub fn interface<'a, I: ?Sized + 'static>(&self, instance: &'a dyn Instance) -> Option<&'a I> {
        let entry = self.interfaces.get(&TypeId::of::<I>())?;
        let caster = entry.downcast_ref::<InterfaceCaster<I>>()?;
        (caster.0)(instance)
    }

    /// Whether the type implements interface `I`.
    pub fn implements<I: ?Sized + 'static>(&self) -> bool {
        self.interfaces.contains_key(&TypeId::of::<I>())
    }

    /// Names of the properties that this type and its parents declare, sorted.
    pub fn property_names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.properties.keys().copied()
    }

    pub(crate) fn init(&self) -> InitFn {
        self.init
    }

    pub(crate) fn build<T: ObjectImpl>() -> Result<Class, TypeError> {
        check_name::<T>()?;
        let is_root = TypeId::of::<T>() == TypeId::of::<RootObject>();
        let parent = if is_root {
            None
        } else {
            Some(register::<T::Parent>()?)
        };
        let mut class = Class {
            name: T::NAME,
            rust_name: type_name::<T>(),
            type_id: TypeId::of::<T>(),
            parent,
            is_abstract: T::ABSTRACT,
            init: |cx| Box::new(T::init(cx)),
            data: parent.map_or_else(HashMap::new, |p| {
                p.data.iter().map(|(k, v)| (*k, (**v).copy())).collect()
            }),
            interfaces: parent.map_or_else(HashMap::new, |p| p.interfaces.clone()),
            properties: parent.map_or_else(BTreeMap::new, |p| p.properties.clone()),
            levels: parent.map_or_else(Vec::new, |p| p.levels.clone()),
            layers: parent.map_or_else(Vec::new, |p| p.layers.clone()),
        };
        class
            .data
            .insert(TypeId::of::<T>(), Box::new(T::Class::default()));
        // The root has none, and each object would pay for calling nothing.
        if !is_root {
            class.levels.push(LevelHooks {
                level: T::NAME,
                post_init: |i| with_level::<T>(i, T::post_init),
                unparent: |i| with_level::<T>(i, T::unparent),
                finalize: |i| with_level::<T>(i, T::finalize),
            });
        }
        let mut cx = ClassInit { class: &mut class };
        T::install(&mut cx);
        T::class_init(&mut cx);
        Ok(class)
    }
}

impl std::fmt::Debug for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Class")
            .field("name", &self.name)
            .field("rust", &self.rust_name)
            .finish_non_exhaustive()
    }
}

fn with_level<T: ObjectImpl>(instance: &dyn Instance, hook: impl FnOnce(&T)) {
    if let Some(level) = crate::instance::level_of::<T>(instance) {
        hook(level);
    }
}

type Caster<I> = dyn Fn(&dyn Instance) -> Option<&I> + Send + Sync;

struct InterfaceCaster<I: ?Sized + 'static>(Box<Caster<I>>);

/// A class being built: where a type overrides virtual methods and declares interfaces and properties.
pub struct ClassInit<'a> {
    class: &'a mut Class,
}

impl ClassInit<'_> {
    /// The class data of level `T` (this type or an ancestor), to override.
    ///
    /// # Panics
    /// Where this type does not inherit from `T`.
    pub fn data<T: ObjectImpl>(&mut self) -> &mut T::Class {
        let name = self.class.name;
        self.class
            .data
            .get_mut(&TypeId::of::<T>())
            .and_then(|d| (**d).as_any_mut().downcast_mut())
            .unwrap_or_else(|| panic!("type `{name}` does not inherit from `{}`", T::NAME))
    }

    /// Declares that instances can be seen as `I`, through level `T`. A subclass may declare it again to override.
    pub fn interface<I: ?Sized + 'static, T: ObjectImpl>(
        &mut self,
        cast: fn(&T) -> &I,
    ) -> &mut Self {
        let caster = InterfaceCaster::<I>(Box::new(move |instance| {
            crate::instance::level_of::<T>(instance).map(cast)
        }));
        self.class
            .interfaces
            .insert(TypeId::of::<I>(), Arc::new(caster));
        self
    }

    /// Declares a property of level `T`. A subclass may not shadow an ancestor's.
    ///
    /// # Panics
    /// Where the type or an ancestor has a property of that name.
    pub fn property(&mut self, property: Property) -> &mut Self {
        let name = property.name();
        let clash = self.class.properties.insert(name, Arc::new(property));
        assert!(
            clash.is_none(),
            "type `{}` declares property `{name}` twice",
            self.class.name
        );
        self
    }

    /// Lets the layer above take part in withdrawals of this type's instances.
    pub fn layer(&mut self, hooks: &'static LayerHooks) -> &mut Self {
        self.class.layers.push(hooks);
        self
    }

    /// The name of the type being built.
    pub fn name(&self) -> &'static str {
        self.class.name
    }
}

#[derive(Default, Clone)]
struct Registry {
    by_type: HashMap<TypeId, &'static Class>,
    by_name: HashMap<&'static str, &'static Class>,
}

fn registry() -> &'static ArcSwap<Registry> {
    static REGISTRY: OnceCell<ArcSwap<Registry>> = OnceCell::new();
    REGISTRY.get_or_init(ArcSwap::default)
}

/// Serialises building. Re-entrant: building a type builds its parents, and a `class_init` may name other types. Holds the types
/// that are being built.
static BUILDING: ReentrantMutex<RefCell<Vec<TypeId>>> =
    const_reentrant_mutex(RefCell::new(Vec::new()));

/// A type that is being built.
struct Building<'a>(&'a RefCell<Vec<TypeId>>);

impl<'a> Building<'a> {
    fn begin<T: ObjectImpl>(stack: &'a RefCell<Vec<TypeId>>) -> Result<Self, TypeError> {
        if stack.borrow().contains(&TypeId::of::<T>()) {
            return Err(TypeError::Recursive {
                name: T::NAME.into(),
            });
        }
        stack.borrow_mut().push(TypeId::of::<T>());
        Ok(Self(stack))
    }
}

impl Drop for Building<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().pop();
    }
}

/// Where a type keeps its class once it is registered: made by [`object_type!`](crate::object_type), as a generic function has no place of its own
/// for each type.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct ClassCell(OnceCell<&'static Class>);

impl ClassCell {
    /// Nothing in it.
    pub const fn new() -> Self {
        Self(OnceCell::new())
    }
}

/// Registers `T` under its name and gives its class; again is a no-op. Any thread.
///
/// # Errors
/// The name is illegal, or another Rust type has it, or the type's own `class_init` asks for it.
#[inline]
pub fn register<T: ObjectImpl>() -> Result<&'static Class, TypeError> {
    let cell = T::class_cell();
    if let Some(class) = cell.and_then(|cell| cell.0.get()) {
        return Ok(class);
    }
    let class = register_in_list::<T>()?;
    if let Some(cell) = cell {
        // Another thread may have been faster.
        let _ = cell.0.set(class);
    }
    Ok(class)
}

fn register_in_list<T: ObjectImpl>() -> Result<&'static Class, TypeError> {
    if let Some(class) = registry().load().by_type.get(&TypeId::of::<T>()) {
        return Ok(class);
    }
    let lock = BUILDING.lock();
    if let Some(class) = registry().load().by_type.get(&TypeId::of::<T>()) {
        return Ok(class);
    }
    let _building = Building::begin::<T>(&lock)?;
    let class = Class::build::<T>()?;
    let before = registry().load_full();
    if let Some(old) = before.by_name.get(T::NAME) {
        return Err(TypeError::NameTaken {
            name: T::NAME.into(),
            old: old.rust_name,
            new: type_name::<T>(),
        });
    }
    // One class lives for the whole process: types are global, there are as many as the program names.
    let class: &'static Class = Box::leak(Box::new(class));
    let mut next = (*before).clone();
    next.by_type.insert(TypeId::of::<T>(), class);
    next.by_name.insert(T::NAME, class);
    registry().store(Arc::new(next));
    Ok(class)
}

/// The registered type called `name`. Any thread.
///
/// # Errors
/// Nobody registered the name (a type registers itself at its first use, or with [`register`]).
pub fn class_named(name: &str) -> Result<&'static Class, TypeError> {
    registry()
        .load()
        .by_name
        .get(name)
        .copied()
        .ok_or_else(|| TypeError::Unknown { name: name.into() })
}

/// All registered types, sorted by name.
pub fn classes() -> Vec<&'static Class> {
    let mut all: Vec<_> = registry().load().by_name.values().copied().collect();
    all.sort_by_key(|c| c.name);
    all
}

/// QOM's rule for type names (QEMU, `qom/object.c`).
fn check_name<T: ObjectImpl>() -> Result<(), TypeError> {
    let name = T::NAME;
    let legal = name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_alphanumeric() && c != '0')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if legal {
        Ok(())
    } else {
        Err(TypeError::IllegalName {
            name: name.into(),
            rust: type_name::<T>(),
        })
    }
}
