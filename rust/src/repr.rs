//! Python's `str()` and `repr()` of values, for templates that print lists, dicts and floats.
use std::fmt::{self, Write};
use std::sync::{Arc, LazyLock};

use minijinja::value::{DynObject, Enumerator, Object, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, Output, State, Value};
use regex::Regex;
use serde_json::Value as Json;

/// Deeper values than a JSON parser accepts are a loop of the template's own making.
const MAX_DEPTH: usize = 200;

/// JSON as template values whose lists and dicts print as Python's, wherever the engine prints them.
pub fn data(json: Json) -> Value {
    let container: Value = match json {
        Json::Array(items) => Value::from(items.into_iter().map(data).collect::<Vec<_>>()),
        Json::Object(fields) => Value::from_pairs(fields.into_iter().map(|(name, value)| (name, data(value)))),
        scalar => return Value::from(minijinja::value::Serde(scalar)),
    };
    match container.as_object() {
        Some(object) => Value::from_object(Data(object.clone())),
        None => container,
    }
}

/// One of the engine's own lists or maps: all but `render` is theirs.
#[derive(Debug)]
struct Data(DynObject);

impl Object for Data {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        self.0.repr()
    }
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get_value(key)
    }
    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.0.get_value_by_str(key)
    }
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.0.enumerate()
    }
    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        self.0.enumerator_len()
    }
    fn render(self: &Arc<Self>, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_repr(formatter, &Value::from_dyn_object(self.0.clone()), 0)
    }
}

/// The formatter of `{{ … }}`.
pub fn print(out: &mut Output, _: &mut State, value: &Value) -> Result<(), Error> {
    let result = match value.as_str() {
        Some(text) => out.write_str(text),
        None => out.write_str(&to_str(value)),
    };
    result.map_err(|_| Error::new(ErrorKind::WriteFailure, "out of memory"))
}

/// Python's `str(value)`; an undefined value is the empty string.
pub fn to_str(value: &Value) -> String {
    match value.kind() {
        ValueKind::Number | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            let mut text = String::new();
            let _ = write_repr(&mut text, value, 0); // writing to a String cannot fail
            text
        }
        _ => value.to_string(),
    }
}

fn write_repr(out: &mut dyn Write, value: &Value, depth: usize) -> fmt::Result {
    if depth > MAX_DEPTH {
        return out.write_str("...");
    }
    match value.kind() {
        ValueKind::String => write_string(out, value.as_str().unwrap_or_default()),
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(number) => out.write_str(&float_repr(number)),
            Err(_) => write!(out, "{value}"),
        },
        ValueKind::Undefined => out.write_str("Undefined"),
        ValueKind::Map => write_map(out, value, depth),
        ValueKind::Seq => write_items(out, value, depth),
        ValueKind::Iterable if value.len().is_some() => write_items(out, value, depth),
        _ => write!(out, "{value}"),
    }
}

fn write_map(out: &mut dyn Write, value: &Value, depth: usize) -> fmt::Result {
    out.write_char('{')?;
    let pairs = value.as_object().and_then(DynObject::try_iter_pairs);
    for (index, (key, item)) in pairs.into_iter().flatten().enumerate() {
        if index > 0 {
            out.write_str(", ")?;
        }
        write_repr(out, &key, depth + 1)?;
        out.write_str(": ")?;
        write_repr(out, &item, depth + 1)?;
    }
    out.write_char('}')
}

fn write_items(out: &mut dyn Write, value: &Value, depth: usize) -> fmt::Result {
    let (open, close) = if value.is_tuple() { ('(', ')') } else { ('[', ']') };
    out.write_char(open)?;
    let mut num_items = 0;
    for item in value.try_iter().into_iter().flatten() {
        if num_items > 0 {
            out.write_str(", ")?;
        }
        write_repr(out, &item, depth + 1)?;
        num_items += 1;
    }
    if num_items == 1 && value.is_tuple() {
        out.write_char(',')?;
    }
    out.write_char(close)
}

fn write_string(out: &mut dyn Write, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.write_char(quote)?;
    for character in text.chars() {
        match character {
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            _ if character == quote => write!(out, "\\{quote}")?,
            _ if is_printable(character) => out.write_char(character)?,
            '\0'..='\u{FF}' => write!(out, "\\x{:02x}", character as u32)?,
            '\u{100}'..='\u{FFFF}' => write!(out, "\\u{:04x}", character as u32)?,
            _ => write!(out, "\\U{:08x}", character as u32)?,
        }
    }
    out.write_char(quote)
}

/// `str.isprintable`: no control, format, private or unassigned character, and no space but U+0020.
fn is_printable(character: char) -> bool {
    static UNPRINTABLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[\p{C}\p{Z}]").ok());
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    let is_unprintable = |pattern: &Regex| pattern.is_match(character.encode_utf8(&mut [0; 4]));
    !UNPRINTABLE.as_ref().is_some_and(is_unprintable)
}

/// Python's `repr` of a float: the shortest digits that read back the same, with an exponent below 1e-4 and from 1e16 on.
pub fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if value != 0.0 && !(1e-4..1e16).contains(&value.abs()) {
        let text = format!("{value:e}"); // 1e-5, 1.5e16
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or_default();
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{value:?}")
}

pub fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
