//! x.
pub mod state;
pub mod policy;
pub mod step;
mod run;
mod topology;
mod counted;
mod withdraw;
mod collect;
pub mod edges;
pub use run::Event;
pub mod scenario;
pub use policy::Policy;
