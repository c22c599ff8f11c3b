//! `Link: <…>; rel="next"` (RFC 8288), how a registry parts long lists.

/// The target of the first link in `value` whose relation is `next`.
pub fn next(value: &str) -> Option<&str> {
    let mut rest = value;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        let (parameters, following) = parameters(after);
        let is_next = parameters.iter().any(|(name, text)| {
            name.eq_ignore_ascii_case("rel")
                && text
                    .split_ascii_whitespace()
                    .any(|rel| rel.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target.trim());
        }
        rest = following;
    }
}

/// `; a=b; c="d"` up to the comma that begins the next link.
fn parameters(text: &str) -> (Vec<(&str, &str)>, &str) {
    let mut all = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(after) = rest.strip_prefix(';') else {
            return (all, rest);
        };
        let end = after.find(['=', ';', ',']).unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let (value, after) = match after.strip_prefix('=') {
            None => ("", after),
            Some(after) => match after.trim_start().strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => after.split_at(after.find([';', ',']).unwrap_or(after.len())),
            },
        };
        all.push((name.trim(), value.trim()));
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(
            next(r#"</v2/x/tags/list?n=2&last=b>; rel="next""#),
            Some("/v2/x/tags/list?n=2&last=b")
        );
        assert_eq!(
            next("<a>; rel=prev, <b,c>; title=\"x, <y>\"; rel=\"last next\""),
            Some("b,c")
        );
        assert_eq!(next("<a>;rel=next"), Some("a"));
        for none in [
            "",
            "<a>",
            "<a>; rel=\"prev\"",
            "a; rel=next",
            "<a; rel=next",
            "<a>; title=\"rel=next\"",
        ] {
            assert_eq!(next(none), None, "{none}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text: String) {
            let _ = next(&text);
            let _ = next(&format!("<a>;{text}"));
        }
    }
}
