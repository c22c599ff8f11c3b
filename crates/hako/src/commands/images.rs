//! `hako images`

use std::collections::BTreeMap;
use std::process::ExitCode;

use hako_engine::ListedImage;
use hako_spec::image::Image as Document;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::error::{CliError, Result};
use crate::filter::{self, Filters};
use crate::output::{self, age, rows, size};
use crate::places::App;

const COLUMNS: &str = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
const WITH_DIGESTS: &str =
    "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
const NONE: &str = "<none>";

/// List images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also images without a name
    #[arg(short, long)]
    all: bool,
    /// Ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Show the digests that the names stand for
    #[arg(long)]
    digests: bool,
    /// Show ids in full
    #[arg(long)]
    no_trunc: bool,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Those alone that fit: dangling, label or reference
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Those of this repository alone, or with this name; * stands for any text
    #[arg(value_name = "REPOSITORY[:TAG]")]
    repository: Option<String>,
}

pub(crate) fn run(app: &App, args: &Args) -> Result {
    let filters = Filters::parse(&args.filter, &["dangling", "label", "reference"])?;
    if !filters.fits_all("dangling", |v| v.parse::<bool>().is_ok()) {
        return Err(CliError::new(
            "--filter dangling: it is neither true nor false",
        ));
    }
    let columns = if args.digests { WITH_DIGESTS } else { COLUMNS };
    let format = rows::format(args.format.as_deref(), columns)?;
    let dangling = filters.has("dangling") && filters.fits("dangling", |v| v == "true");
    let mut found = Vec::new();
    for listed in app.engine.images(args.all || dangling)? {
        let named = listed.reference.is_some();
        let fits = filters.fits("dangling", |v| (v == "true") != named)
            && filters.fits("reference", |pattern| is_called(&listed, pattern))
            && args
                .repository
                .as_ref()
                .is_none_or(|pattern| is_called(&listed, pattern))
            && (!filters.has("label") || has_labels(app, &listed, &filters)?);
        if fits {
            found.push(listed);
        }
    }
    if args.quiet && args.format.is_none() {
        let mut text = String::new();
        let mut seen = std::collections::BTreeSet::new();
        for listed in found
            .iter()
            .filter(|listed| seen.insert(listed.image.id.clone()))
        {
            text.push_str(&format!("{}\n", id(listed, args.no_trunc)));
        }
        output::write(text.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let list: Vec<Value> = found
        .iter()
        .map(|listed| row(listed, args.no_trunc, now))
        .collect();
    rows::print(&format, &headers(), &list)?;
    Ok(ExitCode::SUCCESS)
}

fn headers() -> Value {
    json!({
        "ID": "IMAGE ID", "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST",
        "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "Size": "SIZE",
        "Platform": "PLATFORM", "Containers": "CONTAINERS",
    })
}

fn id(listed: &ListedImage, full: bool) -> String {
    let id = &listed.image.id;
    if full {
        id.to_string()
    } else {
        id.hex().get(..12).unwrap_or(id.hex()).to_owned()
    }
}

fn row(listed: &ListedImage, full: bool, now: Timestamp) -> Value {
    let created = listed.image.created.as_deref().unwrap_or_default();
    let reference = listed.reference.as_ref();
    let tag = reference.and_then(|name| name.tag.clone());
    let size = size::human(listed.image.size);
    json!({
        "ID": id(listed, full),
        "Repository": reference.map_or_else(|| NONE.to_owned(), |name| name.familiar_name()),
        "Tag": tag.unwrap_or_else(|| NONE.to_owned()),
        "Digest": listed.target.as_ref().map_or_else(|| NONE.to_owned(), |t| t.digest.to_string()),
        "CreatedSince": match age::ago(created, now) {
            none if none.is_empty() => "N/A".to_owned(),
            ago => ago,
        },
        "CreatedAt": age::at(created),
        "Size": size,
        "VirtualSize": size,
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "Containers": "N/A",
        "Platform": listed.image.platform.to_string(),
    })
}

/// Whether a pattern fits the image's name, short or in full, with its tag or
/// without.
fn is_called(listed: &ListedImage, pattern: &str) -> bool {
    let Some(name) = &listed.reference else {
        return false;
    };
    let (short, full) = (name.familiar(), name.to_string());
    let forms = [name.familiar_name(), name.name(), short, full];
    forms.iter().any(|form| filter::glob(pattern, form))
}

fn has_labels(app: &App, listed: &ListedImage, filters: &Filters) -> Result<bool> {
    let bytes = app
        .engine
        .store()
        .blobs()
        .read(&listed.image.id, Document::MAX_LEN as u64)?;
    let labels: BTreeMap<String, String> = Document::from_slice(&bytes)?
        .config
        .map(|config| config.labels)
        .unwrap_or_default();
    Ok(filters.fits_all("label", |wanted| filter::label(&labels, wanted)))
}
