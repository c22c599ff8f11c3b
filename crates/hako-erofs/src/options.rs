//! What a caller can choose.

use std::fs::File;

use hako_layer::{Devices, Ids, Limits, XattrPrefix};

use crate::Image;

/// How to index a layer.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// Under which name opaque directories are marked.
    pub xattr_prefix: XattrPrefix,
    /// Which owners the files get.
    pub ids: Ids,
    /// Whether device nodes are shown.
    pub devices: Devices,
    /// The layers below, the top one first. `Some(&[])` says that there are
    /// none; `None` that they are not known (yet), see
    /// [`hako_layer::Applied::implicit`] and [`hako_layer::Error::NeedsLower`].
    pub lower: Option<&'a [Lower<'a>]>,
    /// Bounds for hostile archives.
    pub limits: Limits,
}

impl Default for Options<'_> {
    /// For mounts by root: ids as in the archive, devices shown, default limits,
    /// lower layers not known.
    fn default() -> Self {
        Self {
            xattr_prefix: XattrPrefix::Trusted,
            ids: Ids::Identity,
            devices: Devices::Create,
            lower: None,
            limits: Limits::default(),
        }
    }
}

/// A layer below.
#[derive(Clone, Copy, Debug)]
pub struct Lower<'a> {
    /// Its image.
    pub image: &'a Image<File>,
    /// Its data: the file that was given to [`crate::Index::new`].
    pub data: &'a File,
}
