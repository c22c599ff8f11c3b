//! From a request to the packages: sources, choice, downloads.

use crate::archive::{self, Archive, Context};
use crate::error::{Error, Result};
use crate::options::Event;
use crate::release::{Promise, Release};
use crate::request::Request;
use crate::resolve::{self, Candidate};
use crate::sources;
use crate::universe::{Choice, Member};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeSet;
use std::fs::File;

/// Downloads at the same time.
const AT_ONCE: usize = 6;

/// Opens the sources and chooses the packages.
///
/// # Errors
/// A source cannot be opened, or the packages cannot be had.
pub(super) async fn choose(
    request: &Request,
    context: Context<'_>,
) -> Result<(Vec<Member>, Vec<Candidate>)> {
    let members = open_all(request, context).await?;
    match solve(request, &members, context.architecture) {
        Err(Error::DamagedIndex { what }) => {
            (context.progress)(Event::Warning(format!(
                "{what}: the cached index is damaged and made anew"
            )));
            context.cache.forget_indexes();
            let members = open_all(request, context).await?;
            let plan = solve(request, &members, context.architecture)?;
            Ok((members, plan))
        }
        other => other.map(|plan| (members, plan)),
    }
}

/// Opens the sources of all releases that are asked for.
async fn open_all(request: &Request, context: Context<'_>) -> Result<Vec<Member>> {
    let (configured, passed_over) = sources::read(&context.options.sources, context.architecture)?;
    for text in passed_over {
        (context.progress)(Event::Warning(text));
    }
    let mut wanted: BTreeSet<Option<&str>> = request
        .items()
        .iter()
        .map(|i| i.release.as_deref())
        .collect();
    if wanted.is_empty() {
        wanted.insert(None);
    }
    let mut all = Vec::new();
    for release in wanted {
        let sources = match release {
            None => configured.clone(),
            Some(release) => sources::for_release(&configured, release),
        };
        if sources.is_empty() {
            return Err(Error::NoSources {
                reason: format!(
                    "none of them can have the release {}",
                    release.unwrap_or_default()
                ),
            });
        }
        all.extend(
            sources
                .into_iter()
                .map(|source| (source, release.map(str::to_owned))),
        );
    }
    let members: Vec<Option<Member>> = stream::iter(all)
        .map(|(source, release)| async move {
            let archive = archive::open(context, &source).await?;
            Ok::<_, Error>(archive.map(|archive| Member { archive, release }))
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let members: Vec<Member> = members.into_iter().flatten().collect();
    for release in request.releases() {
        if !members
            .iter()
            .any(|m| m.release.as_deref() == Some(release))
        {
            return Err(Error::Unresolvable(format!(
                "no configured archive has the release {release}"
            )));
        }
    }
    Ok(members)
}

/// Chooses the packages.
fn solve(request: &Request, members: &[Member], architecture: &str) -> Result<Vec<Candidate>> {
    let choice = Choice::new(members);
    let goals = choice.goals(request)?;
    let found = resolve::resolve(&choice, &goals, architecture)?;
    Ok(found
        .iter()
        .map(|candidate| (**candidate).clone())
        .collect())
}

/// The release that the image is called after: that of the first package
/// that was asked for, in its base suite where updates are separate.
pub(super) fn basis<'a>(
    request: &Request,
    members: &'a [Member],
    plan: &[Candidate],
) -> &'a Release {
    let asked = request
        .items()
        .iter()
        .find_map(|item| plan.iter().find(|c| c.package.name == item.name));
    let own = asked.or(plan.first()).and_then(|c| members.get(c.origin));
    let main = own.and_then(|own| {
        let codename = own.archive.release.codename.as_deref()?;
        let base = codename.split('-').next()?;
        members
            .iter()
            .map(|m| &m.archive)
            .find(|a: &&Archive| a.release.codename.as_deref() == Some(base))
    });
    static NOTHING: std::sync::LazyLock<Release> = std::sync::LazyLock::new(Release::default);
    main.or(own.map(|m| &m.archive))
        .map_or(&NOTHING, |archive| &archive.release)
}

/// The packages' files, in the plan's order.
pub(super) async fn fetch_all(
    plan: &[Candidate],
    members: &[Member],
    context: Context<'_>,
) -> Result<Vec<File>> {
    let promise = |candidate: &Candidate| Promise {
        size: candidate.package.size,
        sha256: candidate.package.sha256,
    };
    let cached: Vec<Option<File>> = plan
        .iter()
        .map(|c| context.cache.package(&promise(c)))
        .collect();
    let missing = plan.iter().zip(&cached).filter(|(_, file)| file.is_none());
    (context.progress)(Event::Resolved {
        packages: plan.len(),
        fetch: missing.map(|(c, _)| c.package.size).sum(),
    });
    stream::iter(plan.iter().zip(cached))
        .map(|(candidate, cached)| async move {
            if let Some(file) = cached {
                return Ok(file);
            }
            let package = &candidate.package;
            let url = url(candidate, members);
            let tell = |done| {
                (context.progress)(Event::Package {
                    name: package.name.clone(),
                    done,
                    total: package.size,
                });
            };
            let promise = promise(candidate);
            let fetched = context
                .fetcher
                .file(&url, &promise, context.cache, &tell)
                .await?;
            let file = fetched.ok_or(Error::Status { url, status: 404 })?;
            context.cache.keep_package(&promise, file)
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// Where a package is.
pub(super) fn url(candidate: &Candidate, members: &[Member]) -> String {
    let base = members
        .get(candidate.origin)
        .map(|member| member.archive.source.uri.as_str());
    format!(
        "{}/{}",
        base.unwrap_or_default(),
        candidate.package.filename
    )
}
