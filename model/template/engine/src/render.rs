//! From a template and its variables to a text and who wrote it.

use std::error::Error as _;
use std::sync::OnceLock;

use minijinja::machinery::{eval, make_string_output};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};

use crate::compile::Template;
use crate::environment::{self, Raised, NOW};
use crate::marks::{self, is_marked, plain_char, GENERATION_END, GENERATION_START};
use crate::values::MAX_DEPTH;

/// What a template may do, in instructions and in units of 64 bytes made or looked through; and as much again for each
/// byte of the variables, which are copied a few times on their way, four bytes a character.
const FUEL: u64 = 1_000_000;
const FUEL_OF_A_BYTE: u64 = 2;

/// The bits of a run.
pub const FROM_MESSAGE: u8 = 1;
pub const GENERATED: u8 = 2;

/// Bytes up to `end`, from the end of the run before.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Run {
    pub end: usize,
    pub flags: u8,
}

pub struct Rendered {
    pub text: String,
    pub runs: Vec<Run>,
}

pub enum Failure {
    /// The template's own words (`raise_exception`).
    Raised(String),
    /// The variables hold what cannot be rendered.
    Variables(String),
    Template(String),
}

/// `line N: what`.
pub fn describe(error: &Error) -> String {
    let what = match error.detail() {
        Some(detail) if error.kind() == ErrorKind::InvalidOperation => detail.to_string(),
        Some(detail) => format!("{}: {detail}", error.kind()),
        None if error.kind() == ErrorKind::OutOfFuel => "the template takes more steps than are allowed".to_string(),
        None => error.kind().to_string(),
    };
    let what = marks::plain(&what).into_owned();
    match error.line() {
        // compile.rs says where itself.
        _ if error.detail().is_some_and(|detail| detail.starts_with("line ")) => {
            error.detail().unwrap_or_default().to_string()
        }
        Some(line) => format!("line {line}: {what}"),
        None => what,
    }
}

fn environment(fuel: u64) -> Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    let mut env = ENVIRONMENT.get_or_init(environment::make).clone();
    env.set_fuel(Some(fuel));
    env
}

/// `{"$spans": [[written by a user, text]...]}` is one text of several origins.
fn spans(spans: &serde_json::Value) -> Result<Value, String> {
    let mut out = String::new();
    for span in spans.as_array().into_iter().flatten() {
        let text = span[1].as_str().unwrap_or_default();
        if span[0] == serde_json::Value::Bool(true) {
            marks::mark(text, &mut out).map_err(|c| {
                format!("expected characters of Unicode, found U+{:04X}, which is not assigned", c as u32)
            })?;
        } else {
            out.push_str(text);
        }
    }
    Ok(Value::from(out))
}

fn to_value(json: &serde_json::Value, depth: usize) -> Result<Value, String> {
    if depth == MAX_DEPTH {
        return Err("expected fewer lists within lists".to_string());
    }
    Ok(match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(value) => Value::from(*value),
        serde_json::Value::Number(value) => match value.as_i64() {
            Some(value) => Value::from(value),
            None => Value::from(value.as_f64().unwrap_or(0.0)),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => {
            let items = items.iter().map(|item| to_value(item, depth + 1));
            Value::from(items.collect::<Result<Vec<_>, _>>()?)
        }
        serde_json::Value::Object(object) => match object.get("$spans") {
            Some(texts) => spans(texts)?,
            None => {
                let items = object.iter().map(|(key, item)| Ok((key.clone(), to_value(item, depth + 1)?)));
                Value::from_pairs(items.collect::<Result<Vec<(String, Value)>, String>>()?)
            }
        },
    })
}

/// Takes the marks out of a text.
fn unmark(text: &str) -> Rendered {
    let mut out = Rendered { text: String::with_capacity(text.len()), runs: Vec::new() };
    let mut generated = 0;
    for c in text.chars() {
        match c.encode_utf8(&mut [0; 4]) as &str {
            GENERATION_START => generated = GENERATED,
            GENERATION_END => generated = 0,
            _ => {
                let flags = generated | if is_marked(c) { FROM_MESSAGE } else { 0 };
                out.text.push(plain_char(c));
                let end = out.text.len();
                match out.runs.last_mut() {
                    Some(run) if run.flags == flags => run.end = end,
                    _ => out.runs.push(Run { end, flags }),
                }
            }
        }
    }
    out
}

pub fn render(template: &Template, json: &[u8], now: i64) -> Result<Rendered, Failure> {
    let json_value: serde_json::Value =
        serde_json::from_slice(json).map_err(|error| Failure::Variables(error.to_string()))?;
    let mut variables = vec![(NOW.to_string(), Value::from(now))];
    for (name, value) in json_value.as_object().into_iter().flatten() {
        variables.push((name.clone(), to_value(value, 0).map_err(Failure::Variables)?));
    }
    let env = environment(FUEL + json.len() as u64 * FUEL_OF_A_BYTE);
    let mut text = String::new();
    let result = eval(
        &env,
        &template.instructions,
        Value::from_pairs(variables),
        &template.blocks,
        &mut make_string_output(&mut text),
        AutoEscape::None,
    )
    .map(|_| ());
    result.map_err(|error| match error.source().and_then(|source| source.downcast_ref::<Raised>()) {
        Some(raised) => Failure::Raised(raised.0.clone()),
        None => Failure::Template(describe(&error)),
    })?;
    Ok(unmark(&text))
}
