//! Tests of the access arithmetic against a naive model.
