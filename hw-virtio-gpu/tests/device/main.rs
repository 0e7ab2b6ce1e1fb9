//! The device as its guest and its board see it: registers, rings, window, interrupts, unplug. Every access goes through an address space.

mod board;
mod bring_up;
mod commands;
mod driver;
mod endings;
mod hostile;
mod interrupts;
mod resets;
mod suspension;
