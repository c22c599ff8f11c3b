//! `WWW-Authenticate` (RFC 9110, section 11.6.1; distribution's token spec).

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token of the service `realm`.
    Bearer {
        /// The token service's address.
        realm: String,
        /// The name of the registry at the service.
        service: Option<String>,
        /// What the token must allow.
        scope: Option<String>,
        /// Why a token that was sent does not do.
        error: Option<String>,
    },
}

/// The challenges in one header value that we understand, in its order. Never
/// fails: what cannot be read is skipped.
pub fn parse(value: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = value.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let (scheme, after) = token(rest);
        if scheme.is_empty() {
            break;
        }
        let (parameters, after) = parameters(after);
        let get = |name: &str| {
            let found = parameters
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name));
            found
                .map(|(_, value)| value.clone())
                .filter(|value| !value.is_empty())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            let (service, scope, error) = (get("service"), get("scope"), get("error"));
            found.push(Challenge::Bearer {
                realm,
                service,
                scope,
                error,
            });
        }
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    found
}

/// `name=value` pairs up to the next scheme.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut all = Vec::new();
    let mut rest = text;
    loop {
        let start = rest.trim_start_matches([' ', '\t', ',']);
        let (name, after) = token(start);
        let after = after.trim_start_matches([' ', '\t']);
        // No `=`: the word is the next scheme (or token68 data, which ends as
        // an unknown scheme).
        let Some(after) = after.strip_prefix('=').filter(|_| !name.is_empty()) else {
            return (all, start);
        };
        let after = after.trim_start_matches([' ', '\t']);
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_string(quoted),
            None => {
                let end = after.find([',', ' ', '\t']).unwrap_or(after.len());
                let (value, after) = after.split_at(end);
                (value.to_owned(), after)
            }
        };
        all.push((name.to_owned(), value));
        rest = after;
    }
}

/// The text of a quoted string whose opening quote is gone.
fn quoted_string(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, text.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// A token (RFC 9110, section 5.6.2) and what follows.
fn token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c);
    text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: own(service),
            scope: own(scope),
            error: None,
        }
    }

    #[test]
    fn usual_forms() {
        assert_eq!(
            parse(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/debian:pull,push""#
            ),
            [bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:library/debian:pull,push")
            )]
        );
        assert_eq!(parse(r#"Basic realm="x""#), [Challenge::Basic]);
        assert_eq!(parse("basic"), [Challenge::Basic]);
        assert_eq!(
            parse(r#"Negotiate, Basic realm="a, \"b\"", BEARER Realm = "https://t" , service=s"#),
            [Challenge::Basic, bearer("https://t", Some("s"), None)]
        );
        assert_eq!(
            parse(r#"Negotiate YWJj==, Bearer realm=https://t,scope=a"#),
            [bearer("https://t", None, Some("a"))]
        );
    }

    #[test]
    fn nonsense_is_skipped() {
        for text in [
            "",
            ",,,",
            "Bearer",
            "Bearer service=x",
            "=",
            "\"",
            "Bearer realm=\"",
        ] {
            assert!(parse(text).is_empty(), "{text}: {:?}", parse(text));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text: String) {
            let _ = parse(&text);
            let _ = parse(&format!("Bearer realm=\"x\",{text}"));
        }

        #[test]
        fn quoted_values_come_back(value in "[a-z \\\\\",=]{1,20}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let text = format!("Bearer realm=\"r\",scope=\"{quoted}\"");
            proptest::prop_assert_eq!(parse(&text), [bearer("r", None, Some(&value))]);
        }
    }
}
