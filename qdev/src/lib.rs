//! Devices: properties, realize, unrealize, unplug, interrupt lines.
