//! The image configuration (image-spec config.md, with Docker's additions).

use std::collections::BTreeMap;

use super::KeySet;
use crate::digest::Digest;
use crate::platform::Platform;
use crate::{Error, object};

object! {
    /// The configuration blob; its digest is the image's id.
    pub struct Image {
        /// When it was made, RFC 3339.
        pub created: Option<String> = "created",
        /// Who made it.
        pub author: Option<String> = "author",
        /// Processor, as Go's GOARCH.
        pub architecture: String = "architecture" always,
        /// Operating system, as Go's GOOS.
        pub os: String = "os" always,
        /// Version of the operating system.
        pub os_version: Option<String> = "os.version",
        /// Features of the operating system that it needs.
        pub os_features: Vec<String> = "os.features",
        /// Processor variant.
        pub variant: Option<String> = "variant",
        /// How to run it.
        pub config: Option<ImageConfig> = "config",
        /// Its layers.
        pub rootfs: RootFs = "rootfs" required,
        /// How the layers were made.
        pub history: Vec<History> = "history",
    }

    /// How to run an image. The keys are capitalised.
    pub struct ImageConfig {
        /// `user`, `uid`, `user:group`, …
        pub user: Option<String> = "User",
        /// Ports, `80/tcp`.
        pub exposed_ports: KeySet = "ExposedPorts",
        /// Environment, `NAME=value`.
        pub env: Vec<String> = "Env",
        /// Program and fixed arguments.
        pub entrypoint: Vec<String> = "Entrypoint",
        /// Default arguments, or the program if there is no entry point.
        pub cmd: Vec<String> = "Cmd",
        /// Directories whose contents belong to the container.
        pub volumes: KeySet = "Volumes",
        /// Working directory.
        pub working_dir: Option<String> = "WorkingDir",
        /// Anything.
        pub labels: BTreeMap<String, String> = "Labels",
        /// Signal that asks it to end, `SIGTERM`.
        pub stop_signal: Option<String> = "StopSignal",
        /// Docker: seconds between that signal and SIGKILL.
        pub stop_timeout: Option<i64> = "StopTimeout",
        /// Windows: arguments are escaped; deprecated.
        pub args_escaped: bool = "ArgsEscaped",
        /// Docker: how to see whether it is well.
        pub healthcheck: Option<Healthcheck> = "Healthcheck",
        /// Docker: instructions for images that are built on this one.
        pub on_build: Vec<String> = "OnBuild",
        /// Docker: what runs the shell form of commands.
        pub shell: Vec<String> = "Shell",
    }

    /// Docker's health check; times in nanoseconds, 0 for the default.
    pub struct Healthcheck {
        /// Empty to inherit, `NONE`, `CMD` and arguments, or `CMD-SHELL` and a line.
        pub test: Vec<String> = "Test",
        /// Between checks.
        pub interval: i64 = "Interval",
        /// For one check.
        pub timeout: i64 = "Timeout",
        /// While failures do not count.
        pub start_period: i64 = "StartPeriod",
        /// Between checks during the start period.
        pub start_interval: i64 = "StartInterval",
        /// Failures in a row that mean unwell.
        pub retries: i64 = "Retries",
    }

    /// The layers' digests before compression.
    pub struct RootFs {
        /// `layers`.
        pub kind: String = "type" required,
        /// Digests of the plain tars, the base first.
        pub diff_ids: Vec<Digest> = "diff_ids" always,
    }

    /// One step of a build.
    pub struct History {
        /// When, RFC 3339.
        pub created: Option<String> = "created",
        /// Command.
        pub created_by: Option<String> = "created_by",
        /// Who.
        pub author: Option<String> = "author",
        /// Free text.
        pub comment: Option<String> = "comment",
        /// Whether the step made no layer.
        pub empty_layer: bool = "empty_layer",
    }
}

impl Image {
    /// Longest configuration in bytes that is read.
    pub const MAX_LEN: usize = 8 << 20;

    /// Reads a configuration blob.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Json`] naming the path of the field;
    /// [`Error::Image`] if the root file system is not made of layers.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        let what = "image configuration";
        if bytes.len() > Self::MAX_LEN {
            return Err(Error::TooLarge {
                what,
                size: bytes.len(),
                limit: Self::MAX_LEN,
            });
        }
        let image: Image = object::from_slice(bytes, what)?;
        if image.rootfs.kind != "layers" {
            return Err(Error::Image {
                reason: format!("rootfs.type is {:?}, not \"layers\"", image.rootfs.kind),
            });
        }
        Ok(image)
    }

    /// Where it runs, normalised.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            variant: self.variant.clone(),
            ..Platform::default()
        }
        .normalized()
    }
}

impl RootFs {
    /// The root file system of these layers.
    #[must_use]
    pub fn new(diff_ids: Vec<Digest>) -> Self {
        RootFs {
            kind: "layers".into(),
            diff_ids,
            ..RootFs::default()
        }
    }
}
