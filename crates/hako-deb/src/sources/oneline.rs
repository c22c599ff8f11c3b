//! The one-line format: `deb [option=value …] uri suite component…`.

use super::{SignedBy, Source, boolean, check_parts};
use crate::error::{Error, Result};
use std::path::Path;

/// Reads a `.list` file; `path` is for messages alone. Lines of source
/// packages give nothing.
///
/// # Errors
/// A line is malformed, with its number.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let fail = |reason: String| Error::Sources {
            path: path.to_owned(),
            line: index + 1,
            reason,
        };
        if let Some(mut source) = parse_line(line).map_err(fail)? {
            source.origin = format!("{}:{}", path.display(), index + 1);
            sources.push(source);
        }
    }
    Ok(sources)
}

fn parse_line(line: &str) -> std::result::Result<Option<Source>, String> {
    let (kind, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    match kind {
        "deb" => {}
        "deb-src" => return Ok(None),
        other => return Err(format!("{other:?} is neither deb nor deb-src")),
    }
    let rest = rest.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        None => ("", rest),
        Some(inner) => inner
            .split_once(']')
            .ok_or_else(|| "the options have no closing bracket".to_owned())?,
    };
    // A cdrom URI has spaces inside brackets.
    let (uri, rest) = if rest.trim_start().starts_with("cdrom:[") {
        let rest = rest.trim_start();
        let end = rest.find(']').map_or(rest.len(), |i| i + 1);
        let end = end
            + rest
                .get(end..)
                .and_then(|r| r.find([' ', '\t']))
                .unwrap_or(0);
        rest.split_at(end)
    } else {
        let rest = rest.trim_start();
        rest.split_once([' ', '\t']).unwrap_or((rest, ""))
    };
    let mut words = rest.split_ascii_whitespace();
    let suite = words
        .next()
        .ok_or_else(|| "the suite is missing".to_owned())?;
    let components: Vec<String> = words.map(str::to_owned).collect();
    check_parts(uri, suite, &components)?;
    let mut source = Source {
        uri: uri.trim_end_matches('/').to_owned(),
        suite: suite.to_owned(),
        components,
        architectures: Vec::new(),
        signed_by: SignedBy::default(),
        trusted: None,
        check_valid_until: None,
        optional: false,
        origin: String::new(),
    };
    for option in options.split_ascii_whitespace() {
        let (name, value) = option
            .split_once('=')
            .ok_or_else(|| format!("the option {option:?} has no value"))?;
        let yes_or_no =
            || boolean(value).ok_or_else(|| format!("{option:?} is neither yes nor no"));
        match name.to_ascii_lowercase().as_str() {
            "arch" => source.architectures = value.split(',').map(str::to_owned).collect(),
            "signed-by" => {
                for word in value.split(',').filter(|w| !w.is_empty()) {
                    source.signed_by.add(word)?;
                }
            }
            "trusted" => source.trusted = Some(yes_or_no()?),
            "check-valid-until" => source.check_valid_until = Some(yes_or_no()?),
            // Languages, index targets, pdiffs, by-hash: they change what
            // apt downloads, not which packages there are.
            _ => {}
        }
    }
    Ok(Some(source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_options_and_comments() {
        let text = "# all\n\ndeb-src http://x.example/ sid main\n\
            deb [ arch=amd64,arm64 signed-by=/usr/share/keyrings/a.gpg,/b.asc trusted=no check-valid-until=no lang=none ] http://deb.example/debian/ bookworm main contrib # tail\n\
            deb [signed-by=0123456789abcdef0123456789ABCDEF01234567!] https://x.example ./\n";
        let all = parse(Path::new("/etc/apt/x.list"), text).unwrap();
        assert_eq!(all.len(), 2);
        let first = &all[0];
        assert_eq!(
            (first.uri.as_str(), first.suite.as_str()),
            ("http://deb.example/debian", "bookworm")
        );
        assert_eq!(first.components, ["main", "contrib"]);
        assert_eq!(first.architectures, ["amd64", "arm64"]);
        assert_eq!(first.signed_by.files.len(), 2);
        assert_eq!(
            (first.trusted, first.check_valid_until),
            (Some(false), Some(false))
        );
        assert_eq!(first.origin, "/etc/apt/x.list:4");
        assert_eq!(
            all[1].signed_by.fingerprints,
            ["0123456789ABCDEF0123456789ABCDEF01234567!"]
        );
    }

    #[test]
    fn errors_have_the_line() {
        for (text, part) in [
            ("\nrpm http://x y z", "neither deb"),
            ("\ndeb [arch=amd64 http://x y z", "bracket"),
            ("\ndeb http://x", "suite"),
            ("\ndeb x sid main", "not a URI"),
            ("\ndeb http://x sid", "components"),
            ("\ndeb http://x sid/ main", "components"),
            ("\ndeb http://x ../../etc main", "suite"),
            ("\ndeb http://x sid ma?in", "component"),
            ("\ndeb [trusted=perhaps] http://x sid main", "yes nor no"),
            ("\ndeb [signed-by=key] http://x sid main", "fingerprint"),
        ] {
            let error = parse(Path::new("x.list"), text).unwrap_err().to_string();
            assert!(
                error.contains("line 2") && error.contains(part),
                "{text:?}: {error}"
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "(deb |deb-src |\\[|\\]|cdrom:|http://a/ |signed-by=|trusted=|[a-z ]|#|\n|\\PC){0,20}") {
            let _ = parse(Path::new("x.list"), &text);
        }
    }
}
