//! Values as templates compare, keep and print them.

use std::borrow::Cow;
use std::cmp::Ordering;

use minijinja::value::{ObjectRepr, Tuple, ValueKind};
use minijinja::{tests, Error, ErrorKind, State, Value};

use crate::marks::{has_marks, plain};

/// Deeper values are refused, which keeps what walks them from exhausting the stack.
pub const MAX_DEPTH: usize = 32;

pub fn fail(what: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

/// What templates make of keys and values; macros, loops and namespaces have the same kind.
fn is_mapping(type_name: &str) -> bool {
    !["::Namespace", "::Macro", "::Loop"].iter().any(|suffix| type_name.ends_with(suffix))
}

fn is_container(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
}

/// What is printed for a value; a list or a mapping has no text that a prompt may hold.
pub fn text_of(value: &Value) -> Result<Cow<'_, str>, Error> {
    match value.kind() {
        ValueKind::String => Ok(Cow::Borrowed(value.as_str().unwrap_or_default())),
        ValueKind::Undefined | ValueKind::None | ValueKind::Bool | ValueKind::Number => {
            Ok(Cow::Owned(value.to_string()))
        }
        kind => Err(fail(format!("expected a text to print, found a {kind}"))),
    }
}

/// The value with every text as it was written, for comparing.
pub fn plain_value(state: &State, value: &Value, depth: usize) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        state.consume_fuel(text.len() as u64 / 64)?;
        return Ok(if has_marks(text) { Value::from(plain(text)) } else { value.clone() });
    }
    if !is_container(value) {
        return Ok(value.clone());
    }
    if depth == MAX_DEPTH {
        return Err(fail("expected fewer lists within lists"));
    }
    let mut items = Vec::new();
    for item in value.try_iter()?.checked() {
        state.consume_fuel(1)?;
        let item = item?;
        if value.kind() == ValueKind::Map {
            let held = plain_value(state, &value.get_item(&item)?, depth + 1)?;
            items.push(Value::from(vec![plain_value(state, &item, depth + 1)?, held]));
        } else {
            items.push(plain_value(state, &item, depth + 1)?);
        }
    }
    if value.kind() != ValueKind::Map {
        return Ok(Value::from(items));
    }
    let pair = |item: Value| Ok::<_, Error>((item.get_item_by_index(0)?, item.get_item_by_index(1)?));
    Ok(Value::from_pairs(items.into_iter().map(pair).collect::<Result<Vec<_>, _>>()?))
}

pub fn equal(state: &State, a: &Value, b: &Value) -> Result<bool, Error> {
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        state.consume_fuel(a.len().min(b.len()) as u64 / 64)?;
        return Ok(plain(a) == plain(b));
    }
    if is_container(a) && is_container(b) {
        return Ok(plain_value(state, a, 0)? == plain_value(state, b, 0)?);
    }
    Ok(a == b)
}

pub fn compare(state: &State, a: &Value, b: &Value) -> Result<Option<Ordering>, Error> {
    Ok(plain_value(state, a, 0)?.partial_cmp(&plain_value(state, b, 0)?))
}

pub fn contains(state: &State, container: &Value, item: &Value) -> Result<bool, Error> {
    if let (Some(container), Some(item)) = (container.as_str(), item.as_str()) {
        state.consume_fuel(container.len() as u64 / 64)?;
        return Ok(plain(container).contains(plain(item).as_ref()));
    }
    if matches!(container.kind(), ValueKind::Seq | ValueKind::Iterable) {
        for candidate in container.try_iter()?.checked() {
            state.consume_fuel(1)?;
            if equal(state, &candidate?, item)? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    tests::is_in(state, &plain_value(state, item, 0)?, container)
}

/// What a variable is to keep: iterators become lists, so that they do not pile up, and neither depth nor a circle of
/// namespaces can.
pub fn keep(state: &State, value: &Value, depth: usize) -> Result<Value, Error> {
    let Some(object) = value.as_object() else {
        return Ok(value.clone());
    };
    if depth == MAX_DEPTH {
        return Err(fail("expected fewer lists within lists"));
    }
    if depth > 0 && object.type_name().ends_with("::Namespace") {
        return Err(fail("expected texts, numbers and lists to be kept, found a namespace"));
    }
    let keep_item = |item: Result<Value, Error>| {
        state.consume_fuel(1)?;
        keep(state, &item?, depth + 1)
    };
    match object.repr() {
        ObjectRepr::Seq | ObjectRepr::Iterable => {
            let items = value.try_iter()?.checked().map(keep_item).collect::<Result<Vec<_>, _>>()?;
            Ok(if value.is_tuple() { Value::from(Tuple::from(items)) } else { Value::from(items) })
        }
        ObjectRepr::Map if is_mapping(object.type_name()) => {
            let mut items = Vec::new();
            for key in value.try_iter()?.checked() {
                let key = key?;
                let item = keep_item(value.get_item(&key))?;
                items.push((key, item));
            }
            Ok(Value::from_pairs(items))
        }
        _ => Ok(value.clone()),
    }
}
