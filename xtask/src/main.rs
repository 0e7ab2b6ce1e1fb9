//! The project's own commands: demo, oracle, ci, tidy.

fn main() {}
