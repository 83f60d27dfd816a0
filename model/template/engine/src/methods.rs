//! The methods that templates call on texts, mappings and lists: Python's.

use minijinja::formatting::{format, FormatStyle};
use minijinja::value::{from_args, ArgType, FunctionArgs, Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use crate::marks::{is_marked, plain, plain_char};
use crate::text;
use crate::values::{equal, fail, plain_value, text_of};

pub fn call(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match (value.kind(), value.as_str()) {
        (_, Some(text)) => of_text(state, text, method, args),
        (ValueKind::Map, _) => of_mapping(state, value, method, args),
        (ValueKind::Seq, _) => of_list(state, value, method, args),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// One fuel pays for 64 bytes; results that are longer than what they are made from are paid for before.
pub fn pay(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / 64)
}

pub fn pay_for_replacing(state: &State, text: &str, old: &str, new: &str, limit: usize) -> Result<(), Error> {
    pay(state, text.len())?;
    // A marked character takes four bytes where the plain one takes one.
    let most = (text.len() / plain(old).len().max(1) + 1).min(limit);
    pay(state, most.saturating_mul(new.len()))
}

fn limit_of(count: Option<i64>) -> usize {
    count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX)
}

fn list_of(items: Vec<&str>) -> Value {
    items.into_iter().map(Value::from).collect()
}

fn any_of(state: &State, affix: &Value, matches: impl Fn(&str) -> bool) -> Result<Value, Error> {
    if let Some(affix) = affix.as_str() {
        return Ok(Value::from(matches(&plain(affix))));
    }
    for affix in affix.try_iter()?.checked() {
        state.consume_fuel(1)?;
        if matches(&plain(&text_of(&affix?)?)) {
            return Ok(Value::from(true));
        }
    }
    Ok(Value::from(false))
}

/// (separator, maxsplit), by place or by name.
fn split_args(args: &[Value]) -> Result<(Option<String>, usize), Error> {
    let (separator, limit, named): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = match separator {
        Some(separator) => Some(separator),
        None => named.get::<Option<Value>>("sep")?,
    };
    let limit = match limit {
        Some(limit) => Some(limit),
        None => named.get::<Option<i64>>("maxsplit")?,
    };
    named.assert_all_used()?;
    let separator = separator.filter(|value| !value.is_none());
    let separator = separator.map(|value| text_of(&value).map(|text| text.into_owned())).transpose()?;
    if separator.as_deref() == Some("") {
        return Err(fail("split: expected a separator, found an empty one"));
    }
    Ok((separator, limit_of(limit)))
}

fn split(state: &State, text: &str, args: &[Value], from_right: bool) -> Result<Value, Error> {
    let (separator, limit) = split_args(args)?;
    pay(state, text.len())?;
    match separator {
        Some(separator) => Ok(list_of(text::split(text, &separator, limit, from_right))),
        None if from_right && limit != usize::MAX => Err(fail("rsplit: expected a separator with a limit")),
        None => Ok(list_of(text::split_space(text, limit))),
    }
}

fn partition(text: &str, separator: &str, last: bool) -> Value {
    let pieces = text::split(text, separator, 1, last);
    match pieces[..] {
        [before, after] => {
            let middle = &text[before.len()..text.len() - after.len()];
            list_of(vec![before, middle, after])
        }
        _ if last => list_of(vec!["", "", text]),
        _ => list_of(vec![text, "", ""]),
    }
}

/// The text without what `affix` is long, in characters, at one end.
fn without<'a>(text: &'a str, affix: &str, at_start: bool) -> &'a str {
    let seen = plain(text);
    let affix = plain(affix);
    let count = affix.chars().count();
    if at_start && seen.starts_with(affix.as_ref()) {
        return text.char_indices().nth(count).map_or("", |(at, _)| &text[at..]);
    }
    if !at_start && count > 0 && seen.ends_with(affix.as_ref()) {
        return text.char_indices().rev().nth(count - 1).map_or(text, |(at, _)| &text[..at]);
    }
    text
}

fn all(text: &str, is: impl Fn(char) -> bool) -> Value {
    Value::from(!text.is_empty() && text.chars().all(|c| is(plain_char(c))))
}

/// Whether the letters that have a case have this one, and there are any.
pub fn has_case(text: &str, upper: bool) -> bool {
    let mut cased = text.chars().map(plain_char).filter(|c| c.is_uppercase() || c.is_lowercase()).peekable();
    cased.peek().is_some() && cased.all(|c| c.is_uppercase() == upper)
}

fn join(state: &State, separator: &str, values: &Value) -> Result<Value, Error> {
    let mut out = String::new();
    for (i, value) in values.try_iter()?.checked().enumerate() {
        let value = value?;
        let text = text_of(&value)?;
        pay(state, 64 + separator.len() + text.len())?;
        if i > 0 {
            out.push_str(separator);
        }
        out.push_str(&text);
    }
    Ok(Value::from(out))
}

