//! Methods of Python's strings: those that minijinja's `pycompat` lacks or does otherwise; the rest goes to it.
use minijinja::value::{from_args, Tuple};
use minijinja::{Error, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use crate::repr::invalid;

pub fn call(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let result = match value.as_str() {
        Some(text) if method == "format" && has_absurd_width(text) => Some(Err(invalid("format: the width is absurd".to_owned()))),
        Some(text) => trimmed(text, method, args)
            .or_else(|| padded(state, text, method, args))
            .or_else(|| separated(state, text, method, args))
            .or_else(|| spelled(text, method, args)),
        None => None,
    };
    result.unwrap_or_else(|| unknown_method_callback(state, value, method, args))
}

/// `str.isspace`: Unicode's white space and the four separators U+001C to U+001F.
pub fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1C}'..='\u{1F}').contains(&character)
}

/// `format` takes the memory that a width asks for before it pays: "{:999999999}" is refused here.
fn has_absurd_width(format: &str) -> bool {
    format.split(|character: char| !character.is_ascii_digit()).any(|digits| digits.len() > 5)
}

fn trimmed(text: &str, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    let kept = match method {
        "strip" if args.is_empty() => text.trim_matches(is_space),
        "lstrip" if args.is_empty() => text.trim_start_matches(is_space),
        "rstrip" if args.is_empty() => text.trim_end_matches(is_space),
        "removeprefix" => return Some(from_args(args).map(|(prefix,): (&str,)| text.strip_prefix(prefix).unwrap_or(text).into())),
        "removesuffix" => return Some(from_args(args).map(|(suffix,): (&str,)| text.strip_suffix(suffix).unwrap_or(text).into())),
        _ => return None,
    };
    Some(Ok(kept.into()))
}

fn padded(state: &State, text: &str, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    if !matches!(method, "ljust" | "rjust" | "center" | "zfill") {
        return None;
    }
    Some(from_args(args).and_then(|(width, fill): (usize, Option<&str>)| pad(state, text, method, (width, fill.unwrap_or(" ")))))
}

fn pad(state: &State, text: &str, method: &str, (width, fill): (usize, &str)) -> Result<Value, Error> {
    let missing = width.saturating_sub(text.chars().count());
    state.consume_fuel((missing / 64) as u64)?; // pays for the memory before it is taken
    let before = match method {
        "ljust" => 0,
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    if method == "zfill" {
        let sign = usize::from(text.starts_with(['+', '-']));
        return Ok(format!("{}{}{}", &text[..sign], "0".repeat(before), &text[sign..]).into());
    }
    Ok(format!("{}{text}{}", fill.repeat(before), fill.repeat(missing - before)).into())
}

fn separated(state: &State, text: &str, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    let three = |parts: Option<(&str, &str)>, separator: &str, whole: [&str; 3]| {
        let parts = parts.map_or(whole, |(before, after)| [before, separator, after]);
        Value::from(Tuple::from(parts.map(Value::from)))
    };
    Some(match method {
        "partition" => from_args(args).map(|(separator,): (&str,)| three(text.split_once(separator), separator, [text, "", ""])),
        "rpartition" => from_args(args).map(|(separator,): (&str,)| three(text.rsplit_once(separator), separator, ["", "", text])),
        "rsplit" => from_args(args).map(|(separator, limit): (Option<&str>, Option<i64>)| (separator, limit)).and_then(|(separator, limit)| {
            state.consume_fuel(text.len() as u64)?; // there may be as many parts
            Ok(rsplit(text, separator, limit))
        }),
        "index" | "rindex" => from_args(args).and_then(|(part,): (&str,)| {
            let at = if method == "index" { text.find(part) } else { text.rfind(part) };
            at.map(|at| Value::from(text[..at].chars().count())).ok_or_else(|| invalid(format!("{method}: substring not found")))
        }),
        "splitlines" if args.is_empty() => {
            let num_lines = text.chars().filter(|it| LINE_ENDS.contains(it)).count();
            state.consume_fuel(num_lines as u64).map(|()| lines(text).into_iter().collect())
        }
        _ => return None,
    })
}

fn rsplit(text: &str, separator: Option<&str>, limit: Option<i64>) -> Value {
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).map_or(usize::MAX, |limit| limit.saturating_add(1));
    let mut parts: Vec<&str> = Vec::new();
    match separator {
        Some(separator) => parts.extend(text.rsplitn(limit, separator)),
        None => {
            let mut rest = text.trim_end_matches(is_space);
            while !rest.is_empty() {
                let start = if parts.len() + 1 < limit { rest.rfind(is_space) } else { None };
                let word = start.map_or(rest, |at| rest[at..].trim_start_matches(is_space));
                parts.push(word);
                rest = rest[..rest.len() - word.len()].trim_end_matches(is_space);
            }
        }
    }
    parts.into_iter().rev().collect()
}

/// Python ends lines at more characters than "\n".
const LINE_ENDS: [char; 10] = ['\n', '\r', '\u{B}', '\u{C}', '\u{1C}', '\u{1D}', '\u{1E}', '\u{85}', '\u{2028}', '\u{2029}'];

fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let at = rest.find(LINE_ENDS).unwrap_or(rest.len());
        lines.push(&rest[..at]);
        rest = &rest[at..];
        let end = if rest.starts_with("\r\n") { 2 } else { rest.chars().next().map_or(0, char::len_utf8) };
        rest = &rest[end..];
    }
    lines
}

fn spelled(text: &str, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    let spell = match method {
        "swapcase" => swap_case,
        "title" => title,
        _ => return None,
    };
    Some(from_args(args).map(|()| Value::from(spell(text))))
}

fn swap_case(text: &str) -> String {
    let swap = |character: char| -> String {
        if character.is_uppercase() {
            character.to_lowercase().collect()
        } else {
            character.to_uppercase().collect()
        }
    };
    text.chars().map(swap).collect()
}

/// A word starts after every character that is no letter, apostrophes included.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_in_word = false;
    for character in text.chars() {
        if is_in_word {
            out.extend(character.to_lowercase());
        } else {
            out.extend(character.to_uppercase());
        }
        is_in_word = character.is_alphabetic();
    }
    out
}
