//! What users give to `--format` of commands that list things.

use std::fmt;

use serde_json::Value;

use crate::{Error, Options, Table, Template};

/// A format of a list.
#[derive(Clone, Debug)]
pub enum Format {
    /// `json`: one compact object a line.
    Json,
    /// `table TEMPLATE`: a line of names, then a line per row, aligned.
    Table(Template),
    /// A template per row, each with a line break.
    Rows(Template),
}

impl Format {
    /// Reads a format. `table` alone, and the empty text, are
    /// `table` with `columns`, such as `"{{.ID}}\t{{.Names}}"`.
    ///
    /// # Errors
    /// [`Error::Parse`].
    pub fn parse(text: &str, columns: &str, options: Options) -> Result<Self, Error> {
        let text = text.trim_matches(' ');
        if text == "json" {
            return Ok(Format::Json);
        }
        let template = match text.strip_prefix("table") {
            Some("") => columns,
            Some(rest) if rest.starts_with([' ', '\t']) || rest.starts_with("\\t") => {
                let rest = rest.trim_start_matches([' ', '\t']);
                if rest.is_empty() { columns } else { rest }
            }
            _ if text.is_empty() => columns,
            _ => return Template::parse_with(text, options).map(Format::Rows),
        };
        Template::parse_with(template, options).map(Format::Table)
    }

    /// Writes rows. `headers` has the columns' names by field; a table without
    /// it has no line of names.
    ///
    /// # Errors
    /// [`Error::Render`], and [`Error::Output`] when `out` fails. A row that
    /// fails leaves the rows before it written (but none of a table).
    pub fn render(
        &self,
        headers: Option<&Value>,
        rows: &[Value],
        out: &mut dyn fmt::Write,
    ) -> Result<(), Error> {
        match self {
            Format::Json => {
                for row in rows {
                    writeln!(out, "{row}").map_err(Error::Output)?;
                }
            }
            Format::Rows(template) => {
                for row in rows {
                    let mut line = template.render_to_string(row)?;
                    line.push('\n');
                    out.write_str(&line).map_err(Error::Output)?;
                }
            }
            Format::Table(template) => {
                let mut text = String::new();
                if let Some(headers) = headers {
                    template.render_headers(headers, &mut text)?;
                    text.push('\n');
                }
                for row in rows {
                    template.render(row, &mut text)?;
                    text.push('\n');
                }
                Table::default().align(&text, out).map_err(Error::Output)?;
            }
        }
        Ok(())
    }
}
