//! From what a user calls an image to the image, brought when it is missing.

use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use hako_engine::{Bring, Engine};
use hako_spec::platform::Platform;
use hako_store::{Lease, Resolved};
use hako_transfer::{Pulled, Source};

use crate::error::{CliError, Result};
use crate::progress::{self, Detail};

/// When an image is looked for outside of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Policy {
    /// When the store does not have it
    #[default]
    Missing,
    /// Every time
    #[value(alias = "newer")]
    Always,
    /// Never
    Never,
}

/// Where images come from and which.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Options {
    /// Credentials, in place of the usual auth.json
    #[arg(long, value_name = "FILE")]
    pub(crate) authfile: Option<PathBuf>,
    /// Whether registries need good certificates
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) tls_verify: Option<bool>,
    /// The platform, if not this machine's: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
}

/// An image in the store, and what keeps it there for now.
pub(crate) struct Found {
    /// The image.
    pub(crate) resolved: Resolved,
    /// Held until a container holds the image.
    pub(crate) _lease: Option<Arc<Lease>>,
}

/// The image that `text` means.
pub(crate) fn obtain(
    engine: &Engine,
    text: &str,
    options: &Options,
    policy: Policy,
    quiet: bool,
) -> Result<Found> {
    if policy != Policy::Always {
        match engine.image(text, options.platform.as_ref()) {
            Ok(resolved) if policy == Policy::Never || engine.is_whole(&resolved.image)? => {
                return Ok(Found {
                    resolved,
                    _lease: None,
                });
            }
            Ok(_) => {}
            Err(error) if is_absent(&error) => {
                let local = matches!(
                    engine.source(text)?,
                    Source::Oci { .. }
                        | Source::OciArchive { .. }
                        | Source::DockerArchive { .. }
                        | Source::Dir { .. }
                );
                if policy == Policy::Never && !local {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    let detail = if quiet { Detail::Nothing } else { Detail::News };
    let pulled = bring(engine, &engine.source(text)?, options, detail)?;
    let name = match pulled.names.first() {
        Some(name) => engine
            .store()
            .names()
            .get(engine.owner(), &name.to_string())?,
        None => None,
    };
    let resolved = Resolved {
        image: pulled.image,
        name,
    };
    Ok(Found {
        resolved,
        _lease: Some(pulled.lease),
    })
}

/// Whether the store has no such image; another platform's counts as none.
fn is_absent(error: &hako_engine::Error) -> bool {
    matches!(
        error,
        hako_engine::Error::Store(
            hako_store::Error::ImageUnknown(_) | hako_store::Error::PlatformUnknown { .. }
        )
    )
}

/// Brings an image, telling how it goes.
pub(crate) fn bring(
    engine: &Engine,
    source: &Source,
    options: &Options,
    detail: Detail,
) -> Result<Pulled> {
    let how = Bring {
        authfile: options.authfile.clone(),
        insecure: options.tls_verify == Some(false),
        options: hako_transfer::Options {
            platform: options.platform.clone(),
            ..hako_transfer::Options::default()
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::from(e).context("cannot start the network's event loop"))?;
    Ok(runtime.block_on(engine.bring(source, &how, progress::listener(detail)))?)
}
