//! Which name an image gets that comes from a file.

use hako_spec::digest::Digest;
use hako_spec::reference::Reference;

use crate::source::{Choice, Source};

/// The names to give: those that the source itself has if they are whole
/// references, else one below `localhost/` made of the file's name.
pub(crate) fn names(source: &Source, given: &[String], image: &Digest) -> Vec<Reference> {
    if let Some(name) = known(source) {
        return vec![name];
    }
    let mut names: Vec<Reference> = given
        .iter()
        .filter_map(|name| qualified(source, name))
        .collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        names.push(made_up(source, image));
    }
    names
}

/// The name that is known before anything is read.
pub(crate) fn known(source: &Source) -> Option<Reference> {
    match source {
        Source::Registry(reference) => Some(reference.clone()),
        Source::Deb(request) => Reference::parse(&request.image_name()).ok(),
        _ => None,
    }
}

/// A name that says where the image is from. A bare word in a layout is a tag,
/// not an image of Docker Hub; in docker's archives it is one.
fn qualified(source: &Source, name: &str) -> Option<Reference> {
    let reference = Reference::parse(name).ok()?;
    let is_docker = matches!(source, Source::DockerArchive { .. });
    let is_whole =
        name.contains('/') && reference.name().starts_with(name.split([':', '@']).next()?);
    let first = name.split('/').next().unwrap_or_default();
    let has_host = is_whole && first == reference.registry || name.starts_with(&reference.registry);
    (is_docker || has_host).then(|| reference.or_latest())
}

fn made_up(source: &Source, image: &Digest) -> Reference {
    let (path, tag) = match source {
        Source::Oci { path, choice } | Source::OciArchive { path, choice } => match choice {
            Choice::Name(name) => (Some(path), Some(name.as_str())),
            _ => (Some(path), None),
        },
        Source::DockerArchive { path, .. } | Source::Dir { path } => (Some(path), None),
        Source::Registry(_) | Source::Deb(_) => (None, None),
    };
    let path = path.map(|path| std::fs::canonicalize(path).unwrap_or_else(|_| path.clone()));
    let stem = path
        .as_deref()
        .and_then(std::path::Path::file_name)
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let stem = [".tar.gz", ".tar.zst", ".tgz", ".tar"]
        .iter()
        .find_map(|end| stem.strip_suffix(end))
        .unwrap_or(&stem)
        .to_owned();
    let word = component(&stem).unwrap_or_else(|| "image".to_owned());
    let tag = tag.unwrap_or("latest");
    [
        format!("localhost/{word}:{tag}"),
        format!("localhost/{word}:{}", image.short()),
    ]
    .iter()
    .find_map(|name| Reference::parse(name).ok())
    .unwrap_or_else(|| Reference {
        registry: "localhost".to_owned(),
        repository: "image".to_owned(),
        tag: Some(image.short().to_owned()),
        digest: None,
    })
}

/// The text made into a component of a repository's name.
fn component(text: &str) -> Option<String> {
    let mut out = String::new();
    for c in text.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() => out.push(c),
            _ if out.is_empty() || out.ends_with('-') => {}
            _ => out.push('-'),
        }
    }
    let out = out.trim_end_matches('-');
    (!out.is_empty()).then(|| out.chars().take(100).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_distribution::registries::Registries;

    fn named(source: &str, given: &[&str]) -> Vec<String> {
        let source = Source::parse(source, &Registries::default()).unwrap();
        let given: Vec<String> = given.iter().map(|name| (*name).to_owned()).collect();
        let image = Digest::from_sha256([0xab; 32]);
        names(&source, &given, &image)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn names_of_files() {
        for (source, given, want) in [
            ("r.example/x:1", &["ignored"][..], "r.example/x:1"),
            ("oci:/nowhere/My Image", &[], "localhost/my-image:latest"),
            ("oci:/nowhere/app:1.2", &["1.2"], "localhost/app:1.2"),
            (
                "oci:/nowhere/app:x",
                &["docker.io/library/y:1"],
                "docker.io/library/y:1",
            ),
            (
                "oci:/nowhere/app:latest",
                &["r.example/team/y:1"],
                "r.example/team/y:1",
            ),
            (
                "oci:/nowhere/app:a/b c",
                &["a/b c"],
                "localhost/app:abababababab",
            ),
            (
                "docker-archive:/nowhere/app.tar.gz",
                &[],
                "localhost/app:latest",
            ),
            (
                "docker-archive:/nowhere/app.tar",
                &["busybox"],
                "docker.io/library/busybox:latest",
            ),
            ("dir:/nowhere/---", &[], "localhost/image:latest"),
        ] {
            assert_eq!(named(source, given), [want], "{source} {given:?}");
        }
    }
}
