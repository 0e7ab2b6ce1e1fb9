//! A flat view's RAM behind vm-memory 0.18's traits.
