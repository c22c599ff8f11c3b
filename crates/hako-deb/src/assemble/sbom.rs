//! The list of packages in SPDX 2.3 (JSON), at `/var/lib/hako/sbom.spdx.json`.
//!
//! It says only what the packages say, so that the same packages give the
//! same file: no mirror's address, no time of the build.

use super::{Basis, Part, Tree};
use crate::control;
use crate::date;
use crate::release::hex;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Where the list is in the image.
pub(crate) const PATH: &str = "var/lib/hako/sbom.spdx.json";

// Structs, not maps: the order of their fields is the order in the file.

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: String,
    document_namespace: String,
    creation_info: CreationInfo,
    packages: Vec<Package>,
    relationships: Vec<Relationship>,
}

#[derive(Serialize)]
struct CreationInfo {
    created: String,
    creators: [&'static str; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    #[serde(rename = "SPDXID")]
    id: String,
    name: String,
    version_info: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<String>,
    download_location: &'static str,
    files_analyzed: bool,
    license_concluded: &'static str,
    license_declared: &'static str,
    copyright_text: &'static str,
    checksums: [Checksum; 1],
    external_refs: [ExternalRef; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: &'static str,
    checksum_value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalRef {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: &'static str,
    relationship_type: &'static str,
    related_spdx_element: String,
}

pub(super) fn add(tree: &mut Tree, parts: &[Part], basis: &Basis<'_>, created: u64) {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.candidate.package.sha256);
    }
    let origin = basis.release.origin.as_deref().unwrap_or("Debian");
    let packages: Vec<Package> = parts.iter().map(|part| package(part, origin)).collect();
    let document = Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: "SPDXRef-DOCUMENT",
        name: "packages of the image".to_owned(),
        document_namespace: format!("urn:hako:deb:{}", hex(&hasher.finalize())),
        creation_info: CreationInfo {
            created: date::rfc3339(created),
            creators: ["Tool: hako"],
        },
        relationships: packages
            .iter()
            .map(|package| Relationship {
                spdx_element_id: "SPDXRef-DOCUMENT",
                relationship_type: "DESCRIBES",
                related_spdx_element: package.id.clone(),
            })
            .collect(),
        packages,
    };
    // Strings and numbers alone: writing them cannot fail.
    if let Ok(mut bytes) = serde_json::to_vec_pretty(&document) {
        bytes.push(b'\n');
        tree.add_file(PATH, bytes);
    }
}

fn package(part: &Part, origin: &str) -> Package {
    let package = &part.candidate.package;
    let id: String = package
        .name
        .chars()
        .map(|c| if c == '+' { 'p' } else { c })
        .collect();
    let fields = control::single(&part.deb.control).unwrap_or_default();
    Package {
        // Names that differ in a plus alone must differ here too.
        id: format!(
            "SPDXRef-Package-{id}-{}",
            hex(package.sha256.get(..4).unwrap_or_default())
        ),
        name: package.name.clone(),
        version_info: package.version.to_string(),
        supplier: fields.get("Maintainer").map(|m| {
            let line = m.lines().next().unwrap_or_default();
            format!("Organization: {}", line.replace('<', "(").replace('>', ")"))
        }),
        download_location: "NOASSERTION",
        files_analyzed: false,
        license_concluded: "NOASSERTION",
        license_declared: "NOASSERTION",
        copyright_text: "NOASSERTION",
        checksums: [Checksum {
            algorithm: "SHA256",
            checksum_value: hex(&package.sha256),
        }],
        external_refs: [ExternalRef {
            reference_category: "PACKAGE-MANAGER",
            reference_type: "purl",
            reference_locator: purl(package, origin),
        }],
    }
}

/// `pkg:deb/debian/bash@5.2.15-2%2Bb13?arch=amd64` (package-url, type deb).
fn purl(package: &crate::index::Package, origin: &str) -> String {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|c| {
                if c.is_ascii_alphanumeric() || b".-_~".contains(&c) {
                    char::from(c).to_string()
                } else {
                    format!("%{c:02X}")
                }
            })
            .collect()
    };
    format!(
        "pkg:deb/{}/{}@{}?arch={}",
        encode(&origin.to_ascii_lowercase()),
        encode(&package.name),
        encode(package.version.as_str()),
        package.architecture
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{basis, part, release, text};
    use super::*;

    #[test]
    fn is_spdx() {
        let release = release();
        let parts = [part("libstdc++6", "", &[]), part("bash", "", &[])];
        let mut tree = Tree::default();
        add(&mut tree, &parts, &basis(&release), 0);
        let value: serde_json::Value = serde_json::from_str(&text(&tree, PATH)).unwrap();
        assert_eq!(value["spdxVersion"], "SPDX-2.3");
        assert_eq!(value["creationInfo"]["created"], "1970-01-01T00:00:00Z");
        assert_eq!(
            value["packages"][0]["externalRefs"][0]["referenceLocator"],
            "pkg:deb/debian/libstdc%2B%2B6@1?arch=amd64"
        );
        assert_eq!(
            value["relationships"][1]["relatedSpdxElement"],
            value["packages"][1]["SPDXID"]
        );
    }
}
