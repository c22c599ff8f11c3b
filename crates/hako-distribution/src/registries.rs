//! `registries.conf` (containers-registries.conf(5), version 2): mirrors,
//! blocked and insecure registries, other locations, aliases of short names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hako_spec::reference::Reference;
use serde::Deserialize;

use crate::environment::Environment;
use crate::error::{Error, Result};

/// The longest file, in bytes.
const LIMIT: u64 = 1024 * 1024;

/// Where a repository may be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Host with an optional port.
    pub registry: String,
    /// The repository there.
    pub repository: String,
    /// Plain HTTP and unproven certificates are allowed.
    pub insecure: bool,
    /// Whether tags may be looked up here.
    pub has_tags: bool,
    /// Whether content may be asked for by digest here.
    pub has_digests: bool,
}

impl Place {
    /// The registry itself.
    pub(crate) fn primary(registry: &str, repository: &str, insecure: bool) -> Self {
        Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            insecure,
            has_tags: true,
            has_digests: true,
        }
    }
}

/// The user's or the machine's settings.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    entries: Vec<Entry>,
    aliases: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Document {
    #[serde(default, rename = "registry")]
    entries: Vec<Entry>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default, rename = "mirror")]
    mirrors: Vec<Mirror>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: Option<Pull>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Pull {
    All,
    DigestOnly,
    TagOnly,
}

impl Registries {
    /// The settings of `environment`: `$CONTAINERS_REGISTRIES_CONF`, or the
    /// user's file, or the machine's; then the snippets of
    /// `registries.conf.d`, whose later files win. Files that are not there
    /// are no error.
    ///
    /// # Errors
    /// A file that is unreadable or broken.
    pub fn load(environment: &Environment, uid: u32) -> Result<Self> {
        let config = environment
            .path("XDG_CONFIG_HOME")
            .or_else(|| environment.home(uid).map(|home| home.join(".config")));
        let user = config.map(|config| config.join("containers"));
        let machine = PathBuf::from("/etc/containers");
        let mut all = Self::default();
        if let Some(path) = environment.path("CONTAINERS_REGISTRIES_CONF") {
            all.read(&path)?;
            return Ok(all);
        }
        let own = user.as_ref().map(|user| user.join("registries.conf"));
        match own.filter(|path| path.exists()) {
            Some(path) => all.read(&path)?,
            None => all.read(&machine.join("registries.conf"))?,
        }
        for directory in [Some(&machine), user.as_ref()].into_iter().flatten() {
            let mut files: Vec<PathBuf> = std::fs::read_dir(directory.join("registries.conf.d"))
                .map(|files| files.flatten().map(|file| file.path()).collect())
                .unwrap_or_default();
            files.retain(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "conf")
            });
            files.sort();
            for path in files {
                all.read(&path)?;
            }
        }
        Ok(all)
    }

    fn read(&mut self, path: &Path) -> Result<()> {
        use std::io::Read as _;
        let failed = |source| Error::CredentialsFile {
            path: path.to_owned(),
            source,
        };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let mut text = String::new();
        file.take(LIMIT).read_to_string(&mut text).map_err(failed)?;
        self.add(&text).map_err(|reason| Error::Credentials {
            path: path.to_owned(),
            reason,
        })
    }

    /// Adds the settings of a file; an entry with a prefix that is there
    /// already takes its place.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let document: Document =
            toml::from_str(text).map_err(|error| error.message().to_owned())?;
        for mut entry in document.entries {
            if entry.prefix.is_empty() {
                entry.prefix.clone_from(&entry.location);
            }
            if entry.prefix.is_empty() {
                return Err("a registry has neither prefix nor location".to_owned());
            }
            self.entries.retain(|old| old.prefix != entry.prefix);
            self.entries.push(entry);
        }
        self.aliases.extend(document.aliases);
        Ok(())
    }

    /// Reads a reference as a person writes it: a name without a registry is
    /// an alias if there is one, else Docker Hub's.
    ///
    /// # Errors
    /// The text is no reference.
    pub fn reference(&self, text: &str) -> Result<Reference, hako_spec::Error> {
        let plain = Reference::parse(text)?;
        let end = text.find(['@', ':']).unwrap_or(text.len());
        let (name, suffix) = text.split_at(end);
        let alias = self.aliases.get(name).filter(|alias| !alias.is_empty());
        // `docker.io/debian` says where it is; `debian` does not.
        match alias.filter(|_| plain.familiar_name() == name) {
            Some(alias) => Reference::parse(&format!("{alias}{suffix}")),
            None => Ok(plain),
        }
    }

    /// Where to ask for a reference, in order: mirrors, then the registry.
    ///
    /// # Errors
    /// The registry is blocked, or a setting is no place.
    pub fn places(&self, reference: &Reference) -> Result<Vec<Place>, String> {
        let name = format!("{}/{}", reference.registry, reference.repository);
        let best = self
            .entries
            .iter()
            .filter_map(|entry| Some((matched(&entry.prefix, &name)?, entry)))
            .max_by_key(|(length, _)| *length);
        let Some((length, entry)) = best else {
            return Ok(vec![Place::primary(
                &reference.registry,
                &reference.repository,
                false,
            )]);
        };
        if entry.blocked {
            return Err(format!("{} is blocked by registries.conf", entry.prefix));
        }
        let rest = name.get(length..).unwrap_or_default();
        let by_digest = reference.digest.is_some();
        let mut places = Vec::new();
        for mirror in &entry.mirrors {
            let pull = match mirror.pull_from_mirror {
                Some(pull) => pull,
                None if entry.mirror_by_digest_only => Pull::DigestOnly,
                None => Pull::All,
            };
            let mut place = place(&mirror.location, rest, mirror.insecure)?;
            place.has_tags = !matches!(pull, Pull::DigestOnly);
            place.has_digests = !matches!(pull, Pull::TagOnly);
            if !by_digest || place.has_digests {
                places.push(place);
            }
        }
        places.push(match entry.location.as_str() {
            "" => Place::primary(&reference.registry, &reference.repository, entry.insecure),
            location => place(location, rest, entry.insecure)?,
        });
        Ok(places)
    }
}

