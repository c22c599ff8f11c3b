//! What a template gives, or how it fails.

use hako_template::{Error, Options, Template};
use serde_json::{Value, json};

/// The value that most tests render.
pub(crate) fn data() -> Value {
    json!({
        "ID": "4f2a", "Name": "web", "Size": 1024, "Ratio": 0.5, "Big": 1073741824.0,
        "Running": true, "Empty": "", "Zero": 0, "Null": null, "None": [],
        "Ports": [80, 443], "Names": ["web", "www"], "Mixed": [1, "a", null, true, [2]],
        "Labels": {"b": "2", "a": "1", "com.example/x": "dots"},
        "State": {"Status": "running", "Pid": 42, "Health": null},
        "Mounts": [{"Type": "bind", "Source": "/a"}, {"Type": "volume", "Source": "v"}],
        "Html": "<a href='x'>\"b\" & c</a>", "Uni": "héllo wörld"
    })
}

#[track_caller]
pub(crate) fn renders(template: &str, expected: &str) {
    let read = Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
    match read.render_to_string(&data()) {
        Ok(text) => assert_eq!(text, expected, "{template}"),
        Err(error) => panic!("{template}: {error}"),
    }
}

#[track_caller]
pub(crate) fn fails(template: &str, options: Options, expected: &str) {
    let read = Template::parse_with(template, options)
        .unwrap_or_else(|error| panic!("{template}: {error}"));
    match read.render_to_string(&data()) {
        Ok(text) => panic!("{template}: gave {text:?}"),
        Err(error @ Error::Render { .. }) => {
            assert!(error.to_string().contains(expected), "{template}: {error}");
        }
        Err(error) => panic!("{template}: {error}"),
    }
}

#[track_caller]
pub(crate) fn refused(template: &str, expected: &str) {
    match Template::parse(template) {
        Ok(_) => panic!("{template}: is accepted"),
        Err(error @ Error::Parse { .. }) => {
            assert!(error.to_string().contains(expected), "{template}: {error}");
        }
        Err(error) => panic!("{template}: {error}"),
    }
}
