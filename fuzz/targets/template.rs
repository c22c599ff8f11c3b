//! Templates of `--format`, rendered with a small document.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(template) = hako_template::Template::parse(text) else {
        return;
    };
    let value = serde_json::json!({"Names": ["a", "b"], "State": {"Pid": 1, "Running": true}});
    let _ = template.render_to_string(&value);
});
