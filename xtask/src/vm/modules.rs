//! The kernel's modules that the guest needs, in the order in which they are
//! to be loaded. Debian's package has no `modules.dep` (depmod makes it when
//! the package is installed), so each module's own word is taken: the
//! `depends=` of its `.modinfo` section.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// What the tests use of the kernel, beyond what is built in. All of these
/// are there in Debian's kernels; one that is missing is an error.
const WANTED: [&str; 36] = [
    // The disk with the root file system, and the way out of the reports.
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "crc32c_generic",
    "ext4",
    // Images and volumes.
    "overlay",
    "erofs",
    "loop",
    "fuse",
    // Networks.
    "bridge",
    "dummy",
    "tun",
    "veth",
    "nf_conntrack",
    "nf_nat",
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_fib_inet",
    "nft_masq",
    "nft_nat",
    "nft_redir",
    "nft_reject",
    "nft_reject_inet",
    "nft_compat",
    "xt_mark",
    // What criu asks of networks and sockets.
    "nf_conntrack_netlink",
    "unix_diag",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "raw_diag",
    "af_packet_diag",
    "netlink_diag",
];

/// The modules of one kernel.
pub(crate) struct Modules {
    /// By name, with underscores.
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
}

impl Modules {
    /// Lists those below `lib/modules/VERSION`.
    pub(crate) fn list(dir: &Path) -> Result<Self> {
        let builtin = dir.join("modules.builtin");
        let builtin =
            fs::read_to_string(&builtin).with_context(|| format!("read {}", builtin.display()))?;
        let mut modules = Modules {
            files: BTreeMap::new(),
            built_in: builtin.lines().filter_map(|l| name(Path::new(l))).collect(),
        };
        modules.walk(&dir.join("kernel"))?;
        Ok(modules)
    }

    fn walk(&mut self, dir: &Path) -> Result<()> {
        let read = || format!("read {}", dir.display());
        for entry in fs::read_dir(dir).with_context(read)? {
            let entry = entry.with_context(read)?;
            let path = entry.path();
            if entry.file_type().with_context(read)?.is_dir() {
                self.walk(&path)?;
            } else if let Some(name) = name(&path) {
                self.files.insert(name, path);
            }
        }
        Ok(())
    }

    /// What the tests need, dependencies first.
    pub(crate) fn wanted(&self) -> Result<Vec<PathBuf>> {
        let mut order = Vec::new();
        for name in WANTED {
            self.add(name, &mut order, 0)?;
        }
        Ok(order)
    }

    fn add(&self, name: &str, order: &mut Vec<PathBuf>, depth: usize) -> Result<()> {
        let name = name.replace('-', "_");
        if self.built_in.contains(&name) {
            return Ok(());
        }
        let Some(path) = self.files.get(&name) else {
            bail!("this kernel has no module {name}");
        };
        if order.contains(path) {
            return Ok(());
        }
        if depth > 20 {
            bail!("modules depend on each other: {name}");
        }
        let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        for dependency in depends(&bytes) {
            self.add(&dependency, order, depth + 1)?;
        }
        order.push(path.clone());
        Ok(())
    }
}

/// `nf_tables` of `kernel/net/netfilter/nf_tables.ko`. Compressed modules,
/// which later releases have, are not read here and count as missing.
fn name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_suffix(".ko")?;
    Some(name.replace('-', "_"))
}

/// The dependencies that stand in a module's `.modinfo`, which consists of
/// `key=value` with a NUL behind each.
fn depends(module: &[u8]) -> Vec<String> {
    let mut strings = module.split(|b| *b == 0);
    let Some(list) = strings.find_map(|s| s.strip_prefix(b"depends=")) else {
        return Vec::new();
    };
    String::from_utf8_lossy(list)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("modules.builtin", "kernel/crypto/sha-one.ko\n");
        put("kernel/a.ko", "\x7fELF\0name=a\0depends=b-c,sha_one\0x");
        put("kernel/deep/b-c.ko", "license=GPL\0depends=\0");
        put("kernel/b.ko", "depends=none_such\0");
        let modules = Modules::list(dir.path()).unwrap();
        let mut order = Vec::new();
        for _ in 0..2 {
            modules.add("a", &mut order, 0).unwrap();
        }
        let names: Vec<_> = order.iter().filter_map(|p| name(p)).collect();
        assert_eq!(names, ["b_c", "a"]);
        let e = modules.add("b", &mut order, 0).unwrap_err();
        assert_eq!(e.to_string(), "this kernel has no module none_such");
    }
}
