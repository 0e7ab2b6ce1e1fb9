//! The plain container: an object that is only there to have children.

use crate::init::Init;
use crate::object::{ObjectImpl, RootObject};

/// An object without behaviour, such as `/machine` and `/machine/unattached`.
#[derive(Debug)]
pub struct Container {
    object: RootObject,
}

crate::object_type! { Container("container") { object: RootObject } }

impl ObjectImpl for Container {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
        }
    }
}
