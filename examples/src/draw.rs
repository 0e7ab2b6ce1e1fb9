//! Pictures of a machine as SVG: who keeps whom alive, and what the address spaces show.
//!
//! [`reference_graph`] draws a [`qom::Graph`] from left to right; [`memory_map`] draws flat views side by side. Both are plain text,
//! the same for the same input, and need nothing but a viewer with a monospaced font. Reading order: `svg` (shapes and text), `layers` (where
//! the nodes of a graph go), `graph`, `map`.

mod graph;
mod layers;
mod map;
mod svg;

pub use graph::reference_graph;
pub use layers::{Layout, Place, Sizes, layout};
pub use map::{MapColumn, MapRange, memory_map};
pub use svg::{Svg, fit, text_width};
