//! OCI runtime, image and distribution types, references, digests and platforms: data without I/O
