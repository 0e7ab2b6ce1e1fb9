//! Objects with types, parents, two counts and a withdrawal: who keeps whom alive.
