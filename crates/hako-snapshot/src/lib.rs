//! Layers to a root file system that mounts at once
