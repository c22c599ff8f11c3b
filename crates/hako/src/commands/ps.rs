//! `hako ps`

use std::process::ExitCode;

use hako_engine::{Container, Filter, Phase, VolumeSource};
use hako_spec::reference::Reference;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::error::Result;
use crate::filter::{self, Filters};
use crate::output::{self, age, rows};
use crate::places::App;

const COLUMNS: &str =
    "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

const FILTERS: &[&str] = &[
    "ancestor", "exited", "id", "label", "name", "network", "status",
];

/// List containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,
    /// Ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Show ids and commands in full
    #[arg(long)]
    no_trunc: bool,
    /// The newest alone, running or not
    #[arg(short, long)]
    latest: bool,
    /// The newest so many, running or not
    #[arg(short = 'n', long, value_name = "NUMBER")]
    last: Option<usize>,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Those alone that fit: ancestor, exited, id, label, name, network or status
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

pub(crate) fn run(app: &App, args: &Args) -> Result {
    let filters = Filters::parse(&args.filter, FILTERS)?;
    let format = rows::format(args.format.as_deref(), COLUMNS)?;
    let last = args.last.or(args.latest.then_some(1));
    // A question after a state is about all containers.
    let all = args.all || last.is_some() || filters.has("status") || filters.has("exited");
    let mut found = app
        .engine
        .containers(if all { Filter::All } else { Filter::Running })?;
    found.retain(|c| fits(app, c, &filters));
    found.truncate(last.unwrap_or(usize::MAX));
    if args.quiet && args.format.is_none() {
        let ids: String = found
            .iter()
            .map(|c| format!("{}\n", id(c, args.no_trunc)))
            .collect();
        output::write(ids.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let list: Vec<Value> = found.iter().map(|c| row(c, args.no_trunc, now)).collect();
    rows::print(&format, &headers(), &list)?;
    Ok(ExitCode::SUCCESS)
}

fn headers() -> Value {
    json!({
        "ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "RunningFor": "CREATED",
        "CreatedAt": "CREATED AT", "Status": "STATUS", "Ports": "PORTS", "Names": "NAMES",
        "State": "STATE", "Labels": "LABELS", "Mounts": "MOUNTS", "Networks": "NETWORKS",
        "LocalVolumes": "LOCAL VOLUMES", "Size": "SIZE", "Pid": "PID", "ExitCode": "EXIT CODE",
    })
}

fn id(c: &Container, full: bool) -> &str {
    if full { c.id() } else { c.short_id() }
}

fn row(c: &Container, full: bool, now: Timestamp) -> Value {
    let (r, o) = (&c.record, &c.record.options);
    let labels: Vec<String> = r
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mounts: Vec<&str> = o
        .volumes
        .iter()
        .map(|v| match &v.source {
            VolumeSource::Path(path) => path.as_str(),
            VolumeSource::Named(name) => name.as_str(),
            VolumeSource::Anonymous => v.target.as_str(),
        })
        .collect();
    let volumes = o
        .volumes
        .iter()
        .filter(|v| !matches!(v.source, VolumeSource::Path(_)))
        .count();
    json!({
        "ID": id(c, full),
        "Image": r.image_name,
        "Command": command(&r.args, full),
        "CreatedAt": age::at(&r.created),
        "RunningFor": age::ago(&r.created, now),
        "Ports": "",
        "State": c.state.phase.word(),
        "Status": status(c, now),
        "Names": r.name,
        "Labels": labels.join(","),
        "Mounts": mounts.join(","),
        "Networks": network(c),
        "LocalVolumes": volumes.to_string(),
        "Size": "0B",
        "Pid": c.state.pid.unwrap_or(0),
        "ExitCode": c.state.exit_code.unwrap_or(0),
    })
}

fn network(c: &Container) -> String {
    match &c.state.network {
        Some(attachment) => attachment.network.clone(),
        None => c.record.options.network.to_string(),
    }
}

/// The command in quotes, cut after 20 characters.
fn command(args: &[String], full: bool) -> String {
    let text: String = args
        .join(" ")
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if full || text.chars().count() <= 20 {
        return format!("\"{text}\"");
    }
    let start: String = text.chars().take(19).collect();
    format!("\"{start}…\"")
}

/// `Up 3 seconds`, `Exited (0) 2 minutes ago`.
fn status(c: &Container, now: Timestamp) -> String {
    let moment = |text: &Option<String>| text.as_deref().and_then(|t| age::since(t, now));
    match c.state.phase {
        Phase::Created => "Created".to_owned(),
        Phase::Starting => "Starting".to_owned(),
        Phase::Removing => "Removal In Progress".to_owned(),
        Phase::Running => match moment(&c.state.started) {
            Some(duration) => format!("Up {}", age::words(duration)),
            None => "Up".to_owned(),
        },
        Phase::Exited => {
            let code = c
                .state
                .exit_code
                .map_or_else(|| "unknown".to_owned(), |c| c.to_string());
            match moment(&c.state.finished) {
                Some(duration) => format!("Exited ({code}) {} ago", age::words(duration)),
                None => format!("Exited ({code})"),
            }
        }
    }
}

fn fits(app: &App, c: &Container, filters: &Filters) -> bool {
    let r = &c.record;
    filters.fits("id", |id| r.id.starts_with(id))
        && filters.fits("name", |name| filter::name(&r.name, name))
        && filters.fits_all("label", |label| filter::label(&r.labels, label))
        && filters.fits("status", |status| c.state.phase.word() == status)
        && filters.fits("network", |name| network(c) == name)
        && filters.fits("exited", |code| {
            c.state.phase == Phase::Exited
                && c.state
                    .exit_code
                    .is_some_and(|exit| exit.to_string() == code)
        })
        && filters.fits("ancestor", |image| is_ancestor(app, c, image))
}

/// Whether the container is of that image: by name, id, or what the name means
/// now.
fn is_ancestor(app: &App, c: &Container, image: &str) -> bool {
    let r = &c.record;
    let same = |name: &str| Reference::parse(name).ok().map(Reference::or_latest);
    let name = same(image);
    r.image_name == image
        || name.is_some() && name == same(&r.image_name)
        || r.image
            .hex()
            .starts_with(image.trim_start_matches("sha256:"))
            && image.len() >= 4
        || app
            .engine
            .image(image, None)
            .is_ok_and(|found| found.image.id == r.image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_quoted_and_cut() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(command(&words("sleep 60"), false), "\"sleep 60\"");
        assert_eq!(
            command(&words("12345678901234567890"), false),
            "\"12345678901234567890\""
        );
        assert_eq!(
            command(&words("123456789012345678901"), false),
            "\"1234567890123456789…\""
        );
        assert_eq!(
            command(&words("123456789012345678901"), true),
            "\"123456789012345678901\""
        );
        assert_eq!(command(&["a\nb".to_owned()], true), "\"a\u{fffd}b\"");
    }
}
