//! `deb:` images: made by hako-deb, then brought like any other.

use std::io::Read;
use std::sync::Arc;

use hako_deb::Request;
use hako_spec::image::Descriptor;
use hako_spec::manifest;
use hako_spec::platform::Platform;
use hako_store::Store;

use crate::error::{Error, Result};
use crate::fetch::blocking;
use crate::origin::{Content, Root};
use crate::progress::Event;
use crate::pull::Context;

/// An image whose documents and blobs are in the store already.
pub(crate) struct Made {
    store: Store,
    manifest: Descriptor,
    name: String,
}

impl Content for Made {
    fn root(&self) -> Result<Root> {
        let bytes = self
            .store
            .blobs()
            .read(&self.manifest.digest, manifest::MAX_LEN as u64)?;
        Ok(Root {
            descriptor: self.manifest.clone(),
            bytes,
            names: vec![self.name.clone()],
        })
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let reader = self
            .store
            .blobs()
            .open_sized(&descriptor.digest, descriptor.size)?;
        Ok(Box::new(reader))
    }
}

/// Makes the image, or finds it made.
pub(crate) async fn make(
    request: &Request,
    context: &Context,
    platform: Option<&Platform>,
) -> Result<Made> {
    let failed = |source: hako_deb::Error| Error::Packages {
        name: format!("deb:{request}"),
        source: source.into(),
    };
    let mut options = match &context.packages {
        Some(options) => options.clone(),
        None => {
            let (root, owner) = (context.store.root().to_owned(), context.owner);
            blocking(move || Ok(hako_deb::Options::machine(&root, owner)))
                .await?
                .map_err(failed)?
        }
    };
    if let Some(platform) = platform {
        options.architecture = architecture(platform).ok_or_else(|| Error::Platform {
            name: format!("deb:{request}"),
            want: platform.to_string(),
            have: Vec::new(),
        })?;
    }
    let progress = Arc::clone(&context.progress);
    let tell = move |event: hako_deb::Event| match event {
        hako_deb::Event::Warning(text) => progress.event(Event::Warning { text }),
        event => progress.event(Event::Packages(event)),
    };
    let (wanted, http) = (request.clone(), context.client.http().clone());
    let store = context.store.clone();
    // Its future cannot go from thread to thread, so it gets one of its own.
    let made = blocking(move || {
        let image = hako_deb::image(&wanted, &options, &store, &http, &tell);
        Ok(tokio::runtime::Handle::current().block_on(image))
    });
    let made = made.await?.map_err(failed)?;
    Ok(Made {
        store: context.store.clone(),
        manifest: made.manifest,
        name: made.name,
    })
}

/// Debian's name for a platform's processor; none for another system.
fn architecture(platform: &Platform) -> Option<String> {
    let platform = platform.normalized();
    let name = match (platform.architecture.as_str(), platform.variant.as_deref()) {
        ("arm", Some("v5" | "v6")) => "armel",
        ("arm", _) => "armhf",
        ("386", _) => "i386",
        ("ppc64le", _) => "ppc64el",
        ("mips64le", _) => "mips64el",
        ("mipsle", _) => "mipsel",
        (same, _) => same,
    };
    (platform.os == "linux").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_in_debians_words() {
        for (platform, want) in [
            ("linux/amd64", Some("amd64")),
            ("linux/arm64/v8", Some("arm64")),
            ("linux/arm/v7", Some("armhf")),
            ("linux/arm/v6", Some("armel")),
            ("linux/386", Some("i386")),
            ("linux/ppc64le", Some("ppc64el")),
            ("linux/riscv64", Some("riscv64")),
            ("windows/amd64", None),
        ] {
            assert_eq!(
                architecture(&platform.parse().unwrap()).as_deref(),
                want,
                "{platform}"
            );
        }
    }
}
