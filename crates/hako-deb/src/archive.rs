//! An archive's suite, verified and open for lookups.

use crate::cache::{Cache, Signed};
use crate::error::{Error, Result};
use crate::fetch::Fetcher;
use crate::index::{self, Index};
use crate::openpgp::{Kind, Rings, cleartext, verify};
use crate::options::{Event, Options, Progress};
use crate::release::{self, IndexFile, Release};
use crate::sources::Source;
use std::io::Seek;
use std::time::SystemTime;

/// Most bytes of a release. Debian's have 200 KB, with all components and
/// architectures.
const LARGEST_RELEASE: u64 = 16 << 20;

/// Most bytes of a detached signature.
const LARGEST_SIGNATURE: u64 = 1 << 20;

/// Most bytes of an index as it is fetched.
const LARGEST_INDEX: u64 = 512 << 20;

/// A suite with its indexes for one architecture.
#[derive(Debug)]
pub struct Archive {
    /// Where it comes from.
    pub source: Source,
    /// What it says of itself.
    pub release: Release,
    /// The indexes of its components.
    pub indexes: Vec<Index>,
}

/// What opening needs.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) fetcher: Fetcher<'a>,
    pub(crate) cache: &'a Cache,
    pub(crate) options: &'a Options,
    pub(crate) architecture: &'a str,
    pub(crate) progress: Progress<'a>,
    pub(crate) rings: &'a Rings,
}

/// Opens a source. `None` where it is optional and the archive has no such
/// suite.
///
/// # Errors
/// The release cannot be fetched or does not satisfy the rules, or an index
/// is not what it promises.
pub(crate) async fn open(context: Context<'_>, source: &Source) -> Result<Option<Archive>> {
    let Some(release) = current_release(context, source).await? else {
        return Ok(None);
    };
    let mut indexes = Vec::new();
    let components: Vec<Option<&str>> = if source.is_flat() {
        vec![None]
    } else {
        source.components.iter().map(|c| Some(c.as_str())).collect()
    };
    let mut architectures = vec![context.architecture];
    if release.separate_all {
        architectures.push("all");
    }
    for component in components {
        let mut found = false;
        for architecture in &architectures {
            if let Some(file) = release.index(component, architecture) {
                found = true;
                indexes.push(open_index(context, source, &file).await?);
            }
        }
        if !found {
            let component = component.unwrap_or("the archive");
            (context.progress)(Event::Warning(format!(
                "{}: {} of {} has no packages for {}",
                source.origin, component, source.suite, context.architecture
            )));
        }
    }
    Ok(Some(Archive {
        source: source.clone(),
        release,
        indexes,
    }))
}

/// The release from the cache while it is fresh, else from the archive.
async fn current_release(context: Context<'_>, source: &Source) -> Result<Option<Release>> {
    let Context { options, cache, .. } = context;
    let url = source.release_url();
    let known = match cache.release(&url) {
        None => None,
        // What no longer satisfies the rules is fetched anew.
        Some((signed, age)) => accept(context, source, &signed)
            .ok()
            .map(|release| (signed, release, age)),
    };
    if let Some((_, release, age)) = &known
        && (options.offline || (!options.refresh && *age < options.max_age))
    {
        return Ok(Some(release.clone()));
    }
    let signed = match fetch_release(context, source).await {
        Ok(Some(signed)) => signed,
        Ok(None) if source.optional => {
            (context.progress)(Event::Warning(format!(
                "{url}: the archive has no such suite"
            )));
            return Ok(None);
        }
        Ok(None) => {
            return Err(Error::Release {
                url,
                reason: format!(
                    "the archive has neither InRelease nor Release with its signature ({})",
                    source.origin
                ),
            });
        }
        Err(error) => {
            return match known {
                Some((_, release, _))
                    if matches!(error, Error::Fetch { .. } | Error::Status { .. }) =>
                {
                    (context.progress)(Event::Warning(format!(
                        "{error}: the one fetched before is used"
                    )));
                    Ok(Some(release))
                }
                _ => Err(error),
            };
        }
    };
    if let Some((old, release, _)) = &known
        && *old == signed
    {
        cache.freshen_release(&url);
        return Ok(Some(release.clone()));
    }
    let release = accept(context, source, &signed)?;
    if let Some((_, old, _)) = &known
        && old.date > release.date
    {
        (context.progress)(Event::Warning(format!(
            "{url}: the archive now has an older release than before"
        )));
    }
    cache.keep_release(&url, &signed)?;
    Ok(Some(release))
}

