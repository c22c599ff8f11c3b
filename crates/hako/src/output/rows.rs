//! Lists and documents in the format that a user asks for.

use hako_template::{Format, Missing, Options, Template};
use serde_json::Value;

use crate::error::{CliError, Result};
use crate::output;

/// Reads the format of a list; `columns` is the table when none is given.
/// Methods are those of `.Label "name"`.
pub(crate) fn format(text: Option<&str>, columns: &str) -> Result<Format> {
    let options = Options {
        missing: Missing::Error,
        methods: Some(methods),
        ..Options::default()
    };
    Format::parse(text.unwrap_or("table"), columns, options).map_err(|e| told(e, "--format"))
}

/// Prints a list.
pub(crate) fn print(format: &Format, headers: &Value, rows: &[Value]) -> Result<()> {
    let mut text = String::new();
    let result = format.render(Some(headers), rows, &mut text);
    output::write(text.as_bytes())?;
    result.map_err(|e| told(e, "--format"))
}

/// Prints documents: an indented JSON array, or a template for each, where a
/// missing field is an error.
pub(crate) fn documents(format: Option<&str>, documents: &[Value]) -> Result<()> {
    let Some(text) = format.filter(|text| *text != "json") else {
        let value = Value::Array(documents.to_vec());
        // Docker indents by four.
        let mut bytes = Vec::new();
        let pretty = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, pretty);
        serde::Serialize::serialize(&value, &mut serializer)?;
        bytes.push(b'\n');
        return output::write(&bytes);
    };
    let maps: &[&str] = &[
        "Labels",
        "Annotations",
        "Networks",
        "Ports",
        "Volumes",
        "ExposedPorts",
        "Sysctls",
    ];
    let options = Options {
        missing: Missing::Error,
        maps,
        ..Options::default()
    };
    let template = Template::parse_with(text, options).map_err(|e| told(e, "--format"))?;
    for document in documents {
        let mut line = template
            .render_to_string(document)
            .map_err(|e| told(e, "--format"))?;
        line.push('\n');
        output::write(line.as_bytes())?;
    }
    Ok(())
}

fn told(error: hako_template::Error, flag: &str) -> CliError {
    CliError::from(error).context(flag.to_owned())
}

/// `.Label "name"`: the value in the row's `Labels`, a text `a=1,b=2`.
fn methods(
    row: &Value,
    name: &str,
    arguments: &[Value],
) -> Option<std::result::Result<Value, String>> {
    if name != "Label" {
        return None;
    }
    let [Value::String(wanted)] = arguments else {
        return Some(Err("Label wants the name of one label".to_owned()));
    };
    let labels = row
        .get("Labels")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let found = labels
        .split(',')
        .find_map(|l| l.strip_prefix(wanted.as_str())?.strip_prefix('='));
    Some(Ok(Value::String(found.unwrap_or_default().to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_by_method() {
        let row = json!({ "Labels": "a=1,ab=2" });
        let label = |name: &str| methods(&row, "Label", &[json!(name)]).unwrap().unwrap();
        assert_eq!(
            (label("a"), label("ab"), label("b")),
            (json!("1"), json!("2"), json!(""))
        );
        assert!(methods(&row, "Other", &[]).is_none());
        assert!(methods(&row, "Label", &[]).unwrap().is_err());
    }

    #[test]
    fn bad_templates_are_told() {
        assert!(
            format(Some("{{.X"), "")
                .unwrap_err()
                .line()
                .starts_with("--format: ")
        );
    }
}