fn place(location: &str, rest: &str, insecure: bool) -> Result<Place, String> {
    let name = format!("{location}{rest}");
    let bad = || format!("registries.conf: {location:?} is not a place for images");
    let parsed = Reference::parse(&name).map_err(|_| bad())?;
    // Without a dot or port the first word would be a repository of Docker Hub.
    let host = location.split('/').next().unwrap_or_default();
    if parsed.registry != host || parsed.tag.is_some() || parsed.digest.is_some() {
        return Err(bad());
    }
    Ok(Place::primary(
        &parsed.registry,
        &parsed.repository,
        insecure,
    ))
}

/// How many bytes of `name` the prefix covers, if it does: whole path
/// components, or `*.domain` for the host and its port.
fn matched(prefix: &str, name: &str) -> Option<usize> {
    if let Some(domain) = prefix.strip_prefix("*.") {
        let end = name.find('/').unwrap_or(name.len());
        let host = name.get(..end)?;
        let host = host.split(':').next()?;
        let sub = host.strip_suffix(domain)?.strip_suffix('.')?;
        return (!sub.is_empty()).then_some(host.len());
    }
    let rest = name.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(prefix.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registries(text: &str) -> Registries {
        let mut all = Registries::default();
        all.add(text).unwrap();
        all
    }

    fn places(all: &Registries, name: &str) -> Result<Vec<String>, String> {
        let places = all.places(&Reference::parse(name).unwrap())?;
        let text = |place: &Place| {
            let marks = [(place.insecure, '!'), (!place.has_tags, 'd')];
            let marks: String = marks
                .iter()
                .filter(|(on, _)| *on)
                .map(|(_, c)| *c)
                .collect();
            format!("{}/{}{marks}", place.registry, place.repository)
        };
        Ok(places.iter().map(text).collect())
    }

    #[test]
    fn mirrors_come_first_and_the_longest_prefix_wins() {
        let all = registries(
            r#"
            unqualified-search-registries = ["docker.io"]
            short-name-mode = "enforcing"
            [[registry]]
            location = "docker.io"
            [[registry.mirror]]
            location = "mirror.lan:5000/hub"
            insecure = true
            [[registry.mirror]]
            location = "two.lan"
            pull-from-mirror = "digest-only"
            [[registry]]
            prefix = "docker.io/secret"
            blocked = true
            [[registry]]
            prefix = "old.example/team"
            location = "new.example/group/team"
            [[registry]]
            prefix = "*.lan"
            insecure = true
            "#,
        );
        assert_eq!(
            places(&all, "debian").unwrap(),
            [
                "mirror.lan:5000/hub/library/debian!",
                "two.lan/library/debiand",
                "docker.io/library/debian"
            ]
        );
        assert!(places(&all, "secret/x").unwrap_err().contains("blocked"));
        assert_eq!(places(&all, "secretive/x").unwrap().len(), 3);
        assert_eq!(
            places(&all, "old.example/team/x").unwrap(),
            ["new.example/group/team/x"]
        );
        assert_eq!(
            places(&all, "old.example/teams/x").unwrap(),
            ["old.example/teams/x"]
        );
        assert_eq!(places(&all, "a.b.lan:5000/x").unwrap(), ["a.b.lan:5000/x!"]);
        assert_eq!(
            places(&all, "other.example/x").unwrap(),
            ["other.example/x"]
        );
    }

    #[test]
    fn aliases_are_for_short_names() {
        let all = registries("[aliases]\n\"fedora\" = \"registry.example/fedora\"\n");
        let name = |text: &str| all.reference(text).unwrap().to_string();
        assert_eq!(name("fedora:41"), "registry.example/fedora:41");
        assert_eq!(
            name("docker.io/library/fedora:41"),
            "docker.io/library/fedora:41"
        );
        assert_eq!(name("debian"), "docker.io/library/debian");
        assert_eq!(name("localhost:5000/fedora:1"), "localhost:5000/fedora:1");
    }

    #[test]
    fn broken_settings_are_told() {
        let mut all = Registries::default();
        assert!(all.add("[[registry]]\n").is_err());
        assert!(all.add("registry = 7").is_err());
        assert!(all.add("= =").is_err());
        let all = registries("[[registry]]\nprefix='a.example'\nlocation='nohost'\n");
        assert!(places(&all, "a.example/x").unwrap_err().contains("nohost"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text: String) {
            let _ = Registries::default().add(&text);
        }
    }
}
