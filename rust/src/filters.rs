//! Filters and tests that differ between minijinja and Jinja.
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{filters, Environment, Error, State, Value};

use crate::methods::is_space;
use crate::repr::to_str;
use crate::tojson::tojson;

pub fn add_to(environment: &mut Environment) {
    environment.add_filter("tojson", tojson);
    environment.add_filter("string", string);
    environment.add_filter("trim", trim);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("escape", escape);
    environment.add_filter("e", escape);
    environment.add_test("sequence", is_sequence);
}

fn string(state: &State, value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => Ok(value.clone()),
        _ => to_str(state, value).map(Value::from),
    }
}

fn trim(state: &State, value: &Value, characters: Option<&str>) -> Result<String, Error> {
    let text = to_str(state, value)?;
    Ok(match characters {
        Some(characters) => text.trim_matches(|it| characters.contains(it)).to_owned(),
        None => text.trim_matches(is_space).to_owned(),
    })
}

/// What is no number is the default, 0, instead of an error.
fn int(state: &State, value: &Value, default: Option<Value>, base: Option<u32>, kwargs: Kwargs) -> Result<Value, Error> {
    let default = default_of(default, &kwargs, Value::from(0))?;
    filters::int(state, &numeral(value), Some(default), base, kwargs)
}

fn float(state: &State, value: &Value, default: Option<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let default = default_of(default, &kwargs, Value::from(0.0))?;
    filters::float(state, &numeral(value), Some(default), kwargs)
}

fn default_of(default: Option<Value>, kwargs: &Kwargs, otherwise: Value) -> Result<Value, Error> {
    let named = kwargs.get::<Option<Value>>("default")?;
    Ok(default.or(named).unwrap_or(otherwise))
}

/// Python reads " 1_000 " as a number.
fn numeral(value: &Value) -> Value {
    match value.as_str() {
        Some(text) => Value::from(text.trim_matches(is_space).replace('_', "")),
        None => value.clone(),
    }
}

/// `boolean=true` replaces whatever is false.
fn default(value: &Value, otherwise: Option<Value>, boolean: Option<bool>, kwargs: Kwargs) -> Result<Value, Error> {
    let otherwise = match otherwise {
        Some(otherwise) => otherwise,
        None => kwargs.get::<Option<Value>>("default_value")?.unwrap_or_else(|| Value::from("")),
    };
    let boolean = boolean.or(kwargs.get("boolean")?).unwrap_or(false);
    kwargs.assert_all_used()?;
    Ok(if value.is_undefined() || (boolean && !value.is_true()) { otherwise } else { value.clone() })
}

/// With the entities of Python's markupsafe.
fn escape(state: &State, value: &Value) -> Result<Value, Error> {
    if value.is_safe() {
        return Ok(value.clone());
    }
    let mut escaped = String::new();
    for character in to_str(state, value)?.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&#34;",
            '\'' => escaped += "&#39;",
            _ => escaped.push(character),
        }
    }
    Ok(Value::from_safe_string(escaped))
}

/// Jinja calls everything a sequence that has a length and items: strings and dicts too.
fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map)
}
