//! Typed properties of a class: read and written by name.

use crate::context;
use crate::error::PropertyError;
use crate::instance::level_of;
use crate::object::{Object, ObjectImpl};

/// A property's value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `bool`
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A string.
    Str(String),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Str(_) => "str",
        }
    }
}

/// What can be a property: converts from and to a [`Value`], or refuses.
pub trait PropertyType: Sized + 'static {
    /// The name of the type in messages.
    const NAME: &'static str;
    /// From a value; none where it does not fit.
    fn from_value(value: &Value) -> Option<Self>;
    /// To a value.
    fn into_value(self) -> Value;
}

macro_rules! number {
    ($($ty:ty => $name:literal, $variant:ident as $wide:ty;)*) => {$(
        impl PropertyType for $ty {
            const NAME: &'static str = $name;
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Int(i) => Self::try_from(*i).ok(),
                    Value::Uint(u) => Self::try_from(*u).ok(),
                    _ => None,
                }
            }
            fn into_value(self) -> Value { Value::$variant(<$wide>::from(self)) }
        }
        impl From<$ty> for Value {
            fn from(v: $ty) -> Self { v.into_value() }
        }
    )*};
}
number! {
    u8 => "uint8", Uint as u64;
    u16 => "uint16", Uint as u64;
    u32 => "uint32", Uint as u64;
    u64 => "uint64", Uint as u64;
    i32 => "int32", Int as i64;
    i64 => "int64", Int as i64;
}

impl PropertyType for bool {
    const NAME: &'static str = "bool";
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Bool(b) = value {
            Some(*b)
        } else {
            None
        }
    }
    fn into_value(self) -> Value {
        Value::Bool(self)
    }
}

impl PropertyType for String {
    const NAME: &'static str = "str";
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Str(s) = value {
            Some(s.clone())
        } else {
            None
        }
    }
    fn into_value(self) -> Value {
        Value::Str(self)
    }
}

impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Self::Bool(v)
    }
}
impl From<String> for Value {
    fn from(v: String) -> Self {
        Self::Str(v)
    }
}
impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Self::Str(v.into())
    }
}

type Getter = Box<dyn Fn(&Object) -> Option<Value> + Send + Sync>;
type Setter = Box<dyn Fn(&Object, &Value) -> Result<(), SetError> + Send + Sync>;

enum SetError {
    WrongType,
    Refused(String),
}

/// A property of a class: its name, its type and its accessors.
///
/// ```
/// use qom::{ClassInit, Init, Machine, ObjectImpl, Property, PropertyError, RootObject, Value};
/// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
///
/// struct Lamp { object: RootObject, watts: AtomicU32 }
/// qom::object_type! { Lamp("doc-property-lamp") { object: RootObject } }
/// impl ObjectImpl for Lamp {
///     fn init(cx: &mut Init<'_>) -> Self { Self { object: cx.parent(), watts: AtomicU32::new(40) } }
///     fn class_init(class: &mut ClassInit<'_>) {
///         class.property(
///             Property::new::<u32>("watts")
///                 .get(|lamp: &Lamp| lamp.watts.load(Relaxed))
///                 .set(|lamp: &Lamp, watts: u32| match watts {
///                     0..=100 => Ok(lamp.watts.store(watts, Relaxed)),
///                     _ => Err("too bright".into()),
///                 }),
///         );
///     }
/// }
///
/// let machine = Machine::new("doc");
/// let lamp = machine.create::<Lamp>()?;
/// lamp.object().set_property("watts", 60)?;
/// assert_eq!(lamp.object().property("watts")?, Value::Uint(60));
/// assert!(lamp.object().set_property("watts", 200).unwrap_err().to_string().contains("too bright"));
/// assert!(matches!(lamp.object().set_property("watts", "dim"), Err(PropertyError::WrongType { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Property {
    name: &'static str,
    type_name: &'static str,
    getter: Option<Getter>,
    setter: Option<Setter>,
    gate: fn(&Object) -> Result<(), String>,
}

impl Property {
    /// A property called `name` of values `V`, without accessors.
    pub fn new<V: PropertyType>(name: &'static str) -> Self {
        Self {
            name,
            type_name: V::NAME,
            getter: None,
            setter: None,
            gate: |_| Ok(()),
        }
    }

    /// Reads it from level `T`.
    #[must_use]
    pub fn get<T: ObjectImpl, V: PropertyType>(mut self, get: fn(&T) -> V) -> Self {
        self.getter = Some(Box::new(move |o| {
            level_of::<T>(o.any_instance()?).map(|t| get(t).into_value())
        }));
        self
    }

    /// Writes it to level `T`; the error text is the reason for a refusal.
    #[must_use]
    pub fn set<T: ObjectImpl, V: PropertyType>(
        mut self,
        set: fn(&T, V) -> Result<(), String>,
    ) -> Self {
        self.setter = Some(Box::new(move |o, value| {
            let v = V::from_value(value).ok_or(SetError::WrongType)?;
            let t = o
                .instance::<T>()
                .ok_or_else(|| SetError::Refused("the object is not complete".into()))?;
            set(t, v).map_err(SetError::Refused)
        }));
        self
    }

    /// Asks `gate` before each write: a device refuses once it is realized.
    #[must_use]
    pub fn gate(mut self, gate: fn(&Object) -> Result<(), String>) -> Self {
        self.gate = gate;
        self
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The name of its values' type.
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }
}

impl std::fmt::Debug for Property {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Property({}: {})", self.name, self.type_name)
    }
}

pub(crate) fn get(object: &Object, name: &str) -> Result<Value, PropertyError> {
    let property = find(object, name)?;
    let getter = property
        .getter
        .as_ref()
        .ok_or_else(|| no_access(object, name, "readable"))?;
    let _inside = context::enter_accessor(object.id());
    getter(object).ok_or_else(|| no_access(object, name, "readable"))
}

pub(crate) fn set(object: &Object, name: &str, value: &Value) -> Result<(), PropertyError> {
    let property = find(object, name)?;
    let setter = property
        .setter
        .as_ref()
        .ok_or_else(|| no_access(object, name, "writable"))?;
    let refused = |reason| PropertyError::Refused {
        type_name: object.class().name(),
        property: name.into(),
        object: object.describe(),
        reason,
    };
    let _inside = context::enter_accessor(object.id());
    (property.gate)(object).map_err(refused)?;
    setter(object, value).map_err(|e| match e {
        SetError::WrongType => PropertyError::WrongType {
            type_name: object.class().name(),
            property: name.into(),
            expected: property.type_name,
            got: format!("{} {value:?}", value.kind()),
        },
        SetError::Refused(reason) => refused(reason),
    })
}

fn find<'a>(object: &'a Object, name: &str) -> Result<&'a Property, PropertyError> {
    object
        .class()
        .properties
        .get(name)
        .map(|p| &**p)
        .ok_or_else(|| PropertyError::NotFound {
            type_name: object.class().name(),
            property: name.into(),
        })
}

fn no_access(object: &Object, name: &str, access: &'static str) -> PropertyError {
    PropertyError::NoAccess {
        type_name: object.class().name(),
        property: name.into(),
        access,
    }
}
