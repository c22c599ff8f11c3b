use hako_spec::image::{Image, ImageConfig, Layout, annotation, media_type};
use hako_spec::reference::Reference;
use serde_json::json;

use crate::{add_unknown, chain};

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Every field of image-spec config.md, and Docker's.
fn full() -> serde_json::Value {
    json!({
        "created": "2015-10-31T22:22:56.015925234Z",
        "author": "Ada <ada@example.com>",
        "architecture": "arm64",
        "os": "linux",
        "os.version": "1",
        "os.features": ["f"],
        "variant": "v8",
        "config": {
            "User": "alice:1000",
            "ExposedPorts": {"8080/tcp": {}, "53/udp": {}},
            "Env": ["PATH=/bin", "FOO=oci is a\nwell known spec"],
            "Entrypoint": ["/bin/my-app"],
            "Cmd": ["--foreground", "--config"],
            "Volumes": {"/var/job": {}, "/var/log": {}},
            "WorkingDir": "/home/alice",
            "Labels": {"com.example": "", "b": "c"},
            "StopSignal": "SIGRTMIN+3",
            "StopTimeout": 3,
            "ArgsEscaped": true,
            "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 30000000000i64,
                "Timeout": 1, "StartPeriod": 2, "StartInterval": 3, "Retries": 4},
            "OnBuild": ["RUN true"],
            "Shell": ["/bin/sh", "-c"]
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{HEX}")]},
        "history": [
            {"created": "2015-10-31T22:22:54Z", "created_by": "/bin/sh -c #(nop) ADD"},
            {"created_by": "CMD", "author": "a", "comment": "c", "empty_layer": true}
        ]
    })
}

#[test]
fn every_field_is_known() {
    let image = Image::from_slice(full().to_string().as_bytes()).unwrap();
    assert!(image.extra.is_empty());
    let config = image.config.as_ref().unwrap();
    assert!(config.extra.is_empty() && config.healthcheck.as_ref().unwrap().extra.is_empty());
    assert!(config.exposed_ports.0.contains("53/udp"));
    assert_eq!(
        config.healthcheck.as_ref().unwrap().interval,
        30_000_000_000
    );
    assert_eq!(image.history[1].created_by.as_deref(), Some("CMD"));
    assert_eq!(image.platform().to_string(), "linux(1)/arm64");
    assert_eq!(serde_json::to_value(&image).unwrap(), full());
}

#[test]
fn unknown_fields_survive() {
    let mut document = full();
    add_unknown(&mut document);
    document["config"]["Labels"] = json!({"a": "b"});
    for set in ["ExposedPorts", "Volumes"] {
        document["config"][set] = json!({"8080/tcp": {}});
    }
    let image = Image::from_slice(document.to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::to_value(&image).unwrap(), document);
}

/// As old Docker wrote them: nulls everywhere, `container_config`, no history.
#[test]
fn dockers_nulls() {
    let document = json!({
        "architecture": "amd64", "os": "linux", "id": "x", "parent": null,
        "container_config": {"Hostname": "h", "Cmd": null},
        "config": {"Hostname": "", "User": "", "ExposedPorts": null, "Env": null, "Cmd": null,
            "Image": "", "Volumes": {"/data": null}, "WorkingDir": "", "Entrypoint": null,
            "OnBuild": null, "Labels": null, "Healthcheck": null},
        "rootfs": {"type": "layers", "diff_ids": null},
        "history": null
    });
    let image = Image::from_slice(document.to_string().as_bytes()).unwrap();
    let config = image.config.unwrap();
    assert_eq!(config.user, None);
    assert!(config.volumes.0.contains("/data"));
    assert_eq!(config.extra.len(), 2);
    let plain = ImageConfig {
        extra: hako_spec::Map::new(),
        volumes: Default::default(),
        ..config
    };
    assert_eq!(plain, ImageConfig::default());
    assert!(image.extra.contains_key("container_config"));
}

