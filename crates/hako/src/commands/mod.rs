//! The verbs, one file each.

pub(crate) mod attach;
pub(crate) mod bundle;
pub(crate) mod check;
pub(crate) mod conformance;
pub(crate) mod container;
pub(crate) mod create;
pub(crate) mod each;
pub(crate) mod exec;
pub(crate) mod images;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod internal;
pub(crate) mod kill;
pub(crate) mod logs;
pub(crate) mod prune;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod rm;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod tag;
pub(crate) mod version;
pub(crate) mod wait;

use crate::cli::{Bundle, Cli, Conformance, Container, Image, Internal, System, Verb};
use crate::error::Result;
use crate::places;

/// Does what the command line says.
pub(crate) fn dispatch(cli: Cli) -> Result {
    let open = || places::open(cli.global.clone());
    // Some verbs need no installation, and work where there can be none.
    match cli.verb {
        Verb::Run(args) | Verb::Container(Container::Run(args)) => run::run(&open()?, *args),
        Verb::Create(args) | Verb::Container(Container::Create(args)) => {
            create::run(&open()?, &args)
        }
        Verb::Start(args) | Verb::Container(Container::Start(args)) => start::run(&open()?, &args),
        Verb::Attach(args) | Verb::Container(Container::Attach(args)) => {
            attach::run(&open()?, &args)
        }
        Verb::Ps(args) | Verb::Container(Container::Ls(args)) => ps::run(&open()?, &args),
        Verb::Logs(args) | Verb::Container(Container::Logs(args)) => logs::run(&open()?, &args),
        Verb::Exec(args) | Verb::Container(Container::Exec(args)) => exec::run(&open()?, args),
        Verb::Stop(args) | Verb::Container(Container::Stop(args)) => stop::run(&open()?, &args),
        Verb::Kill(args) | Verb::Container(Container::Kill(args)) => kill::run(&open()?, &args),
        Verb::Wait(args) | Verb::Container(Container::Wait(args)) => wait::run(&open()?, &args),
        Verb::Rm(args) | Verb::Container(Container::Rm(args)) => rm::run(&open()?, &args),
        Verb::Container(Container::Inspect(args)) => {
            inspect::run(&open()?, &args, inspect::Only::Containers)
        }
        Verb::Image(Image::Inspect(args)) => inspect::run(&open()?, &args, inspect::Only::Images),
        Verb::Inspect(args) => inspect::run(&open()?, &args, inspect::Only::Any),
        Verb::Images(args) | Verb::Image(Image::Ls(args)) => images::run(&open()?, &args),
        Verb::Pull(args) | Verb::Image(Image::Pull(args)) => pull::run(&open()?, &args),
        Verb::Rmi(args) | Verb::Image(Image::Rm(args)) => rmi::run(&open()?, &args),
        Verb::Tag(args) | Verb::Image(Image::Tag(args)) => tag::run(&open()?, &args),
        Verb::Info(args) | Verb::System(System::Info(args)) => info::run(&open()?, &args),
        Verb::Container(Container::Prune(args)) => prune::containers(&open()?, &args),
        Verb::Image(Image::Prune(args)) => prune::images(&open()?, &args),
        Verb::System(System::Prune(args)) => prune::system(&open()?, &args),
        Verb::System(System::Check(args)) => check::run(&open()?, &args),
        Verb::Conformance(Conformance::Runtime(args)) => conformance::runtime(&args),
        Verb::Conformance(Conformance::Bundle(args)) | Verb::Bundle(Bundle::Validate(args)) => {
            bundle::run(&args)
        }
        Verb::Bundle(Bundle::Generate(args)) => bundle::generate::run(&cli.global, &args),
        Verb::Version(args) => version::run(&cli.global, &args),
        Verb::Internal(Internal::Settle) => internal::settle(&open()?),
        Verb::Internal(Internal::OnEvent { event, id }) => {
            internal::on_event(&open()?, &event, &id)
        }
        Verb::Internal(Internal::Man { dir }) => internal::man(&dir),
        Verb::Internal(Internal::Completions { shell }) => internal::completions(shell),
    }
}
