//! Who keeps whom alive: every proposal for the lifetime of memory regions, as a model that runs.
//!
//! A region's bytes and callbacks belong to its owner. Containers, address spaces, views, mappings and transfers refer to the region, and must find
//! the owner alive; the owner holds its regions, and much of what refers to them. Whatever is counted where, some edge of that picture closes a
//! cycle, or some order of endings uses what is gone. In September 2025 this was discussed on qemu-devel ("memory: Stop
//! piggybacking on memory region owners"), with proposals that were argued for and against; this crate runs them.
//!
//! A [`state::State`] is a machine as a small value. A [`step::Step`] is what a user, a device's code or the machine does next, and
//! [`step::apply`] takes one under a policy's [`policy::Rules`]. Eight [`Policy`]s are here: five that were in QEMU or proposed for it, two that everybody
//! thinks of, and Holdfast's withdrawal.
//!
//! [`scenario`] has the known scenarios as lists of steps; [`table`] plays them all. [`search`] takes every sequence of steps up to a size
//! instead, counts what ends badly under each policy, and names the shortest way there. Rules of the withdrawal can be switched
//! off one by one ([`policy::Rules::without`]): the search finds what each is for.
//!
//! ```
//! use holdfast_lifetimes::{Policy, scenario::{Verdict, play, rows::ROWS}};
//!
//! let ring = ROWS.iter().find(|row| row.row == "12b").unwrap();
//! let report = play(ring, Policy::OwnCount.rules());
//! assert_eq!(report.verdict, Verdict::Leak);
//! assert!(report.sentence().ends_with("A =(mapping)=> b =(owner)=> B =(mapping)=> a =(owner)=> A"));
//! assert_eq!(play(ring, Policy::Withdrawal.rules()).order(), ["a", "A", "b", "B"]);
//! ```
//!
//! The model has one thread and one kind of grace period: it checks counts, reach and order, not races. Its modules import none of the product's crates.
//! [`product`] does, and nothing of the model imports it: there the same steps are taken on real machines, and compared with the model's after each.
//!
//! Reading order: [`state`], [`step`]; [`policy`] and its files, one for each; the mechanics that the rules steer (`run`, `topology`, `counted`, `collect`,
//! `withdraw`); [`checker`], [`edges`]; `abreast` (how a list is worked on); [`scenario`], [`search`], [`severity`]; [`product`]; [`show`], [`given`], [`table`], [`order`], [`timeline`]; [`exhibit`]; [`picture`] and [`page`], which show all of it.

pub mod state;
pub mod step;

pub mod policy;

mod collect;
mod counted;
mod run;
mod topology;
mod withdraw;

mod abreast;

pub mod checker;
pub mod edges;
pub mod given;
pub mod scenario;
pub mod search;
pub mod severity;
pub mod show;
pub mod table;

pub mod order;
pub mod timeline;

pub mod product;

pub mod exhibit;

pub mod picture;

pub mod page;

pub use policy::Policy;
pub use run::Event;
