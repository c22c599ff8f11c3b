//! Values of flags that have a grammar of their own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use crate::error::{CliError, Result};

/// What `--security-opt` says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Security {
    /// Set no_new_privs.
    pub(crate) no_new_privileges: bool,
    /// A profile: a file, or `unconfined`.
    pub(crate) seccomp: Option<String>,
}

impl Security {
    /// Reads the options; `warn` hears of those that have no effect.
    pub(crate) fn parse(options: &[String], warn: impl Fn(&str)) -> Result<Self> {
        let mut all = Security::default();
        for text in options {
            // Docker takes a colon, too.
            let (name, value) = match text.split_once('=').or_else(|| text.split_once(':')) {
                Some((name, value)) => (name, Some(value)),
                None => (text.as_str(), None),
            };
            match (name, value) {
                ("no-new-privileges", None | Some("true")) => all.no_new_privileges = true,
                ("no-new-privileges", Some("false")) => all.no_new_privileges = false,
                ("seccomp", Some(profile)) if !profile.is_empty() => {
                    all.seccomp = Some(profile.to_owned());
                }
                ("apparmor", Some("unconfined")) | ("label", Some("disable")) => {
                    warn(&format!(
                        "--security-opt {text}: there is nothing to switch off"
                    ));
                }
                _ => {
                    return Err(
                        CliError::new(format!("--security-opt {text:?}: not supported")).hint(
                            "there are no-new-privileges, seccomp=FILE and seccomp=unconfined",
                        ),
                    );
                }
            }
        }
        Ok(all)
    }
}

/// `NAME=VALUE` texts; with `bare`, a name alone has the empty value.
pub(crate) fn pairs(flag: &str, texts: &[String], bare: bool) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for text in texts {
        let (name, value) = match text.split_once('=') {
            Some(pair) => pair,
            None if bare => (text.as_str(), ""),
            None => {
                return Err(CliError::new(format!(
                    "{flag} {text:?}: it is not NAME=VALUE"
                )));
            }
        };
        if name.is_empty() {
            return Err(CliError::new(format!("{flag} {text:?}: it has no name")));
        }
        all.insert(name.to_owned(), value.to_owned());
    }
    Ok(all)
}

/// `HOST:ADDRESS` or `HOST=ADDRESS`; an IPv6 address may stand in brackets.
pub(crate) fn host(text: &str) -> Result<(String, IpAddr)> {
    let wrong = |why: &str| CliError::new(format!("--add-host {text:?}: {why}"));
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .filter(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace))
        .ok_or_else(|| wrong("it is not HOST:ADDRESS"))?;
    if address == "host-gateway" {
        return Err(wrong("host-gateway is not supported yet"));
    }
    let bare = address
        .strip_prefix('[')
        .and_then(|a| a.strip_suffix(']'))
        .unwrap_or(address);
    let address = bare.parse().map_err(|_| wrong("the address is not one"))?;
    Ok((name.to_owned(), address))
}

/// The lines of a file of variables: `#` begins a comment line, a bare name
/// takes its value from here.
pub(crate) fn env_file(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| CliError::from(e).context(format!("cannot read {}", path.display())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut all = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.is_empty() || name.contains(char::is_whitespace) {
            let number = number + 1;
            let path = path.display();
            return Err(CliError::new(format!(
                "{path}:{number}: {name:?} is no variable's name"
            )));
        }
        all.push(line.to_owned());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn security(texts: &[&str]) -> Result<Security> {
        let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
        Security::parse(&texts, |_| {})
    }

    #[test]
    fn security_options() {
        let both = security(&["no-new-privileges", "seccomp=/x.json"]).unwrap();
        assert_eq!(
            both,
            Security {
                no_new_privileges: true,
                seccomp: Some("/x.json".into())
            }
        );
        assert!(
            security(&["no-new-privileges:true"])
                .unwrap()
                .no_new_privileges
        );
        assert_eq!(
            security(&["seccomp:unconfined"]).unwrap().seccomp.unwrap(),
            "unconfined"
        );
        assert!(security(&["label=disable"]).is_ok());
        for bad in [
            "",
            "seccomp",
            "seccomp=",
            "apparmor=x",
            "no-new-privileges=2",
            "mask=/x",
        ] {
            assert!(security(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts() {
        assert_eq!(host("a:10.0.0.1").unwrap().1.to_string(), "10.0.0.1");
        assert_eq!(host("a:::1").unwrap().1.to_string(), "::1");
        assert_eq!(host("a=[fe80::1]").unwrap().1.to_string(), "fe80::1");
        for bad in ["a", ":1.2.3.4", "a:b", "a b:1.2.3.4", "a:host-gateway"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_of_variables() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        std::fs::write(&path, "# comment\n\nA=1 # not one\n  B\nC=x=y\n").unwrap();
        assert_eq!(env_file(&path).unwrap(), ["A=1 # not one", "B", "C=x=y"]);
        std::fs::write(&path, "A=1\nB C=1\n").unwrap();
        assert!(env_file(&path).unwrap_err().line().contains("env:2"));
        assert!(env_file(&dir.path().join("none")).is_err());
    }

    #[test]
    fn labels() {
        let texts = ["a=1=2".to_owned(), "b".to_owned()];
        let labels = pairs("--label", &texts, true).unwrap();
        assert_eq!((labels["a"].as_str(), labels["b"].as_str()), ("1=2", ""));
        assert!(pairs("--annotation", &texts, false).is_err());
        assert!(pairs("--label", &["=x".to_owned()], true).is_err());
    }
}
