//! Changing a configuration, whatever is there already.

use serde_json::Value;

/// Appends to an array, making it when it is missing.
pub(crate) fn push(array: &mut Value, entry: Value) {
    match array {
        Value::Array(all) => all.push(entry),
        other => *other = Value::Array(vec![entry]),
    }
}

/// Removes a member of an object.
pub(crate) fn remove(object: &mut Value, name: &str) {
    if let Some(members) = object.as_object_mut() {
        members.remove(name);
    }
}
