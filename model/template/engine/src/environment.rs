//! What a chat template may call: what transformers gives it, and nothing of the host.

use std::cmp::Ordering;
use std::ffi::CString;
use std::fmt;

use minijinja::value::{from_args, Kwargs, Rest, ValueKind, ValueOrKwargs};
use minijinja::{filters, functions, Environment, Error, State, Value};

use crate::marks::{has_marks, plain};
use crate::methods::{self, pay, pay_for_replacing};
use crate::values::{compare, contains, equal, fail, keep, plain_value, text_of};
use crate::{json, text};

/// The names of what stands in for instructions (compile.rs): no name of a template can be one of them.
pub const CHECK: &str = "=check";
pub const KEEP: &str = "=keep";
pub const MAP: &str = "=map";
pub const CONCAT: &str = "=concat";
pub const ITEM: &str = "=item";
/// The seconds since 1970 that `strftime_now` means.
pub const NOW: &str = "=now";

const MAX_FORMAT_BYTES: usize = 256;
const RECURSION_LIMIT: usize = 64;

/// `raise_exception`: the template's own words about a conversation that it does not take.
#[derive(Debug)]
pub struct Raised(pub String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

pub fn make() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_recursion_limit(RECURSION_LIMIT);
    env.set_unknown_method_callback(methods::call);
    env.set_formatter(|out, _state, value| {
        out.write_str(&text_of(value)?).map_err(|_| fail("the text could not be written"))
    });
    for name in ["e", "escape", "pprint", "chain", "zip", "lines", "split", "bool"] {
        env.remove_filter(name);
    }
    for name in ["startingwith", "endingwith"] {
        env.remove_test(name);
    }
    env.remove_global("debug");
    add_functions(&mut env);
    add_tests(&mut env);
    add_text_filters(&mut env);
    add_value_filters(&mut env);
    env
}

fn raise_exception(message: &Value) -> Result<Value, Error> {
    let message = plain(&text_of(message)?).into_owned();
    Err(fail(message.clone()).with_source(Raised(message)))
}

fn strftime_now(state: &State, format: &str) -> Result<String, Error> {
    let format = plain(format);
    if format.len() > MAX_FORMAT_BYTES {
        return Err(fail(format!("strftime_now: expected at most {MAX_FORMAT_BYTES} bytes, found {}", format.len())));
    }
    if format.is_empty() {
        return Ok(String::new());
    }
    let format = CString::new(format.as_bytes()).map_err(|_| fail("strftime_now: expected a format without NUL"))?;
    let now = state.lookup(NOW).and_then(|now| i64::try_from(now).ok()).unwrap_or(0);
    let mut buffer = [0u8; 16 * MAX_FORMAT_BYTES];
    // SAFETY: `time` is plain data that localtime_r fills in; strftime writes at most the buffer's length and says how
    // much it wrote.
    let size = unsafe {
        let mut time: libc::tm = std::mem::zeroed();
        libc::localtime_r(&now, &mut time);
        libc::strftime(buffer.as_mut_ptr().cast(), buffer.len(), format.as_ptr(), &time)
    };
    Ok(String::from_utf8_lossy(&buffer[..size]).into_owned())
}

type Holds = fn(Ordering) -> bool;
const ORDERS: [(&str, Holds); 4] =
    [("<", Ordering::is_lt), ("<=", Ordering::is_le), (">", Ordering::is_gt), (">=", Ordering::is_ge)];

