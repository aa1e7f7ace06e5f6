//! `datetime.strftime` of a time without zone, in the C locale.
use jiff::civil::DateTime;
use minijinja::Error;

use crate::repr::invalid;

pub fn format(time: DateTime, format: &str) -> Result<String, Error> {
    let mut directives = String::with_capacity(format.len());
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        directives += &rest[..at];
        let length = rest[at + 1..].chars().next().map_or(0, char::len_utf8);
        let directive = &rest[at..at + 1 + length];
        directives += match directive {
            "%c" => "%a %b %e %H:%M:%S %Y",
            "%x" => "%m/%d/%y",
            "%X" => "%H:%M:%S",
            "%f" => "%6f",
            "%Z" | "%z" => "", // no zone
            "%" => "%%",
            other => other,
        };
        rest = &rest[at + directive.len()..];
    }
    directives += rest;
    jiff::fmt::strtime::format(&directives, time).map_err(|error| invalid(format!("strftime_now(\"{format}\"): {error}")))
}
