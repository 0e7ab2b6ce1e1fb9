//! Demonstrations of the crates: what the `demo` command shows, and what that is made of.
//!
//! Reading order: [`trace`] (what drivers of Linux did, recorded), [`frame`] and [`draw`] (pictures of what a scanout shows and of who keeps whom), [`guest`] (a
//! driver of the virtio-gpu), [`demo`] (the scenarios). The laboratory of lifetimes is a crate of its own, `holdfast-lifetimes`.

pub mod trace;

pub mod frame;

pub mod draw;

pub mod guest;

pub mod demo;