async fn fetch_release(context: Context<'_>, source: &Source) -> Result<Option<Signed>> {
    let base = source.release_url();
    let url = format!("{base}InRelease");
    (context.progress)(Event::Release { url: url.clone() });
    if let Some(text) = context.fetcher.small(&url, LARGEST_RELEASE).await? {
        return Ok(Some(Signed {
            text,
            signature: None,
        }));
    }
    let Some(text) = context
        .fetcher
        .small(&format!("{base}Release"), LARGEST_RELEASE)
        .await?
    else {
        return Ok(None);
    };
    let signature = context
        .fetcher
        .small(&format!("{base}Release.gpg"), LARGEST_SIGNATURE)
        .await?;
    Ok(Some(Signed {
        text,
        signature: Some(signature.unwrap_or_default()),
    }))
}

/// Verifies a release and reads what was signed, and nothing else.
fn accept(context: Context<'_>, source: &Source, signed: &Signed) -> Result<Release> {
    let name = if signed.signature.is_none() {
        "InRelease"
    } else {
        "Release"
    };
    let url = format!("{}{name}", source.release_url());
    let refuse = |reason: String| Error::Signature {
        url: url.clone(),
        reason,
    };
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    if source.trusted == Some(false) {
        return Err(refuse(format!(
            "the source is marked as not trusted ({})",
            source.origin
        )));
    }
    let text =
        std::str::from_utf8(&signed.text).map_err(|_| refuse("it is not text".to_owned()))?;
    let (text, signature, kind) = match &signed.signature {
        None => {
            let message = cleartext::parse(text).map_err(|e| refuse(e.to_string()))?;
            (
                message.text,
                message.signature.into_bytes(),
                Kind::Cleartext,
            )
        }
        Some(signature) => (text.to_owned(), signature.clone(), Kind::Detached),
    };
    if source.trusted == Some(true) {
        (context.progress)(Event::Warning(format!(
            "{url}: the signature is not checked, the source says trusted=yes ({})",
            source.origin
        )));
    } else {
        let ring = context
            .rings
            .get(&source.signed_by, &context.options.keyrings)?;
        if ring.is_empty() {
            return Err(refuse(format!(
                "there is no keyring to check the signature with; install debian-archive-keyring or name one in the source ({})",
                source.origin
            )));
        }
        if kind == Kind::Detached && signature.is_empty() {
            return Err(refuse("it has no signature (Release.gpg)".to_owned()));
        }
        let clock = context.options.settings.check_date.then_some(now);
        verify(text.as_bytes(), &signature, kind, &ring, clock).map_err(refuse)?;
    }
    let wrong = |reason: String| Error::Release {
        url: url.clone(),
        reason,
    };
    let release = release::parse(&text).map_err(wrong)?;
    release
        .check(source, now, &context.options.settings)
        .map_err(wrong)?;
    Ok(release)
}

async fn open_index(context: Context<'_>, source: &Source, file: &IndexFile) -> Result<Index> {
    let base = source.release_url();
    let url = format!("{base}{}", file.path);
    let malformed = |reason| Error::Malformed {
        what: url.clone(),
        reason,
    };
    let key = file.plain.unwrap_or(file.packed).sha256;
    if let Some(index) = context.cache.index(&key).and_then(|f| Index::open(f).ok()) {
        return Ok(index);
    }
    if file.packed.size > LARGEST_INDEX {
        return Err(malformed(format!("it has more than {LARGEST_INDEX} bytes")));
    }
    let total = file.packed.size;
    let tell = |done| {
        (context.progress)(Event::Index {
            url: url.clone(),
            done,
            total,
        });
    };
    let by_hash = file.by_hash.iter().map(|path| format!("{base}{path}"));
    let mut found = None;
    for place in by_hash.chain(std::iter::once(url.clone())) {
        if let Some(file) = context
            .fetcher
            .file(&place, &file.packed, context.cache, &tell)
            .await?
        {
            found = Some(file);
            break;
        }
    }
    let Some(mut packed) = found else {
        return Err(Error::Status { url, status: 404 });
    };
    let (compression, plain) = (file.compression, file.plain);
    let compact = tokio::task::spawn_blocking(move || {
        packed.rewind().map_err(|e| e.to_string())?;
        let limit = plain.map_or(index::LARGEST, |p| p.size.min(index::LARGEST));
        let text = compression
            .decoder(packed.as_file(), limit)
            .map_err(|e| e.to_string())?;
        index::read(text, plain)
    })
    .await
    .map_err(|_| Error::Worker("read a package index"))?
    .map_err(malformed)?;
    let file = context.cache.keep_index(&key, &compact)?;
    // Read again with the checks of a file from the cache.
    drop(file);
    let file = context
        .cache
        .index(&key)
        .ok_or_else(|| malformed("it is gone from the cache".to_owned()))?;
    Index::open(file).map_err(|e| malformed(e.to_string()))
}
