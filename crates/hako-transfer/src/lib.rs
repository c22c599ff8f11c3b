//! Copy an image from a registry, a layout, an archive or Debian packages into the store
