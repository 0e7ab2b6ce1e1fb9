//! A virtio-gpu whose host-visible blobs come and go under running readers.
