//! Blobs by digest, image names, owners and leases on disk
