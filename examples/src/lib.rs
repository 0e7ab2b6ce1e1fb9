//! Demonstrations: trace replay, lifetimes, small devices.

pub mod trace;

pub mod frame;

pub mod draw;

pub mod demo;
