use hako_spec::image::media_type;
use hako_spec::manifest::{ManifestKind, parse};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::chain;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn descriptor(media_type: &str) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{HEX}"), "size": 7})
}

fn manifest(media_type: Option<&str>) -> Value {
    let mut document = json!({
        "schemaVersion": 2,
        "config": descriptor(media_type::CONFIG),
        "layers": [descriptor(media_type::LAYER_GZIP)],
    });
    if let Some(media_type) = media_type {
        document["mediaType"] = media_type.into();
    }
    document
}

fn index(media_type: Option<&str>) -> Value {
    let mut document = json!({
        "schemaVersion": 2,
        "manifests": [descriptor(media_type::MANIFEST)],
    });
    document["manifests"][0]["platform"] = json!({"os": "linux", "architecture": "amd64"});
    if let Some(media_type) = media_type {
        document["mediaType"] = media_type.into();
    }
    document
}

fn read(document: &Value, content_type: Option<&str>) -> Result<ManifestKind, String> {
    parse(document.to_string().as_bytes(), content_type).map_err(|error| chain(&error))
}

#[track_caller]
fn refused(document: &Value, content_type: Option<&str>, reason: &str) {
    match read(document, content_type) {
        Ok(read) => assert_eq!(format!("{read:?}"), reason, "was not refused"),
        Err(error) => assert!(error.contains(reason), "{error:?} does not say {reason:?}"),
    }
}

#[test]
fn each_kind_by_each_way_of_naming_it() {
    for own in [
        None,
        Some(media_type::MANIFEST),
        Some(media_type::DOCKER_MANIFEST),
    ] {
        for given in [
            None,
            own,
            Some("application/json"),
            Some("application/octet-stream"),
        ] {
            let read = read(&manifest(own), given).unwrap();
            assert_eq!(read.media_type(), own.unwrap_or(media_type::MANIFEST));
            assert!(
                matches!(read, ManifestKind::Manifest(m) if m.layers.len() == 1 && m.is_image())
            );
        }
    }
    for own in [
        None,
        Some(media_type::INDEX),
        Some(media_type::DOCKER_INDEX),
    ] {
        let read = read(&index(own), own).unwrap();
        assert_eq!(read.media_type(), own.unwrap_or(media_type::INDEX));
        assert!(matches!(read, ManifestKind::Index(i) if i.manifests[0].platform.is_some()));
    }
    let given = Some("Application/vnd.oci.image.INDEX.v1+json; charset=utf-8");
    assert!(read(&index(None), given).is_ok());
}

#[test]
fn two_kinds_in_one_document() {
    for key in ["config", "layers"] {
        let mut document = index(Some(media_type::INDEX));
        document[key] = manifest(None)[key].clone();
        refused(&document, None, "both manifests and config or layers");
    }
    let mut document = manifest(None);
    document["fsLayers"] = json!([]);
    refused(&document, None, "two kinds");
    document = manifest(None);
    document["blobs"] = json!([]);
    refused(&document, None, "two kinds");
}

#[test]
fn names_that_disagree() {
    let oci = manifest(Some(media_type::MANIFEST));
    refused(
        &oci,
        Some(media_type::DOCKER_MANIFEST),
        "but it was given as",
    );
    refused(&oci, Some(media_type::INDEX), "but it was given as");
    refused(
        &manifest(Some(media_type::INDEX)),
        None,
        "does not fit its fields",
    );
    refused(
        &index(None),
        Some(media_type::MANIFEST),
        "does not fit its fields",
    );
    refused(
        &index(Some(media_type::MANIFEST)),
        Some(media_type::MANIFEST),
        "does not fit",
    );
    refused(
        &manifest(None),
        Some(media_type::DOCKER_MANIFEST),
        "no mediaType",
    );
    refused(&manifest(Some("text/html")), None, "not a manifest's");
    refused(&manifest(None), Some("text/html"), "not a manifest's");
}

#[test]
fn keys_that_come_twice_or_in_another_case() {
    let text = manifest(None).to_string();
    for (from, to, reason) in [
        ("\"layers\"", "\"layers\":[],\"layers\"", "twice"),
        ("\"size\":7", "\"size\":7,\"size\":8", "twice"),
        (
            "\"schemaVersion\"",
            "\"x\":{\"y\":1,\"y\":1},\"schemaVersion\"",
            "twice",
        ),
        (
            "\"schemaVersion\"",
            "\"Layers\":[],\"schemaVersion\"",
            "\"Layers\"",
        ),
        (
            "\"schemaVersion\"",
            "\"MANIFESTS\":[],\"schemaVersion\"",
            "\"MANIFESTS\"",
        ),
        (
            "\"schemaVersion\"",
            "\"layer\u{17f}\":[],\"schemaVersion\"",
            "\"layer\u{17f}\"",
        ),
        (
            "\"schemaVersion\"",
            "\"mediatype\":\"x\",\"schemaVersion\"",
            "\"mediatype\"",
        ),
        (
            "\"schemaVersion\"",
            "\"Annotations\":{},\"schemaVersion\"",
            "\"Annotations\"",
        ),
        (
            "\"size\":7",
            "\"size\":7,\"Digest\":\"x\"",
            "\"Digest\" in config",
        ),
    ] {
        assert!(text.contains(from));
        let text = text.replacen(from, to, 1);
        let error = chain(&parse(text.as_bytes(), None).unwrap_err());
        assert!(error.contains(reason), "{error}");
    }
    let mut document = index(None);
    document["manifests"][0]["platform"]["OS"] = "windows".into();
    refused(&document, None, "\"OS\" in manifests[0].platform");
}

