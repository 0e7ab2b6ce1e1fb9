//! What the `demo` command shows: the crates' promises, kept while somebody looks.
//!
//! [`run`] is the command. A [`Scenario`] shows one thing and fails where it does not come out as it says; all of them write to a
//! [`Stage`]. Reading order: `scenario` (the list), `stage` and `failure` (where output and errors go), the small ones (`overlap`,
//! `why_alive`, `churn`).

mod churn;
mod failure;
mod overlap;
mod scenario;
mod stage;
mod why_alive;

pub use churn::Churn;
pub use failure::{DemoError, During};
pub use scenario::{Scenario, run, scenarios};
pub use stage::Stage;
