//! `pull ROOT SOURCE`: brings an image into the store at ROOT and says what it
//! is and how long that took.

#![allow(clippy::print_stdout, reason = "an example talks")]

use std::sync::Arc;
use std::time::Instant;

use hako_distribution::auth::Keychain;
use hako_distribution::http::Http;
use hako_distribution::registries::Registries;
use hako_distribution::{Client, Environment, client};
use hako_snapshot::Snapshotter;
use hako_store::{Owner, Store};
use hako_transfer::{Context, Options, Policy, Silent, Source, pull};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: pull ROOT SOURCE";
    let (root, source) = (
        arguments.next().ok_or(usage)?,
        arguments.next().ok_or(usage)?,
    );
    let start = Instant::now();
    let environment = Environment::current();
    let registries = Registries::load(&environment, 0)?;
    let source = Source::parse(&source, &registries)?;
    let keychain = Keychain::new(None, &environment, 0);
    let policy = Policy::load(&environment, 0)?;
    let options = client::Options {
        keychain,
        registries,
        environment,
        insecure: false,
    };
    let store = Store::open(root.as_ref())?;
    let context = Context {
        snapshotter: Some(Arc::new(Snapshotter::open(&store, false)?)),
        store,
        client: Client::new(Http::default(), options),
        policy,
        progress: Arc::new(Silent),
        owner: Owner::Cli(0),
        packages: None,
    };
    let pulled = pull(&source, &context, &Options::default()).await?;
    let names: Vec<String> = pulled.names.iter().map(ToString::to_string).collect();
    println!("{} is {}", names.join(", "), pulled.image.id);
    println!(
        "{} layers, {} bytes",
        pulled.layers.len(),
        pulled.image.size
    );
    println!(
        "new: {}, {:.3} s",
        pulled.is_new,
        start.elapsed().as_secs_f64()
    );
    Ok(())
}
