//! `tojson` as transformers has it: Python's json.dumps with ensure_ascii=False.

use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};

use crate::marks::{marked_like, plain_char};
use crate::values::{fail, MAX_DEPTH};

struct Writer<'a, 'b, 'c> {
    state: &'a State<'b, 'c>,
    indent: Option<String>,
    separators: (String, String),
    sort: bool,
    out: String,
}

impl Writer<'_, '_, '_> {
    fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            let escaped = match plain_char(c) {
                '"' => "\\\"".to_string(),
                '\\' => "\\\\".to_string(),
                '\n' => "\\n".to_string(),
                '\r' => "\\r".to_string(),
                '\t' => "\\t".to_string(),
                '\u{8}' => "\\b".to_string(),
                '\u{c}' => "\\f".to_string(),
                control @ '\0'..='\u{1f}' => format!("\\u{:04x}", control as u32),
                _ => {
                    self.out.push(c);
                    continue;
                }
            };
            self.out.extend(escaped.chars().map(|to| marked_like(c, to)));
        }
        self.out.push('"');
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            for _ in 0..depth {
                self.out.push_str(indent);
            }
        }
    }

    fn separator(&mut self, first: bool, depth: usize) {
        if !first {
            self.out.push_str(&self.separators.0);
        }
        self.line(depth);
    }

    fn list(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut first = true;
        for item in value.try_iter()?.checked() {
            self.separator(first, depth + 1);
            first = false;
            self.value(&item?, depth + 1)?;
        }
        if !first {
            self.line(depth);
        }
        self.out.push(']');
        Ok(())
    }

    fn mapping(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut keys = value.try_iter()?.checked().collect::<Result<Vec<_>, _>>()?;
        if self.sort {
            keys.sort();
        }
        self.out.push('{');
        for (i, key) in keys.iter().enumerate() {
            self.separator(i == 0, depth + 1);
            match key.as_str() {
                Some(text) => self.text(text),
                None => self.text(&key.to_string()),
            }
            self.out.push_str(&self.separators.1);
            self.value(&value.get_item(key)?, depth + 1)?;
        }
        if !keys.is_empty() {
            self.line(depth);
        }
        self.out.push('}');
        Ok(())
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        // What was written is paid for as it grows, with a little for each value.
        self.state.consume_fuel(1)?;
        if depth == MAX_DEPTH {
            return Err(fail("tojson: expected fewer lists within lists"));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&value.to_string()),
            ValueKind::String => {
                let text = value.as_str().unwrap_or_default();
                self.state.consume_fuel(text.len() as u64 / 16)?;
                self.text(text);
            }
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth)?,
            ValueKind::Map => self.mapping(value, depth)?,
            kind => return Err(fail(format!("tojson: expected a value with a form in JSON, found {kind}"))),
        }
        Ok(())
    }
}

/// `separators`: between items, and between a key and its value; None: Python's own.
pub fn to_json(
    state: &State, value: &Value, indent: Option<String>, separators: Option<(String, String)>, sort: bool,
) -> Result<String, Error> {
    let item = if indent.is_some() { "," } else { ", " };
    let separators = separators.unwrap_or((item.to_string(), ": ".to_string()));
    let mut writer = Writer { state, indent, separators, sort, out: String::new() };
    writer.value(value, 0)?;
    Ok(writer.out)
}
