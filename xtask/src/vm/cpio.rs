//! A writer of cpio archives in the "newc" form, in which the kernel takes its
//! initramfs (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Everything belongs to root and is as old as the epoch.

use std::io::{self, Read, Write};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const TRAILER: &str = "TRAILER!!!";

/// An archive in the making. Parents must come before what is in them.
pub(crate) struct Archive<W> {
    out: W,
    written: u64,
    inode: u32,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Archive {
            out,
            written: 0,
            inode: 0,
        }
    }

    /// Adds a directory. Paths are relative to the archive's root.
    pub(crate) fn directory(&mut self, path: &str, mode: u32) -> io::Result<()> {
        self.head(path, DIRECTORY | mode & 0o7777, 0)
    }

    /// Adds a symbolic link.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.head(path, SYMLINK | 0o777, size(target.len() as u64)?)?;
        self.put(target.as_bytes())?;
        self.pad()
    }

    /// Adds a regular file of `length` bytes, which `content` must give.
    pub(crate) fn file(
        &mut self,
        path: &str,
        mode: u32,
        length: u64,
        content: impl Read,
    ) -> io::Result<()> {
        self.head(path, REGULAR | mode & 0o7777, size(length)?)?;
        let copied = io::copy(&mut content.take(length), &mut self.out)?;
        if copied != length {
            return Err(io::Error::other(format!("{path} has become shorter")));
        }
        self.written += copied;
        self.pad()
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.head(TRAILER, 0, 0)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn head(&mut self, path: &str, mode: u32, size: u32) -> io::Result<()> {
        self.inode += 1;
        // inode, mode, uid, gid, links, time, size, device and node numbers,
        // length of the name with its NUL, checksum.
        let name_length = path.len() as u32 + 1;
        let fields = [
            self.inode,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_length,
            0,
        ];
        let mut head = String::from("070701");
        for field in fields {
            head.push_str(&format!("{field:08X}"));
        }
        self.put(head.as_bytes())?;
        self.put(path.as_bytes())?;
        self.put(&[0])?;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Names and contents end at multiples of four bytes.
    fn pad(&mut self) -> io::Result<()> {
        while !self.written.is_multiple_of(4) {
            self.put(&[0])?;
        }
        Ok(())
    }
}

fn size(length: u64) -> io::Result<u32> {
    u32::try_from(length).map_err(|_| io::Error::other("cpio has no files above 4 GB"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// What busybox reads is what was written.
    #[test]
    fn another_cpio_reads_it() {
        let mut archive = Archive::new(Vec::new());
        archive.directory("a", 0o750).unwrap();
        archive
            .file("a/file", 0o4755, 5, &b"hello, not this"[..])
            .unwrap();
        archive.symlink("a/link", "file").unwrap();
        archive.file("empty", 0o600, 0, io::empty()).unwrap();
        let bytes = archive.finish().unwrap();
        assert!(bytes.len().is_multiple_of(4));
        let dir = tempfile::tempdir().unwrap();
        let mut cpio = Command::new("busybox")
            .args(["cpio", "-i", "-d"])
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = cpio.stdin.take().unwrap();
        stdin.write_all(&bytes).unwrap();
        drop(stdin);
        assert!(cpio.wait().unwrap().success());
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |name: &str| {
            let metadata = std::fs::metadata(dir.path().join(name)).unwrap();
            metadata.permissions().mode() & 0o7777
        };
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!((read("a/link"), read("empty")), ("hello".into(), "".into()));
        assert_eq!((mode("a"), mode("empty")), (0o750, 0o600));
        assert_eq!(mode("a/file") & 0o777, 0o755);
    }

    #[test]
    fn a_file_that_has_shrunk_is_an_error() {
        let mut archive = Archive::new(Vec::new());
        assert!(archive.file("x", 0o644, 3, &b"ab"[..]).is_err());
    }
}
