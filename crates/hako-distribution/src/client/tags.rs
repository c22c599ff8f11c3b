//! The list of a repository's tags (end-8a, end-8b).

use hako_spec::reference::Reference;
use reqwest::Method;
use serde::Deserialize;

use super::{Client, link};
use crate::error::{Error, Result};
use crate::registries::Place;

/// The longest page, in bytes.
const PAGE_LIMIT: u64 = 16 * 1024 * 1024;
/// The most tags that are read of one repository.
const TAG_LIMIT: usize = 1_000_000;
/// The most pages.
const PAGES: usize = 10_000;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Client {
    /// All tags of the reference's repository, in the registry's order.
    ///
    /// # Errors
    /// Refusals and transport errors; a list without end.
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<String>> {
        let what = format!(
            "list tags of {}/{}",
            reference.registry, reference.repository
        );
        let places = self.places(&what, reference)?;
        first!(self, &what, &places, |place| self.tags_at(&what, place))
    }

    async fn tags_at(&self, what: &str, place: &Place) -> Result<Vec<String>> {
        let mut tags: Vec<String> = Vec::new();
        let mut path = format!("/v2/{}/tags/list", place.repository);
        for _ in 0..PAGES {
            let response = self
                .ask(what, place, Method::GET, &path, |request| request)
                .await?;
            let response = response.success().await?;
            let next = response
                .header("link")
                .and_then(link::next)
                .map(str::to_owned);
            let url = response.url().clone();
            let same = response.is_same_origin();
            let body = response.bytes(PAGE_LIMIT).await?;
            let page: Page = serde_json::from_slice(&body)
                .map_err(|error| Error::protocol(what, format!("not a list of tags: {error}")))?;
            tags.extend(page.tags.unwrap_or_default());
            if tags.len() > TAG_LIMIT {
                return Err(Error::protocol(what, format!("more than {TAG_LIMIT} tags")));
            }
            let Some(next) = next else { return Ok(tags) };
            let next = url
                .join(&next)
                .ok()
                .filter(|next| same && next.origin() == url.origin())
                .ok_or_else(|| Error::protocol(what, "the list goes on at another host"))?;
            let mut next_path = next.path().to_owned();
            if let Some(query) = next.query() {
                next_path.push('?');
                next_path.push_str(query);
            }
            if next_path == path {
                return Err(Error::protocol(what, "the list goes on with the same page"));
            }
            path = next_path;
        }
        Err(Error::protocol(
            what,
            format!("more than {PAGES} pages of tags"),
        ))
    }
}
