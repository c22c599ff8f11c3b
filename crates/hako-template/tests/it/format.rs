//! Lists: rows, tables, JSON.

use hako_template::{Format, Options, Table, Template, header_name};
use serde_json::{Value, json};

const COLUMNS: &str = "{{.ID}}\\t{{.Names}}";

fn rows() -> Vec<Value> {
    vec![
        json!({"ID": "4f2a", "Names": "web", "Labels": {"a": "1"}, "Ports": [80]}),
        json!({"ID": "b", "Names": "a-much-longer-name", "Labels": {}, "Ports": []}),
    ]
}

fn headers() -> Value {
    json!({"ID": "CONTAINER ID", "Names": "NAMES", "Ports": "PORTS"})
}

#[track_caller]
fn list(format: &str) -> String {
    let format = Format::parse(format, COLUMNS, Options::default()).unwrap();
    let mut text = String::new();
    format.render(Some(&headers()), &rows(), &mut text).unwrap();
    text
}

#[test]
fn tables() {
    let default = "CONTAINER ID   NAMES\n4f2a           web\nb              a-much-longer-name\n";
    for format in [
        "table",
        "",
        " table ",
        "table {{.ID}}\\t{{.Names}}",
        "table\t{{.ID}}\t{{.Names}}",
    ] {
        assert_eq!(list(format), default, "{format:?}");
    }
    assert_eq!(
        list("table {{.Names}}\\t{{.ID}}\\t{{.RunningFor}}"),
        "NAMES                CONTAINER ID   RUNNING FOR\n\
         web                  4f2a           <no value>\n\
         a-much-longer-name   b              <no value>\n"
    );
    // What only changes how a value looks does not change its column's name.
    assert_eq!(
        list(
            "table {{upper .Names | printf \"%.3s\"}}\t{{json .ID}}\t{{range .Ports}}{{.}}{{else}}-{{end}}"
        ),
        "NAM       CONTAINER ID   PORTS\nWEB       \"4f2a\"         80\nA-M       \"b\"            -\n"
    );
    assert_eq!(
        list("table {{if eq .ID \"b\"}}{{.Names}}{{else}}{{join .Ports \",\"}}{{end}}"),
        "NAMES\n80\na-much-longer-name\n"
    );
    let format = Format::parse("table", COLUMNS, Options::default()).unwrap();
    let mut text = String::new();
    format.render(None, &rows(), &mut text).unwrap();
    assert!(text.starts_with("4f2a      web\n"), "{text}");
}

#[test]
fn rows_and_json() {
    assert_eq!(
        list("{{.ID}}={{.Names}}"),
        "4f2a=web\nb=a-much-longer-name\n"
    );
    assert_eq!(
        list("{{.ID}}\\t{{.Names}}\\n"),
        "4f2a\tweb\n\nb\ta-much-longer-name\n\n"
    );
    assert_eq!(list("tables"), "tables\ntables\n");
    assert!(list("json").starts_with("{\"ID\":\"4f2a\",\"Labels\":{\"a\":\"1\"},"));
    assert_eq!(list("json").lines().count(), 2);
    assert!(Format::parse("{{", COLUMNS, Options::default()).is_err());
    assert!(Format::parse("table {{.ID", COLUMNS, Options::default()).is_err());
}

#[test]
fn names_of_columns() {
    for (field, name) in [
        ("ID", "ID"),
        ("CreatedAt", "CREATED AT"),
        ("ImageID", "IMAGE ID"),
        ("IDShort", "ID SHORT"),
        ("RunningFor", "RUNNING FOR"),
        ("name", "NAME"),
        ("", ""),
    ] {
        let _ = name;
        assert_eq!(
            header_name(field),
            if field == "IPv4Address" {
                "I PV4 ADDRESS"
            } else {
                name
            }
        );
    }
    let template = Template::parse("{{.Label \"com.example.my-key\"}}|{{.A.B}}|{{.ID}}").unwrap();
    let mut text = String::new();
    template
        .render_headers(&json!({"A.B": "AB", "ID": "X"}), &mut text)
        .unwrap();
    assert_eq!(text, "MY KEY|AB|X");
}

#[test]
fn alignment() {
    let align = |text: &str| {
        let mut out = String::new();
        Table {
            min_width: 3,
            padding: 1,
        }
        .align(text, &mut out)
        .unwrap();
        out
    };
    assert_eq!(align(""), "");
    assert_eq!(align("a\tb"), "a  b");
    assert_eq!(align("a\tb\n"), "a  b\n");
    assert_eq!(align("aaaa\tb\nc\td\n"), "aaaa b\nc    d\n");
    assert_eq!(align("ää\tb\nc\td"), "ää b\nc  d");
    // A line without the column ends the block.
    assert_eq!(align("aaaa\tb\nx\nc\td"), "aaaa b\nx\nc  d");
    assert_eq!(
        align("a\tbbbb\tc\nd\te\nf\tg\th"),
        "a  bbbb c\nd  e\nf  g  h"
    );
    assert_eq!(align("\t\t"), "      ");
}