fn add_functions(env: &mut Environment<'static>) {
    env.add_function("raise_exception", raise_exception);
    env.add_function("strftime_now", strftime_now);
    env.add_function("namespace", |state: &State, defaults: Option<ValueOrKwargs>| {
        let defaults = match defaults.map(ValueOrKwargs::into_value) {
            Some(defaults) => vec![keep(state, &defaults, 1)?],
            None => Vec::new(),
        };
        let (defaults,) = from_args(&defaults)?;
        functions::namespace(defaults)
    });
    env.add_function(KEEP, |state: &State, value: &Value| keep(state, value, 0));
    env.add_function(CHECK, |state: &State, value: &Value| keep(state, value, 1));
    env.add_function("==", |state: &State, a: &Value, b: &Value| equal(state, a, b));
    env.add_function("!=", |state: &State, a: &Value, b: &Value| Ok::<_, Error>(!equal(state, a, b)?));
    env.add_function("in", |state: &State, item: &Value, container: &Value| contains(state, container, item));
    env.add_function(MAP, |args: Rest<Value>| {
        if args.iter().step_by(2).any(|key| key.as_str().is_some_and(has_marks)) {
            return Err(fail("expected keys of the template's own, found a text of a message"));
        }
        Ok(Value::from_pairs(args.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()))))
    });
    env.add_function(ITEM, |state: &State, value: &Value, key: &Value| {
        pay(state, value.as_str().map_or(0, str::len))?;
        match key.as_str() {
            Some(text) if has_marks(text) => value.get_item(&Value::from(plain(text))),
            _ => value.get_item(key),
        }
    });
    for (name, holds) in ORDERS {
        env.add_function(name, move |state: &State, a: &Value, b: &Value| {
            Ok::<_, Error>(compare(state, a, b)?.is_some_and(holds))
        });
    }
    env.add_function(CONCAT, |state: &State, a: &Value, b: &Value| {
        let (a, b) = (text_of(a)?, text_of(b)?);
        pay(state, a.len() + b.len())?;
        Ok::<_, Error>(Value::from(format!("{a}{b}")))
    });
}

fn add_tests(env: &mut Environment<'static>) {
    for name in ["eq", "equalto", "==", "sameas"] {
        env.add_test(name, |state: &State, a: &Value, b: &Value| equal(state, a, b));
    }
    for name in ["ne", "!="] {
        env.add_test(name, |state: &State, a: &Value, b: &Value| Ok::<_, Error>(!equal(state, a, b)?));
    }
    env.add_test("in", |state: &State, item: &Value, container: &Value| contains(state, container, item));
    let names = ["lt", "le", "gt", "ge", "lessthan", "", "greaterthan", ""];
    for (name, (symbol, holds)) in names.into_iter().zip(ORDERS.into_iter().cycle()) {
        for name in [name, symbol] {
            env.add_test(name, move |state: &State, a: &Value, b: &Value| {
                Ok::<_, Error>(compare(state, a, b)?.is_some_and(holds))
            });
        }
    }
    // As in Python: none is neither, texts and mappings are both.
    for name in ["iterable", "sequence"] {
        env.add_test(name, |value: &Value| {
            use ValueKind::{Iterable, Map, Seq, String, Undefined};
            matches!(value.kind(), Iterable | Map | Seq | String | Undefined)
        });
    }
    env.add_test("lower", |value: &Value| Ok::<_, Error>(methods::has_case(&text_of(value)?, false)));
    env.add_test("upper", |value: &Value| Ok::<_, Error>(methods::has_case(&text_of(value)?, true)));
}

fn add_text_filters(env: &mut Environment<'static>) {
    env.add_filter("string", |value: &Value| text_of(value).map(|text| Value::from(text.as_ref())));
    env.add_filter("safe", |value: &Value| text_of(value).map(|text| Value::from(text.as_ref())));
    env.add_filter("upper", |value: &Value| Ok::<_, Error>(text::change(&text_of(value)?, str::to_uppercase)));
    env.add_filter("lower", |value: &Value| Ok::<_, Error>(text::change(&text_of(value)?, str::to_lowercase)));
    env.add_filter("title", |value: &Value| Ok::<_, Error>(text::title(&text_of(value)?)));
    env.add_filter("capitalize", |value: &Value| Ok::<_, Error>(text::capitalize(&text_of(value)?)));
    env.add_filter("trim", |value: &Value, chars: Option<&str>| {
        Ok::<_, Error>(text::strip(&text_of(value)?, chars, true, true).to_string())
    });
    env.add_filter("wordcount", |value: &Value| {
        Ok::<_, Error>(text::split_space(&text_of(value)?, usize::MAX).len())
    });
    env.add_filter("replace", |state: &State, value: &Value, old: &Value, new: &Value, count: Option<i64>| {
        let (value, old, new) = (text_of(value)?, text_of(old)?, text_of(new)?);
        let limit = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
        pay_for_replacing(state, &value, &old, &new, limit)?;
        Ok::<_, Error>(text::replace(&value, &old, &new, limit))
    });
    env.add_filter("format", |state: &mut State, format: &Value, args: Rest<ValueOrKwargs>| {
        let args = args.into_values();
        let text = text_of(format)?.into_owned();
        // "%r" and "%a".
        let conversion = |place: &str| place.chars().find(|c| c.is_alphabetic() || *c == '%');
        if text.split('%').skip(1).any(|place| matches!(conversion(place), Some('r' | 'a'))) {
            return Err(fail("format: expected places for texts and numbers alone"));
        }
        methods::only_texts(&text, "", &args)?;
        let (args,) = from_args(&args)?;
        filters::format(state, format, args)
    });
    env.add_filter("indent", indent);
    env.add_filter("join", join);
    env.add_filter("tojson", to_json);
}

