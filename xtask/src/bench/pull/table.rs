//! What was measured, as tables and as JSON.

use serde_json::{Value, json};

use super::image::Image;
use super::peer::{Peer, Taken};
use crate::bench::{median, median_ratio};

/// All rounds of one peer with one image.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) rounds: Vec<Taken>,
}

impl Row {
    pub(super) fn new(peer: &Peer) -> Row {
        Row {
            name: peer.name.clone(),
            version: peer.version.clone(),
            rounds: Vec::new(),
        }
    }

    fn each(&self, what: impl Fn(&Taken) -> f64) -> Vec<f64> {
        self.rounds.iter().map(what).collect()
    }

    fn peak(&self) -> f64 {
        median(&self.each(|taken| taken.peak as f64 / (1024.0 * 1024.0)))
    }
}

/// The table of an image; the first row is what the others are compared with.
pub(super) fn print(rows: &[Row]) {
    println!(
        "  {:<22} {:<8} {:>15} {:>15} {:>8} {:>8} {:>9} {:>8}",
        "",
        "version",
        "wall s (min)",
        "CPU s (min)",
        "registry",
        "peak MiB",
        "hako/wall",
        "hako/CPU"
    );
    let Some(first) = rows.first() else { return };
    for row in rows {
        let pair = |what: fn(&Taken) -> f64| {
            let values = row.each(what);
            let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
            format!("{:.2} ({lowest:.2})", median(&values))
        };
        let ratio = |what: fn(&Taken) -> f64| median_ratio(&first.each(what), &row.each(what));
        println!(
            "  {:<22} {:<8} {:>15} {:>15} {:>8.2} {:>8.0} {:>9.2} {:>8.2}",
            row.name,
            row.version,
            pair(|taken| taken.wall),
            pair(|taken| taken.cpu),
            median(&row.each(|taken| taken.registry)),
            row.peak(),
            ratio(|taken| taken.wall),
            ratio(|taken| taken.cpu),
        );
    }
}

/// The same with each round, for programs.
pub(super) fn json(image: &Image, rows: &[Row]) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "name": row.name,
                "version": row.version,
                "wall_seconds": row.each(|taken| taken.wall),
                "cpu_seconds": row.each(|taken| taken.cpu),
                "registry_cpu_seconds": row.each(|taken| taken.registry),
                "peak_bytes": row.rounds.iter().map(|taken| taken.peak).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({ "image": image.name, "pullers": rows })
}