#[test]
fn wrong_configurations() {
    for (text, reason) in [
        ("{}", "the required field \"rootfs\" is missing"),
        (
            r#"{"rootfs":{}}"#,
            "at `rootfs`: the required field \"type\" is missing",
        ),
        (r#"{"rootfs":{"type":"dir"}}"#, "rootfs.type is \"dir\""),
        (
            r#"{"rootfs":{"type":"layers","diff_ids":["x"]}}"#,
            "at `rootfs.diff_ids[0]`",
        ),
        (
            r#"{"rootfs":{"type":"layers"},"config":{"Env":"A=b"}}"#,
            "at `config.Env`",
        ),
        (r#"{"rootfs":{"type":"layers"},"config":[]}"#, "at `config`"),
        (
            r#"{"rootfs":{"type":"layers"},"config":{"Cmd":[1]}}"#,
            "at `config.Cmd[0]`",
        ),
    ] {
        let error = chain(&Image::from_slice(text.as_bytes()).unwrap_err());
        assert!(error.contains(reason), "{error}");
    }
    let big = vec![b' '; Image::MAX_LEN + 1];
    assert!(
        Image::from_slice(&big)
            .unwrap_err()
            .to_string()
            .contains("more than")
    );
}

#[test]
fn layouts() {
    let written = serde_json::to_string(&Layout::current()).unwrap();
    assert_eq!(written, r#"{"imageLayoutVersion":"1.0.0"}"#);
    assert_eq!(
        Layout::from_slice(written.as_bytes()).unwrap(),
        Layout::current()
    );
    assert!(Layout::from_slice(br#"{"imageLayoutVersion":"1.1.0"}"#).is_ok());
    assert!(Layout::from_slice(br#"{"imageLayoutVersion":"2.0.0"}"#).is_err());
    assert!(Layout::from_slice(b"{}").is_err());
}

#[test]
fn media_types_of_layers() {
    use media_type::LayerCompression::{Gzip, None as Plain, Zstd};
    for (media_type, compression, stays) in [
        (media_type::LAYER, Plain, false),
        (media_type::LAYER_GZIP, Gzip, false),
        (media_type::LAYER_ZSTD, Zstd, false),
        (media_type::LAYER_NONDISTRIBUTABLE, Plain, true),
        (media_type::LAYER_NONDISTRIBUTABLE_GZIP, Gzip, true),
        (media_type::LAYER_NONDISTRIBUTABLE_ZSTD, Zstd, true),
        (media_type::DOCKER_LAYER, Plain, false),
        (media_type::DOCKER_LAYER_GZIP, Gzip, false),
        (media_type::DOCKER_LAYER_ZSTD, Zstd, false),
        (media_type::DOCKER_LAYER_FOREIGN, Plain, true),
        (media_type::DOCKER_LAYER_FOREIGN_GZIP, Gzip, true),
        (media_type::DOCKER_LAYER_FOREIGN_ZSTD, Zstd, true),
    ] {
        assert_eq!(media_type::layer_compression(media_type), Some(compression));
        assert_eq!(media_type::is_nondistributable(media_type), stays);
        assert!(!media_type::is_manifest(media_type) && !media_type::is_config(media_type));
    }
    assert_eq!(media_type::layer_compression(media_type::CONFIG), None);
    assert!(media_type::is_config(media_type::DOCKER_CONFIG));
    assert!(annotation::REF_NAME.starts_with("org.opencontainers.image."));
}

/// Names that other tools write into layouts must be readable as references.
#[test]
fn references_are_fields_too() {
    let reference: Reference = serde_json::from_value(json!("debian:12")).unwrap();
    assert_eq!(
        serde_json::to_value(reference).unwrap(),
        json!("docker.io/library/debian:12")
    );
    assert!(serde_json::from_value::<Reference>(json!("Debian")).is_err());
    assert!(serde_json::from_value::<Reference>(json!(1)).is_err());
}
