//! What users of the crate see: whole documents read, written and refused.

mod image;
mod manifest;
mod runtime;

use std::error::Error;

/// An error with its causes, as the fronts print it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Every object of `value` gets a field that no version of the specification
/// has, so that a round trip shows whether any level loses it.
fn add_unknown(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(object) => {
            object.values_mut().for_each(add_unknown);
            object.insert(
                "x-future".into(),
                serde_json::json!({"list": [1, -2, 2.5, null, "s"]}),
            );
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(add_unknown),
        _ => {}
    }
}