#[test]
fn obsolete_and_incomplete_ones() {
    let v1 = json!({"schemaVersion": 1, "name": "a", "fsLayers": [], "signatures": []});
    refused(&v1, None, "schema 1");
    refused(
        &manifest(None),
        Some(media_type::DOCKER_MANIFEST_V1_SIGNED),
        "schema 1",
    );
    refused(
        &json!({"schemaVersion": 2, "blobs": []}),
        None,
        "artifact manifest",
    );
    refused(&json!({"schemaVersion": 2}), None, "neither");
    refused(
        &json!({"schemaVersion": 3, "manifests": []}),
        None,
        "schemaVersion is not 2",
    );
    refused(&json!({"manifests": []}), None, "no schemaVersion");
    refused(&json!([]), None, "not a JSON object");
    refused(
        &json!({"schemaVersion": 2, "mediaType": 1, "manifests": []}),
        None,
        "not a string",
    );
    for key in ["config", "layers"] {
        let mut document = manifest(None);
        document.as_object_mut().unwrap().remove(key);
        refused(&document, None, &format!("{key:?} is missing"));
    }
}

#[test]
fn wrong_descriptors() {
    for (key, value, reason) in [
        (
            "digest",
            json!("sha256:../../x"),
            "at `layers[0].digest`: \"sha256:../../x\" is not a digest",
        ),
        (
            "digest",
            json!(format!("sha256:{}", HEX.to_uppercase())),
            "0-9 and a-f",
        ),
        ("size", json!(-1), "at `layers[0].size`"),
        ("size", json!(1.5), "at `layers[0].size`"),
        ("size", Value::Null, "at `layers[0].size`"),
        ("mediaType", json!(""), "layers[0] has no mediaType"),
        ("data", json!("AA=="), "layers[0].data is not as long"),
        (
            "data",
            json!("!"),
            "at `layers[0].data`: \"!\" is not base64",
        ),
        ("urls", json!("x"), "at `layers[0].urls`"),
        (
            "annotations",
            json!({"a": 1}),
            "at `layers[0].annotations[\"a\"]`",
        ),
    ] {
        let mut document = manifest(None);
        document["layers"][0][key] = value;
        refused(&document, None, reason);
    }
}

#[test]
fn sizes_are_bounded() {
    let mut text = manifest(None).to_string();
    text.push_str(&" ".repeat(hako_spec::manifest::MAX_LEN - text.len()));
    assert!(parse(text.as_bytes(), None).is_ok());
    text.push(' ');
    let error = parse(text.as_bytes(), None).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("4194305 bytes, more than the 4194304"),
        "{error}"
    );
}

#[test]
fn unknown_fields_survive() {
    for mut document in [
        manifest(Some(media_type::DOCKER_MANIFEST)),
        index(Some(media_type::INDEX)),
        json!({"schemaVersion": 2, "mediaType": media_type::MANIFEST, "artifactType": "a/b",
            "config": {"mediaType": media_type::EMPTY, "size": 2, "data": "e30=",
                "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
            "layers": [], "subject": descriptor(media_type::MANIFEST),
            "annotations": {"a": ""}}),
    ] {
        crate::add_unknown(&mut document);
        // Annotations hold strings alone.
        if let Some(annotations) = document.get_mut("annotations") {
            *annotations = json!({"a": ""});
        }
        let written = match read(&document, None).unwrap() {
            ManifestKind::Index(index) => serde_json::to_value(index),
            ManifestKind::Manifest(manifest) => serde_json::to_value(manifest),
        };
        assert_eq!(written.unwrap(), document);
    }
}

proptest! {
    #[test]
    fn never_panics(bytes: Vec<u8>, content_type in proptest::option::of(".*")) {
        let _ = parse(&bytes, content_type.as_deref());
    }

    #[test]
    fn a_changed_byte_never_panics(place in 0usize..500, byte: u8) {
        let mut text = manifest(None).to_string().into_bytes();
        let place = place % text.len();
        text[place] = byte;
        let _ = parse(&text, None);
    }
}
