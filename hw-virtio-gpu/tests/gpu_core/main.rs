//! The command core in a small world of its own: RAM in a vector, a window in a map, and finalizations when the test says so.

mod world;

mod anything;
mod displays;
mod fences;
mod limits;
mod refusals;
mod resets;
mod suspension;
