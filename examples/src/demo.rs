//! What the `demo` command shows: the crates' promises, kept while somebody looks.
//!
//! [`run`] is the command. A [`Scenario`] shows one thing and fails where it does not come out as it says; all of them write to a
//! [`Stage`]. Reading order: `scenario` (the list), `stage` and `failure` (where output and errors go), the small ones (`overlap`,
//! `why_alive`, `churn`); then the main job, `traces`: the machine (`board`, `dma`), the guest's side ([`guest`](crate::guest), `patience`,
//! `replay`), and who watches (`window`, `witness`, `tally`).

mod board;
mod churn;
mod dma;
mod failure;
mod overlap;
mod patience;
mod replay;
mod scenario;
mod stage;
mod tally;
mod traces;
mod why_alive;
mod window;
mod witness;

pub use churn::Churn;
pub use failure::{DemoError, During};
pub use scenario::{Scenario, run, scenarios};
pub use stage::Stage;
pub use traces::Traces;

/// Registers the device types of the demonstrations, so that they can be made by their names. Any thread; again is a no-op.
///
/// ```
/// use qom::Machine;
///
/// holdfast_examples::demo::register_devices()?;
/// let machine = Machine::new("doc");
/// let card = machine.create_named("demo-card")?;
/// assert!(card.cast::<qdev::Device>().is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Another type has one of the names.
pub fn register_devices() -> Result<(), qom::TypeError> {
    qom::register::<churn::Card>()?;
    qom::register::<dma::DmaEngine>()?;
    qom::register::<why_alive::Hoarder>()?;
    Ok(())
}