fn one<'a, T>(args: &'a [Value]) -> Result<T, Error>
where
    T: ArgType<'a, Output = T>,
    (T,): FunctionArgs<'a, Output = (T,)>,
{
    let (value,): (T,) = from_args(args)?;
    Ok(value)
}

/// A format of the template's own, without the characters that would print more than a text (a width would be paid
/// for only once it is written, a representation would spell out marks), and values that have a text.
pub fn only_texts(format: &str, without: &str, args: &[Value]) -> Result<(), Error> {
    if format.chars().any(|c| is_marked(c) || without.contains(c)) {
        return Err(fail("format: expected a text of the template's own with places for texts alone"));
    }
    for arg in args {
        if !arg.is_kwargs() {
            text_of(arg)?;
            continue;
        }
        for name in arg.try_iter()?.checked() {
            text_of(&arg.get_item(&name?)?)?;
        }
    }
    Ok(())
}

fn of_text(state: &mut State, text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    match method {
        "strip" | "lstrip" | "rstrip" => {
            let chars: Option<&str> = one(args)?;
            Ok(Value::from(text::strip(text, chars, method != "rstrip", method != "lstrip")))
        }
        "split" | "rsplit" => split(state, text, args, method == "rsplit"),
        "splitlines" => Ok(list_of(text::split_lines(text, one::<Option<bool>>(args)?.unwrap_or(false)))),
        "partition" | "rpartition" => match one::<&str>(args)? {
            "" => Err(fail("partition: expected a separator, found an empty one")),
            separator => Ok(partition(text, separator, method == "rpartition")),
        },
        "replace" => {
            let (old, new, count): (&str, &str, Option<i64>) = from_args(args)?;
            pay_for_replacing(state, text, old, new, limit_of(count))?;
            Ok(Value::from(text::replace(text, old, new, limit_of(count))))
        }
        "removeprefix" | "removesuffix" => {
            Ok(Value::from(without(text, one(args)?, method == "removeprefix")))
        }
        "startswith" => any_of(state, &one(args)?, |affix| plain(text).starts_with(affix)),
        "endswith" => any_of(state, &one(args)?, |affix| plain(text).ends_with(affix)),
        "find" | "rfind" => Ok(Value::from(text::find(text, one(args)?, method == "rfind"))),
        "index" | "rindex" => match text::find(text, one(args)?, method == "rindex") {
            -1 => Err(fail("index: expected a text that is there")),
            at => Ok(Value::from(at)),
        },
        "count" => Ok(Value::from(plain(text).matches(plain(one(args)?).as_ref()).count())),
        "join" => join(state, text, &one(args)?),
        "format" => {
            only_texts(text, ":!", args)?;
            format(FormatStyle::StrFormat, text, args).map(Value::from)
        }
        _ => without_arguments(text, method, args),
    }
}

fn without_arguments(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let result = match method {
        "upper" => Value::from(text::change(text, str::to_uppercase)),
        "lower" | "casefold" => Value::from(text::change(text, str::to_lowercase)),
        "title" => Value::from(text::title(text)),
        "capitalize" => Value::from(text::capitalize(text)),
        "isspace" => all(text, text::is_space),
        "isdigit" | "isnumeric" | "isdecimal" => all(text, char::is_numeric),
        "isalpha" => all(text, char::is_alphabetic),
        "isalnum" => all(text, char::is_alphanumeric),
        "isascii" => Value::from(text.chars().all(|c| plain_char(c).is_ascii())),
        "islower" => Value::from(has_case(text, false)),
        "isupper" => Value::from(has_case(text, true)),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    };
    let () = from_args(args)?;
    Ok(result)
}

fn of_mapping(state: &State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match method {
        "get" => {
            let (key, default): (&Value, Option<Value>) = from_args(args)?;
            let found = value.get_item(&plain_value(state, key, 0)?)?;
            Ok(if found.is_undefined() { default.unwrap_or(Value::from(())) } else { found })
        }
        "keys" | "values" | "items" => {
            let () = from_args(args)?;
            let mut out = Vec::new();
            for key in value.try_iter()?.checked() {
                state.consume_fuel(1)?;
                let key = key?;
                let held = value.get_item(&key)?;
                out.push(match method {
                    "keys" => key,
                    "values" => held,
                    _ => Value::from(vec![key, held]),
                });
            }
            Ok(Value::from(out))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn of_list(state: &State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let wanted: Value = match method {
        "count" | "index" => one(args)?,
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    };
    let mut count = 0;
    for (i, item) in value.try_iter()?.checked().enumerate() {
        state.consume_fuel(1)?;
        if equal(state, &item?, &wanted)? {
            if method == "index" {
                return Ok(Value::from(i));
            }
            count += 1;
        }
    }
    if method == "index" {
        return Err(fail("index: expected an item that is there"));
    }
    Ok(Value::from(count))
}
