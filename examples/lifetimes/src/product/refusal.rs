//! What the product's typed errors are called in the model.

use crate::step::Refusal;
use memory::{MapError, RegionError};
use qdev::RealizeError;
use qom::{CreateError, TreeError};

/// A typed error of the product's, seen as a refusal of the model.
pub(crate) trait Typed: std::error::Error {
    /// Which refusal it is; none where the model knows no such error, and so did not expect it.
    fn refusal(&self) -> Option<Refusal>;
}

impl Typed for TreeError {
    fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::ParentWithdrawn { .. } | Self::ChildWithdrawn { .. } | Self::Gone(_) => {
                Some(Refusal::Withdrawn)
            }
            Self::HasParent { .. } => Some(Refusal::HasParent),
            Self::DuringInit { .. } => Some(Refusal::DuringInit),
            _ => None,
        }
    }
}

impl Typed for CreateError {
    fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Place { source, .. } => source.refusal(),
            _ => None,
        }
    }
}

impl Typed for RegionError {
    fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Withdrawn { .. } | Self::Gone(_) => Some(Refusal::Withdrawn),
            Self::DuringInit { .. } => Some(Refusal::DuringInit),
            Self::InContainer { .. } => Some(Refusal::Contained),
            Self::NotInContainer { .. } => Some(Refusal::NotContained),
            Self::OwnerType { .. } => Some(Refusal::OwnerIsParent),
            Self::Tree(error) => error.refusal(),
            Self::Create(error) => error.refusal(),
            _ => None,
        }
    }
}

impl Typed for MapError {
    fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Withdrawn { .. } | Self::Gone(_) => Some(Refusal::Withdrawn),
            Self::Holder(error) => error.refusal(),
            _ => None,
        }
    }
}

impl Typed for RealizeError {
    fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Withdrawn { .. } => Some(Refusal::Withdrawn),
            _ => None,
        }
    }
}
