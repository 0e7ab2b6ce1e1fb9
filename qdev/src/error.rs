//! Why a device could not be realized.

use qom::{CreateError, Gone, TreeError};

/// What a device's own realize says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// A property has a value that makes no sense, or lacks one.
    #[error("property `{property}`: {reason}")]
    Property {
        /// The property.
        property: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Something that the device needs could not be had.
    #[error("{what}")]
    Needs {
        /// What, in words.
        what: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl DeviceError {
    /// Something that the device needs could not be had.
    pub fn needs(what: &str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Needs {
            what: what.into(),
            source: Box::new(source),
        }
    }
}

/// A device was not realized; nothing is left of the attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RealizeError {
    /// The device's own realize failed.
    #[error("{device}: realize of `{type_name}` failed")]
    Failed {
        /// The device.
        device: String,
        /// Its type.
        type_name: &'static str,
        /// Why.
        #[source]
        source: DeviceError,
    },
    /// The device's own realize panicked.
    #[error("{device}: realize of `{type_name}` panicked: {message}")]
    Panicked {
        /// The device.
        device: String,
        /// Its type.
        type_name: &'static str,
        /// The panic's text.
        message: String,
    },
    /// The device was withdrawn before or while it was realized.
    #[error("{device} is withdrawn and cannot be realized")]
    Withdrawn {
        /// The device.
        device: String,
    },
    /// The object is no device.
    #[error("{object} of type `{type_name}` is no device")]
    NoDevice {
        /// The object.
        object: String,
        /// Its type.
        type_name: &'static str,
    },
    /// A device without a parent could not be given one.
    #[error("{device} could not be put under {home}")]
    Home {
        /// The device.
        device: String,
        /// Where it was to go.
        home: &'static str,
        /// Why not.
        #[source]
        source: TreeError,
    },
    /// The home of devices without a parent could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The device is gone.
    #[error(transparent)]
    Gone(#[from] Gone),
}
