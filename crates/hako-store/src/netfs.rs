//! Which file systems a store must not lie on: SQLite's write-ahead log needs
//! shared memory and locks that hold between all who open it, and a network
//! file system promises neither (<https://www.sqlite.org/wal.html>, "All
//! processes using a database must be on the same host computer").

use std::path::Path;

use crate::error::{At, Error, Result};

/// Magic numbers of statfs(2) and the names of what they stand for.
const REMOTE: &[(u64, &str)] = &[
    (0x6969, "nfs"),
    (0x517b, "smb"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "ceph"),
    (0x5346_414f, "afs"),
    (0x6b41_4653, "afs"),
    (0x7375_7245, "coda"),
    (0x564c, "ncp"),
    (0x0bd0_0bd0, "lustre"),
    (0x0116_1970, "gfs2"),
    (0x7461_636f, "ocfs2"),
    (0x1983_0326, "beegfs"),
    (0x4750_4653, "gpfs"),
    (0x2003_0528, "orangefs"),
];

const FUSE: u64 = 0x6573_5546;

/// FUSE subtypes that keep their files on another machine.
const REMOTE_FUSE: &[&str] = &[
    "sshfs",
    "glusterfs",
    "s3fs",
    "rclone",
    "goofys",
    "davfs",
    "davfs2",
    "ceph-fuse",
    "ceph",
    "curlftpfs",
    "gcsfuse",
    "juicefs",
    "mount-s3",
    "blobfuse",
    "blobfuse2",
    "geesefs",
    "seaweedfs",
    "weed",
    "moosefs",
    "mfs",
    "cvmfs2",
    "hdfs",
    "nfs",
    "smbnetfs",
    "kbfs",
    "osxfs",
    "grpcfuse",
];

/// Refuses `root` when it lies on a network file system.
///
/// Errors: [`Error::NetworkFileSystem`], and those of statfs(2).
pub fn refuse(root: &Path) -> Result<()> {
    let magic = rustix::fs::statfs(root)
        .at("examine the file system of", root)?
        .f_type;
    // 32-bit magics come sign-extended on some architectures.
    let magic = (magic as u64) & 0xffff_ffff;
    let kind = if magic == FUSE {
        fuse_kind(root)?.filter(|kind| {
            kind.strip_prefix("fuse.")
                .is_some_and(|sub| REMOTE_FUSE.contains(&sub))
        })
    } else {
        REMOTE
            .iter()
            .find(|(m, _)| *m == magic)
            .map(|(_, name)| (*name).to_owned())
    };
    match kind {
        Some(kind) => Err(Error::NetworkFileSystem {
            path: root.to_path_buf(),
            kind,
        }),
        None => Ok(()),
    }
}

/// The type that mountinfo gives to `root`'s device, such as `fuse.sshfs`.
fn fuse_kind(root: &Path) -> Result<Option<String>> {
    let device = rustix::fs::stat(root).at("examine", root)?.st_dev;
    let device = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    let table = Path::new("/proc/self/mountinfo");
    let text = std::fs::read_to_string(table).at("read", table)?;
    Ok(kind_of(&text, &device))
}

/// Finds the type of `device` (`major:minor`) in the text of
/// `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
fn kind_of(mountinfo: &str, device: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        if line.split(' ').nth(2) != Some(device) {
            return None;
        }
        let (_, tail) = line.split_once(" - ")?;
        tail.split(' ').next().map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_fuse_subtype_of_a_device() {
        let text = "36 35 98:0 /a /b rw,noatime master:1 - ext3 /dev/root rw\n\
                    40 35 0:52 / /home/u rw - fuse.sshfs host:/ rw,user_id=0\n";
        assert_eq!(kind_of(text, "0:52").as_deref(), Some("fuse.sshfs"));
        assert_eq!(kind_of(text, "98:0").as_deref(), Some("ext3"));
        assert_eq!(kind_of(text, "9:9"), None);
    }

    #[test]
    fn a_local_directory_passes() {
        let dir = tempfile::tempdir().unwrap();
        refuse(dir.path()).unwrap();
        assert!(refuse(Path::new("/nonexistent/x")).is_err());
    }
}
