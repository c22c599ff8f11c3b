//! The deb822 format (deb822(5), Debian Policy 5.1): paragraphs of fields,
//! in Release files, package indexes, control files and `.sources`.
//!
//! Nothing is copied: names and values are slices of the text.

/// A paragraph: its fields in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paragraph<'a> {
    fields: Vec<(&'a str, &'a str)>,
    line: usize,
}

/// A text that breaks the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Malformed {
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: &'static str,
}

impl<'a> Paragraph<'a> {
    /// The value of a field; names are compared without case. A value of
    /// several lines keeps its line breaks, leading spaces and comment
    /// lines: [`lines`] takes it apart.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.fields
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// All fields in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> + '_ {
        self.fields.iter().copied()
    }

    /// The line of the first field, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }
}

/// The lines of a value: trimmed, without comments; the first may be empty.
pub fn lines(value: &str) -> impl Iterator<Item = &str> {
    value
        .split('\n')
        .filter(|line| !line.starts_with('#'))
        .map(str::trim)
}

/// The words of a value, over all its lines.
pub fn words(value: &str) -> impl Iterator<Item = &str> {
    lines(value).flat_map(str::split_ascii_whitespace)
}

/// Takes a text apart. After an error nothing more comes.
pub fn paragraphs(text: &str) -> Paragraphs<'_> {
    Paragraphs {
        text,
        at: 0,
        line: 0,
        failed: false,
    }
}

/// Exactly one paragraph, as in a Release or control file.
///
/// # Errors
/// The text is malformed, empty, or has a second paragraph.
pub fn single(text: &str) -> Result<Paragraph<'_>, Malformed> {
    let mut all = paragraphs(text);
    let first = all.next().unwrap_or(Err(Malformed {
        line: 1,
        reason: "there are no fields",
    }))?;
    match all.next() {
        None => Ok(first),
        Some(Err(error)) => Err(error),
        Some(Ok(second)) => Err(Malformed {
            line: second.line,
            reason: "a second paragraph, where one was expected",
        }),
    }
}

/// Iterator over the paragraphs of a text.
#[derive(Debug, Clone)]
pub struct Paragraphs<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    failed: bool,
}

impl<'a> Paragraphs<'a> {
    /// The next line without its break, and where it starts.
    fn line(&mut self) -> Option<(usize, &'a str)> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let start = self.at;
        let line = rest.split('\n').next().unwrap_or(rest);
        self.at += line.len() + 1;
        self.line += 1;
        Some((start, line))
    }

    fn fail(&mut self, reason: &'static str) -> Option<Result<Paragraph<'a>, Malformed>> {
        self.failed = true;
        Some(Err(Malformed {
            line: self.line,
            reason,
        }))
    }
}

impl<'a> Iterator for Paragraphs<'a> {
    type Item = Result<Paragraph<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let mut paragraph = Paragraph::default();
        // The field that is being read: its name, and its value's range.
        let mut open: Option<(&'a str, usize, usize)> = None;
        while let Some((start, line)) = self.line() {
            if line.starts_with('#') {
                continue;
            }
            if line.trim_ascii().is_empty() {
                if open.is_some() {
                    break;
                }
                continue;
            }
            if line.starts_with([' ', '\t']) {
                match &mut open {
                    Some((_, _, end)) => *end = start + line.len(),
                    None => return self.fail("a continuation line without a field"),
                }
                continue;
            }
            let Some((name, value)) = line.split_once(':') else {
                return self.fail("neither a field nor its continuation");
            };
            let name = name.trim_ascii_end();
            if name.is_empty()
                || !name.bytes().all(|c| c.is_ascii_graphic())
                || name.starts_with('-')
            {
                return self.fail("not a field name");
            }
            close(&mut paragraph, self.text, open.take());
            if paragraph.get(name).is_some() {
                return self.fail("a field that was there before");
            }
            if paragraph.fields.is_empty() {
                paragraph.line = self.line;
            }
            let end = start + line.len();
            open = Some((name, end - value.len(), end));
        }
        close(&mut paragraph, self.text, open);
        (!paragraph.fields.is_empty()).then_some(Ok(paragraph))
    }
}

fn close<'a>(paragraph: &mut Paragraph<'a>, text: &'a str, open: Option<(&'a str, usize, usize)>) {
    if let Some((name, start, end)) = open {
        let value = text.get(start..end).unwrap_or_default().trim();
        paragraph.fields.push((name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_fields_and_continuations() {
        let text = "# head\n\nPackage: bash\nDescription: shell\n the\n # kept\n .\n end\nempty:\n\n\nPackage:dash\n";
        let all: Vec<_> = paragraphs(text).collect::<Result<_, _>>().unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].line(), 3);
        assert_eq!(all[0].get("PACKAGE"), Some("bash"));
        assert_eq!(
            all[0].get("description"),
            Some("shell\n the\n # kept\n .\n end")
        );
        assert_eq!(all[0].get("Empty"), Some(""));
        assert_eq!(all[1].get("Package"), Some("dash"));
        assert_eq!(all[1].get("Nothing"), None);
    }

    #[test]
    fn comments_inside_values_do_not_count() {
        let p =
            single("Types: deb\n# http://old.example\nURIs: http://a\n# b\n http://c\n").unwrap();
        assert_eq!(
            words(p.get("URIs").unwrap()).collect::<Vec<_>>(),
            ["http://a", "http://c"]
        );
        assert_eq!(p.get("Types"), Some("deb"));
    }

    #[test]
    fn refuses_what_is_no_field() {
        for (text, line) in [
            ("a: 1\nnothing\n", 2),
            (" a: 1\n", 1),
            ("a: 1\nA: 2\n", 2),
            (": 1\n", 1),
            ("a b: 1\n", 1),
            ("-a: 1\n", 1),
            ("a: 1\n\n x\n", 3),
        ] {
            let error = paragraphs(text).find_map(Result::err).expect(text);
            assert_eq!(error.line, line, "{text:?}");
        }
        assert!(single("a: 1\n\nb: 2\n").is_err());
        assert!(single("\n\n").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "([a-zA-Z#: \t\n-]|\\PC){0,200}") {
            for paragraph in paragraphs(&text) {
                for (_, value) in paragraph.iter().flat_map(Paragraph::fields) {
                    let _ = words(value).count();
                }
            }
        }

        #[test]
        fn what_is_written_is_read(fields in proptest::collection::btree_map("[A-Z][a-z]{1,6}", "[a-z0-9]{1,5}", 1..6)) {
            let text: String = fields.iter().map(|(n, v)| format!("{n}: {v}\n more\n")).collect();
            let p = single(&text).unwrap();
            for (name, value) in &fields {
                prop_assert_eq!(p.get(name).unwrap(), format!("{value}\n more"));
            }
        }
    }
}
