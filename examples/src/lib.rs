//! Demonstrations: trace replay, lifetimes, small devices.

pub mod trace;

pub mod frame;

pub mod draw;

pub mod guest;

pub mod demo;
