//! Guest memory: regions, address spaces, flat views, listeners, accesses and mappings.
