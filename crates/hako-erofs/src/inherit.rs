//! Gives the directories that a layer's archive does not describe the
//! attributes that the layers below show there.

use hako_layer::lower::{Found, find};
use hako_layer::name::split;
use hako_layer::{Applied, Error, quote};

use crate::layer::Layer;
use crate::options::Lower;
use crate::tree::{Id, Node, ROOT};
use crate::view::Place;

impl Layer<'_> {
    /// What `hako_layer::inherit` does to a directory: the implicit directories
    /// and, if the archive has no entry for it, the root take owner, mode,
    /// xattrs and time of what they cover; whiteouts that delete nothing go. The
    /// lists are emptied.
    pub(crate) fn inherit(
        &mut self,
        applied: &mut Applied,
        lower: &[Lower<'_>],
    ) -> Result<(), Error> {
        let prefix = self.options.xattr_prefix;
        let assumed = std::mem::take(&mut applied.assumed);
        for real in applied.implicit.iter().chain(&assumed) {
            let roots = Place::roots(lower, prefix)?;
            if let Some(Found::Symlink(..)) = find(None, roots, real, false)? {
                return Err(Error::NeedsLower { path: quote(real) });
            }
        }
        for real in std::mem::take(&mut applied.deleted) {
            let (roots, own) = (Place::roots(lower, prefix)?, Place::own(self, ROOT));
            if find(Some(own), roots, &real, true)?.is_none() {
                self.remove_whiteout(&real);
            }
        }
        for real in std::mem::take(&mut applied.implicit) {
            if let Some(id) = self.tree.at(&real) {
                self.cover(id, &real, lower)?;
            }
        }
        if !applied.root_entry {
            self.cover(ROOT, b"", lower)?;
        }
        Ok(())
    }

    fn remove_whiteout(&mut self, real: &[u8]) {
        let (parent, base) = split(real);
        if let Some(dir) = self.tree.at(parent)
            && let Some(id) = self.tree.lookup(dir, base)
            && self.tree.node(id).is_whiteout()
        {
            self.tree.remove(dir, base);
        }
    }

    /// Takes over the attributes of the directory below, if there is one.
    fn cover(&mut self, id: Id, real: &[u8], lower: &[Lower<'_>]) -> Result<(), Error> {
        let roots = Place::roots(lower, self.options.xattr_prefix)?;
        let own = Place::own(self, ROOT);
        let found = find(Some(own), roots, real, false)?;
        let Some(Found::Dir(Place::Lower { lower, dir, .. })) = found else {
            return Ok(());
        };
        let xattrs = lower.image.xattrs(&dir);
        let mut xattrs = xattrs.map_err(|error| error.into_lower(real))?;
        xattrs.retain(|(name, _)| hako_layer::wanted(name));
        let xattrs = self.xattrs.intern(&xattrs, real)?;
        let node = self.tree.node_mut(id);
        if node.is_dir() {
            *node = Node {
                body: node.body,
                names: node.names,
                xattrs,
                ..dir.node()
            };
        }
        Ok(())
    }
}
