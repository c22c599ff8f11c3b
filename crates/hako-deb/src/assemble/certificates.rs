//! What update-ca-certificates(8) makes: one bundle of all certificates that
//! ca-certificates ships, links to each, and the list of them.
//!
//! The links by subject hash that `openssl rehash` adds are not made:
//! OpenSSL and GnuTLS read the bundle by default in Debian.

use super::{Part, Tree};
use crate::error::Result;

const SOURCE: &str = "usr/share/ca-certificates";
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// No certificate comes near this.
const LARGEST: u64 = 1 << 20;

pub(super) fn add(tree: &mut Tree, parts: &[Part]) -> Result<()> {
    if tree.contains(BUNDLE) {
        return Ok(());
    }
    let files: Vec<String> = tree
        .below(SOURCE)
        .filter_map(|(path, _)| String::from_utf8(path.to_vec()).ok())
        .filter(|path| path.ends_with(".crt"))
        .collect();
    if files.is_empty() {
        return Ok(());
    }
    let mut bundle = Vec::new();
    let mut list = "# certificates of the package ca-certificates that are trusted\n".to_owned();
    for file in files {
        let Some(mut bytes) = tree.read(parts, &file, LARGEST)? else {
            continue;
        };
        if bytes.last().is_some_and(|c| *c != b'\n') {
            bytes.push(b'\n');
        }
        bundle.extend(bytes);
        let relative = file
            .strip_prefix(SOURCE)
            .unwrap_or(&file)
            .trim_start_matches('/');
        list.push_str(relative);
        list.push('\n');
        let name = relative.rsplit('/').next().unwrap_or(relative);
        let name = name
            .trim_end_matches(".crt")
            .replace(' ', "_")
            .replace(['(', ')'], "=");
        tree.add_link(&format!("etc/ssl/certs/{name}.pem"), &format!("/{file}"));
    }
    tree.add_file(BUNDLE, bundle);
    tree.add_file("etc/ca-certificates.conf", list.into_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{part, text};
    use super::*;

    #[test]
    fn one_bundle_in_order() {
        let parts = [part(
            "ca-certificates",
            "",
            &[
                "usr/share/ca-certificates/m/B (x).crt=b",
                "usr/share/ca-certificates/m/A.crt=a\n",
                "usr/share/ca-certificates/m/x.txt=t",
            ],
        )];
        let mut tree = super::super::merge::merge(&parts).unwrap();
        add(&mut tree, &parts).unwrap();
        assert_eq!(text(&tree, BUNDLE), "a\nb\n");
        assert!(tree.contains("etc/ssl/certs/B_=x=.pem"));
        assert!(text(&tree, "etc/ca-certificates.conf").ends_with("m/A.crt\nm/B (x).crt\n"));
    }
}
