//! The `tojson` filter of Transformers: Python's `json.dumps`.
use std::fmt::Write;

use minijinja::value::{from_args, Kwargs, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Error, State, Value};

use crate::repr::{float_repr, invalid, too_deep, MAX_DEPTH};

/// `tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)` of Transformers: `json.dumps` without the HTML escapes
/// of Jinja's own filter.
pub fn tojson(state: &State, value: &Value, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let args = args.into_values();
    let (positional, kwargs) = from_args::<(&[Value], Kwargs)>(&args)?;
    let option = |index: usize, name: &str| -> Result<Option<Value>, Error> {
        let value = match positional.get(index) {
            Some(value) => Some(value.clone()),
            None => kwargs.get::<Option<Value>>(name)?,
        };
        Ok(value.filter(|value| !value.is_none() && !value.is_undefined()))
    };
    let is_set = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let ensure_ascii = is_set(option(0, "ensure_ascii")?);
    let indent = match option(1, "indent")? {
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(i64::try_from(indent)?.clamp(0, MAX_INDENT) as usize),
        }),
        None => None,
    };
    let (item_separator, key_separator) = match option(2, "separators")? {
        Some(pair) => (pair.get_item_by_index(0)?.to_string(), pair.get_item_by_index(1)?.to_string()),
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
    };
    let sort_keys = is_set(option(3, "sort_keys")?);
    kwargs.assert_all_used()?;
    let mut dump = Dump { state, out: String::new(), ensure_ascii, indent, item_separator, key_separator, sort_keys };
    dump.value(value, 0)?;
    Ok(dump.out)
}

const MAX_INDENT: i64 = 64;

struct Dump<'a> {
    state: &'a State<'a, 'a>,
    out: String,
    ensure_ascii: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

impl Dump<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.state.consume_fuel(1)?;
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        match value.kind() {
            ValueKind::None | ValueKind::Bool | ValueKind::Number => self.out += &scalar(value)?,
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.sequence(value, depth)?,
            ValueKind::Map => self.mapping(value, depth)?,
            kind => return Err(invalid(format!("tojson: a value of type {kind} is not JSON serializable"))),
        }
        Ok(())
    }

    fn sequence(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut is_empty = true;
        for item in value.try_iter()?.checked() {
            self.before_item(is_empty, depth + 1);
            self.value(&item?, depth + 1)?;
            is_empty = false;
        }
        self.close(']', is_empty, depth);
        Ok(())
    }

    fn mapping(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut items = Vec::new();
        for key in value.try_iter()?.checked() {
            let key = key?;
            let name = match key.as_str() {
                Some(name) => name.to_owned(),
                None => scalar(&key)?,
            };
            items.push((name, value.get_item(&key)?));
        }
        if self.sort_keys {
            items.sort_by(|a, b| a.0.cmp(&b.0));
        }
        self.out.push('{');
        let is_empty = items.is_empty();
        for (index, (name, item)) in items.iter().enumerate() {
            self.before_item(index == 0, depth + 1);
            self.string(name);
            self.out += &self.key_separator;
            self.value(item, depth + 1)?;
        }
        self.close('}', is_empty, depth);
        Ok(())
    }

    fn before_item(&mut self, is_first: bool, depth: usize) {
        if !is_first {
            self.out += &self.item_separator;
        }
        self.new_line(depth);
    }

    fn close(&mut self, bracket: char, is_empty: bool, depth: usize) {
        if !is_empty {
            self.new_line(depth);
        }
        self.out.push(bracket);
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            for _ in 0..depth {
                self.out += indent;
            }
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out += "\\\"",
                '\\' => self.out += "\\\\",
                '\n' => self.out += "\\n",
                '\r' => self.out += "\\r",
                '\t' => self.out += "\\t",
                '\u{8}' => self.out += "\\b",
                '\u{c}' => self.out += "\\f",
                '\0'..='\u{1f}' => self.escape(character),
                _ if self.ensure_ascii && !character.is_ascii() => self.escape(character),
                _ => self.out.push(character),
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, character: char) {
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _ = write!(self.out, "\\u{unit:04x}"); // writing to a String cannot fail
        }
    }
}

/// None, a bool or a number as JSON: also how `json.dumps` writes one as a key.
fn scalar(value: &Value) -> Result<String, Error> {
    Ok(match value.kind() {
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => if value.is_true() { "true" } else { "false" }.to_owned(),
        ValueKind::Number if value.is_integer() => value.to_string(),
        ValueKind::Number => match float_repr(f64::try_from(value.clone())?).as_str() {
            "inf" => "Infinity".to_owned(),
            "-inf" => "-Infinity".to_owned(),
            "nan" => "NaN".to_owned(),
            digits => digits.to_owned(),
        },
        kind => return Err(invalid(format!("tojson: keys must be strings, numbers, booleans or none, not {kind}"))),
    })
}
