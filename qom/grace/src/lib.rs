//! Read sections, grace periods and published pointers: who may still be looking.
