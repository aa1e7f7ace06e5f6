//! Python's `str()` and `repr()` of values, for templates that print lists, dicts and floats.
use std::fmt;
use std::sync::{Arc, LazyLock};

use minijinja::value::{DynObject, Enumerator, Object, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, Output, State, Value};
use regex::Regex;
use serde_json::Value as Json;

/// Deeper values than a JSON parser accepts are a loop of the template's own making.
pub const MAX_DEPTH: usize = 200;

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
        let mut printer = Printer { out: String::new(), state: None }; // parsed from text, so no larger than it
        printer.value(&Value::from_dyn_object(self.0.clone()), 0).map_err(|_| fmt::Error)?;
        formatter.write_str(&printer.out)
    }
}

/// The formatter of `{{ … }}`.
pub fn print(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    let result = match value.as_str() {
        Some(text) => out.write_str(text),
        None => out.write_str(&to_str(state, value)?),
    };
    result.map_err(|_| Error::new(ErrorKind::WriteFailure, "out of memory"))
}

/// Python's `str(value)`; an undefined value is the empty string.
pub fn to_str(state: &State, value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Number | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            let mut printer = Printer { out: String::new(), state: Some(state) };
            printer.value(value, 0)?;
            Ok(printer.out)
        }
        _ => Ok(value.to_string()),
    }
}

struct Printer<'a> {
    out: String,
    /// Pays for every value: a list that holds another twice, which holds another twice, … prints as more than any memory holds.
    state: Option<&'a State<'a, 'a>>,
}

impl Printer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if let Some(state) = self.state {
            state.consume_fuel(1)?;
        }
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        match value.kind() {
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Number if !value.is_integer() => self.out += &float_repr(f64::try_from(value.clone())?),
            ValueKind::Undefined => self.out += "Undefined",
            ValueKind::Map => self.map(value, depth)?,
            ValueKind::Seq => self.items(value, depth)?,
            ValueKind::Iterable if value.len().is_some() => self.items(value, depth)?,
            _ => self.out += &value.to_string(),
        }
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('{');
        let pairs = value.as_object().and_then(DynObject::try_iter_pairs);
        for (index, (key, item)) in pairs.into_iter().flatten().enumerate() {
            if index > 0 {
                self.out += ", ";
            }
            self.value(&key, depth + 1)?;
            self.out += ": ";
            self.value(&item, depth + 1)?;
        }
        self.out.push('}');
        Ok(())
    }

    fn items(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let (open, close) = if value.is_tuple() { ('(', ')') } else { ('[', ']') };
        self.out.push(open);
        let mut num_items = 0;
        for item in value.try_iter()?.checked() {
            if num_items > 0 {
                self.out += ", ";
            }
            self.value(&item?, depth + 1)?;
            num_items += 1;
        }
        if num_items == 1 && value.is_tuple() {
            self.out.push(',');
        }
        self.out.push(close);
        Ok(())
    }

    fn string(&mut self, text: &str) {
        let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
        self.out.push(quote);
        for character in text.chars() {
            let code_point = character as u32;
            match character {
                '\\' => self.out += "\\\\",
                '\n' => self.out += "\\n",
                '\r' => self.out += "\\r",
                '\t' => self.out += "\\t",
                _ if character == quote => self.out.extend(['\\', quote]),
                _ if is_printable(character) => self.out.push(character),
                '\0'..='\u{FF}' => self.out += &format!("\\x{code_point:02x}"),
                '\u{100}'..='\u{FFFF}' => self.out += &format!("\\u{code_point:04x}"),
                _ => self.out += &format!("\\U{code_point:08x}"),
            }
        }
        self.out.push(quote);
    }
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

pub fn too_deep() -> Error {
    invalid(format!("the value is nested more than {MAX_DEPTH} levels deep"))
}

pub fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