fn indent(state: &State, value: &Value, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let args = args.into_values();
    let (width, first, blank, named): (Option<Value>, Option<bool>, Option<bool>, Kwargs) = from_args(&args)?;
    let named_value = |name: &str| named.get::<Option<Value>>(name);
    let width = width.or(named_value("width")?).unwrap_or(Value::from(4));
    let first = first.or(named_value("first")?.map(|v| v.is_true())).unwrap_or(false);
    let blank = blank.or(named_value("blank")?.map(|v| v.is_true())).unwrap_or(false);
    named.assert_all_used()?;
    let indention = match width.as_str() {
        Some(text) => text.to_string(),
        None => " ".repeat(usize::try_from(width)?.min(1024)),
    };
    let text = text_of(value)?;
    pay(state, text.len().saturating_add(plain(&text).lines().count().saturating_mul(indention.len())))?;
    Ok(text::indent(&text, &indention, first, blank))
}

fn join(state: &State, value: &Value, separator: Option<&Value>, named: Kwargs) -> Result<String, Error> {
    let attribute: Option<Value> = named.get("attribute")?;
    let named_separator: Option<Value> = named.get("d")?;
    named.assert_all_used()?;
    let separator = match separator.or(named_separator.as_ref()) {
        Some(separator) => text_of(separator)?.into_owned(),
        None => String::new(),
    };
    let mut out = String::new();
    for (i, item) in value.try_iter()?.checked().enumerate() {
        let item = match &attribute {
            Some(attribute) => item?.get_item(attribute)?,
            None => item?,
        };
        let text = text_of(&item)?;
        pay(state, 64 + separator.len() + text.len())?;
        if i > 0 {
            out.push_str(&separator);
        }
        out.push_str(&text);
    }
    Ok(out)
}

fn to_json(state: &State, value: &Value, named: Kwargs) -> Result<String, Error> {
    let indent = match named.get::<Option<Value>>("indent")? {
        None => None,
        Some(indent) if indent.is_none() => None,
        Some(indent) => match indent.as_str() {
            Some(text) => Some(text.to_string()),
            None => Some(" ".repeat(usize::try_from(indent)?.min(64))),
        },
    };
    let sort = named.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    if named.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false) {
        return Err(fail("tojson: expected ensure_ascii=false"));
    }
    let separators = match named.get::<Option<Value>>("separators")? {
        Some(pair) if !pair.is_none() => {
            let text = |i| text_of(&pair.get_item_by_index(i)?).map(|text| text.into_owned());
            Some((text(0)?, text(1)?))
        }
        _ => None,
    };
    named.assert_all_used()?;
    json::to_json(state, value, indent, separators, sort)
}

/// Sorting would order what users wrote behind everything else.
fn only_own(value: &Value) -> Result<(), Error> {
    for item in value.try_iter()?.checked() {
        if item?.as_str().is_some_and(has_marks) {
            return Err(fail("expected texts of the template's own to order, found one of a message"));
        }
    }
    Ok(())
}

fn add_value_filters(env: &mut Environment<'static>) {
    env.add_filter("int", |state: &State, value: &Value, default: Option<Value>, base: Option<u32>, named: Kwargs| {
        filters::int(state, &plain_value(state, value, 0)?, default, base, named)
    });
    env.add_filter("float", |state: &State, value: &Value, default: Option<Value>, named: Kwargs| {
        filters::float(state, &plain_value(state, value, 0)?, default, named)
    });
    env.add_filter("sort", |state: &State, value: Value, named: Kwargs| {
        only_own(&value)?;
        filters::sort(state, value, named)
    });
    env.add_filter("unique", |state: &State, value: Value, named: Kwargs| {
        only_own(&value)?;
        filters::unique(state, value, named)
    });
    env.add_filter("min", |state: &State, value: Value, named: Kwargs| {
        only_own(&value)?;
        filters::min(state, value, named)
    });
    env.add_filter("max", |state: &State, value: Value, named: Kwargs| {
        only_own(&value)?;
        filters::max(state, value, named)
    });
}
