//! `$NAME` in an experiment's file stands for a value.

use std::collections::BTreeMap;

use serde_json::Value;

/// Values by name.
pub(super) type Values = BTreeMap<String, Value>;

/// Puts values in place of names, everywhere in `value`. A string that is a name and nothing else becomes the value
/// itself; within a longer string it becomes the value's text.
///
/// # Errors
/// The first name that has no value.
pub(super) fn substitute(value: &Value, values: &Values) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => match text.strip_prefix('$').filter(|name| is_name(name)) {
            Some(name) => find(name, values)?.clone(),
            None => Value::String(in_text(text, values)?),
        },
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| substitute(item, values)).collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, field)| Ok((name.clone(), substitute(field, values)?)))
                .collect::<Result<_, String>>()?,
        ),
        other => other.clone(),
    })
}

fn in_text(text: &str, values: &Values) -> Result<String, String> {
    let mut done = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        let length = from[1..].chars().take_while(|letter| is_letter(*letter)).map(char::len_utf8).sum();
        let name = &from[1..=length];
        done.push_str(before);
        match find(name, values)? {
            Value::String(text) => done.push_str(text),
            other => done.push_str(&other.to_string()),
        }
        rest = &from[1 + length..];
    }
    Ok(done + rest)
}

fn find<'a>(name: &str, values: &'a Values) -> Result<&'a Value, String> {
    values.get(name).ok_or_else(|| {
        let known: Vec<&str> = values.keys().map(String::as_str).collect();
        format!("found ${name}, expected the name of an axis or of a fixed value: {}", known.join(", "))
    })
}

/// Whether it can be the name of an axis.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_letter)
}

fn is_letter(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_'
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_become_values() {
        let values: Values = [("loss".to_owned(), json!("3%")), ("flows".to_owned(), json!(5))].into();
        let found = substitute(&json!({ "a": ["$flows", "{ loss: $loss, n: $flows }", 1.5] }), &values);
        assert_eq!(found.unwrap(), json!({ "a": [5, "{ loss: 3%, n: 5 }", 1.5] }));
    }

    #[test]
    fn an_unknown_name_is_told() {
        let values: Values = [("loss".to_owned(), json!("3%"))].into();
        let error = substitute(&json!("rate: $rate"), &values).unwrap_err();
        assert_eq!(error, "found $rate, expected the name of an axis or of a fixed value: loss");
    }
}
