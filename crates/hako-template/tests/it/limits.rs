//! Nothing takes the machine's memory or stack, and nothing panics.

use hako_template::{Error, Format, Options, Template};
use proptest::prelude::*;
use serde_json::json;

use crate::{data, fails, refused};

#[test]
fn output_steps_and_depth() {
    let small = Options {
        max_output: 1000,
        max_steps: 1000,
        ..Options::default()
    };
    fails(
        "{{range 100}}0123456789abcdef{{end}}",
        small,
        "the output is longer than 1000 bytes",
    );
    fails("{{range 100000}}{{end}}", small, "too many steps");
    fails(
        "{{range 4611686018427387904}}{{end}}",
        Options {
            max_steps: 1 << 16,
            ..small
        },
        "too many steps",
    );
    fails(
        "{{$x := \"0123456789\"}}{{range 60}}{{$x = print $x $x}}{{end}}",
        small,
        "longer than 1000 bytes",
    );
    fails(
        "{{$x := \"%500d\"}}{{printf (print $x $x $x) 1 1 1}}",
        small,
        "longer than 1000 bytes",
    );
    fails("{{pad \"x\" 600 600}}", small, "longer than 1000 bytes");
    fails(
        "{{pad \"x\" 9223372036854775807 9223372036854775807}}",
        small,
        "longer than 1000 bytes",
    );
    fails(
        "{{join (split (printf \"%300s\" \"\") \" \") \"0123\"}}",
        small,
        "longer than 1000 bytes",
    );
    refused(
        &format!("{}1{}", "{{if 1}}".repeat(100), "{{end}}".repeat(100)),
        "nested deeper than 64",
    );
    refused(
        &format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000)),
        "nested deeper than 64",
    );
    refused(&"x".repeat(Template::MAX_LEN + 1), "longer than 1 MiB");
    let deep = format!("{}1{}", "{{if 1}}".repeat(60), "{{end}}".repeat(60));
    assert_eq!(
        Template::parse(&deep)
            .unwrap()
            .render_to_string(&data())
            .unwrap(),
        "1"
    );
}

#[test]
fn a_writer_that_fails() {
    struct Full;
    impl std::fmt::Write for Full {
        fn write_str(&mut self, _: &str) -> std::fmt::Result {
            Err(std::fmt::Error)
        }
    }
    let error = Template::parse("a")
        .unwrap()
        .render(&json!({}), &mut Full)
        .unwrap_err();
    assert!(matches!(error, Error::Output(_)));
}

/// Pieces that make templates which get past the parser more often than noise does.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z \\\\\n-]{0,4}",
        Just("{{.ID}}".to_owned()),
        Just("{{if .Running}}".to_owned()),
        Just("{{range $i, $e := .Ports}}".to_owned()),
        Just("{{with .State -}}".to_owned()),
        Just("{{else}}".to_owned()),
        Just("{{- end}}".to_owned()),
        Just("{{break}}".to_owned()),
        Just("{{$x := .Labels}}".to_owned()),
        "\\{\\{(printf|print|json|len|index|slice|eq|lt|and|or|not|join|split|pad|truncate|html|js|urlquery|title) (\\.Ports|\\.ID|\\.Labels|\\.Null|\\.|nil|1|-1|2.5|\"%[a-z5.*-]{1,4}\"|`x`)( (\\.Ports|\\.ID|1|99|\"a\"|nil)){0,3}\\}\\}",
        "\\{\\{[a-zA-Z0-9$.|()=:,\"`' {}/*%-]{0,12}\\}\\}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn parse_never_panics(text in ".*") {
        let _ = Template::parse(&text);
    }

    #[test]
    fn render_never_panics(pieces in proptest::collection::vec(piece(), 0..8)) {
        let text = pieces.concat();
        let options = Options { max_output: 10_000, max_steps: 10_000, ..Options::default() };
        if let Ok(template) = Template::parse_with(&text, options) {
            let mut out = String::new();
            let _ = template.render(&data(), &mut out);
            prop_assert!(out.len() <= 10_000);
            let _ = template.render_headers(&json!({"ID": "X"}), &mut out);
        }
        if let Ok(format) = Format::parse(&text, "{{.ID}}", options) {
            let mut out = String::new();
            let _ = format.render(Some(&json!({})), &[data()], &mut out);
        }
    }

    #[test]
    fn printf_never_panics(format in "[%a-zA-Z0-9 #+*.\\[\\]é-]{0,20}", number: i64, float in proptest::num::f64::NORMAL) {
        let value = json!({"f": format, "n": number, "x": float, "s": format, "l": [number, float, null, [true]]});
        let template = Template::parse("{{printf .f .n .x .s .l nil true}}").unwrap();
        let _ = template.render_to_string(&value);
    }

    /// Rust's and Go's shortest digits are the same; what is printed reads back.
    #[test]
    fn floats_read_back(float in proptest::num::f64::NORMAL | proptest::num::f64::ZERO | proptest::num::f64::SUBNORMAL) {
        for template in ["{{.}}", "{{printf \"%g\" .}}", "{{printf \"%.17g\" .}}", "{{printf \"%.17e\" .}}"] {
            let text = Template::parse(template).unwrap().render_to_string(&json!(float)).unwrap();
            prop_assert_eq!(text.parse::<f64>().unwrap(), float);
        }
    }
}
