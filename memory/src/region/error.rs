//! Why an operation on regions and address spaces was refused; each error names both parties by path.

use crate::access::RulesError;
use crate::host::BackingError;
use qom::grace::GraceError;
use qom::{CreateError, Gone, Place, TreeError};

/// An operation on a region, an address space or a listener was refused; nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// One of the regions has been withdrawn.
    #[error("{region} is withdrawn and cannot take part in {what} with {other}")]
    Withdrawn {
        /// The withdrawn one.
        region: String,
        /// The operation.
        what: &'static str,
        /// The other party.
        other: String,
    },
    /// The subregion is in a container.
    #[error("{region} cannot be added to {container}: it is in {current}")]
    InContainer {
        /// The subregion.
        region: String,
        /// The container asked for.
        container: String,
        /// The container that it is in.
        current: String,
    },
    /// The region is not in that container.
    #[error("{region} is not in {container}")]
    NotInContainer {
        /// The region.
        region: String,
        /// The container.
        container: String,
    },
    /// A region would contain or show itself.
    #[error("{region} cannot be reached from {container}: {container} is reached from {region}")]
    Loop {
        /// The region.
        region: String,
        /// What would contain it.
        container: String,
    },
    /// More paths lead through aliases than a commit may follow.
    #[error("{region} would be shown on {paths} paths with {other}, more than {limit}")]
    TooManyPaths {
        /// The region.
        region: String,
        /// The other end of the new edge.
        other: String,
        /// How many paths there would be.
        paths: u64,
        /// How many there may be.
        limit: u64,
    },
    /// The region has another kind.
    #[error("{region} is no {wanted}")]
    WrongKind {
        /// The region.
        region: String,
        /// The kind that the operation needs.
        wanted: &'static str,
    },
    /// The owner's type is not the one that the callbacks want.
    #[error(
        "{owner} of type `{owner_type}` cannot own `{region}`, whose callbacks want a `{wanted}`"
    )]
    OwnerType {
        /// The owner.
        owner: String,
        /// Its type.
        owner_type: &'static str,
        /// The region's name.
        region: String,
        /// The type that the callbacks want.
        wanted: &'static str,
    },
    /// The parties belong to two machines.
    #[error(
        "{region} of machine `{machine}` and {other} of machine `{other_machine}` cannot be joined"
    )]
    OtherMachine {
        /// One party.
        region: Box<str>,
        /// Its machine.
        machine: Box<str>,
        /// The other party.
        other: Box<str>,
        /// Its machine.
        other_machine: Box<str>,
    },
    /// An owner is still in init: introspection must leave no trace.
    #[error("{region} cannot join {other} while {owner} is in init")]
    DuringInit {
        /// The region.
        region: String,
        /// What it was to join.
        other: String,
        /// The owner that is not complete.
        owner: String,
    },
    /// The bytes that a region was to show.
    #[error("the bytes of region `{region}` of {owner}")]
    Backing {
        /// The region's name.
        region: String,
        /// Its owner.
        owner: String,
        /// What is wrong with them.
        #[source]
        source: BackingError,
    },
    /// Access rules that contradict themselves.
    #[error("access rules of `{region}`")]
    Rules {
        /// The region.
        region: String,
        /// Why.
        #[source]
        source: RulesError,
    },
    /// The address space is closed.
    #[error("address space `{space}` is closed: no {what}")]
    Closed {
        /// The space.
        space: String,
        /// What was asked of it.
        what: &'static str,
    },
    /// This is no place to change topology.
    #[error("{region} cannot be changed from {place}")]
    Forbidden {
        /// The region or space.
        region: String,
        /// Where the caller is.
        place: Place,
    },
    /// Too much is retired and not freed; the source names the slow reader.
    #[error("no room for another change of {region}")]
    Overloaded {
        /// The region or space.
        region: String,
        /// Who is slow.
        #[source]
        source: GraceError,
    },
    /// The object tree refused.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The region could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// A party is gone.
    #[error(transparent)]
    Gone(#[from] Gone),
}
