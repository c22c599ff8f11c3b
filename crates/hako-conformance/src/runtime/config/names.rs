//! "Hostname" and "Domainname".

use serde_json::{Value, json};

use super::support::invalid;
use crate::check::{Check, Verdict, demand};
use crate::probe::Step;
use crate::runtime::trial::Trial;

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "hostname.inside",
        "config.md#hostname",
        "Inside the host name is hostname, and outside it is as before.",
        |bench| {
            let trial = Trial::new(bench, &[Step::Uname])?;
            named(trial, "hostname", "nodename")
        },
    ),
    Check::must(
        "hostname.too-long",
        "config.md#hostname",
        "A hostname that the kernel cannot take is an error.",
        |bench| invalid(bench, |config| config["hostname"] = json!("x".repeat(65))),
    ),
    Check::must(
        "domainname.inside",
        "config.md#domainname",
        "Inside the domain name is domainname, and outside it is as before.",
        |bench| {
            let trial = Trial::of(bench, "1.1.0", &[Step::Uname])?;
            named(trial, "domainname", "domainname")
        },
    ),
    Check::must(
        "domainname.too-long",
        "config.md#domainname",
        "A domainname that the kernel cannot take is an error.",
        |bench| {
            let trial = Trial::of(bench, "1.1.0", &[])?
                .edit(|config| config["domainname"] = json!("x".repeat(65)));
            trial.does_not_start()?;
            trial.passed()
        },
    ),
];

fn named(trial: Trial<'_>, property: &str, name: &str) -> Verdict {
    let wanted = "the-name.hako.test";
    let outside = || {
        let names = rustix::system::uname();
        let domain = names.domainname().to_string_lossy().into_owned();
        (names.nodename().to_string_lossy().into_owned(), domain)
    };
    let before = outside();
    let trial = trial.edit(|config: &mut Value| config[property] = json!(wanted));
    let seen = trial.live()?;
    let found = &seen.value(0)?[name];
    demand(found == wanted, || format!("the {property} is {found}"))?;
    let after = outside();
    demand(after == before, || {
        format!("outside the names were {before:?} and are {after:?}")
    })?;
    trial.passed()
}
