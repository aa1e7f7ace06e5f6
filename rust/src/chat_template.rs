//! Chat templates as Transformers 5.23 renders them (`utils/chat_template_utils.py` and `apply_chat_template`): Jinja with trim_blocks
//! and lstrip_blocks, `raise_exception`, `strftime_now`, Python's methods and `json.dumps`.
use std::fmt;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, State, Value};
use serde_json::{Map, Value as Json};

use crate::repr::{data, invalid};
use crate::{filters, methods, repr, strftime, Error, Result};

/// All texts are JSON, but for the template and `now`.
pub struct Request<'a> {
    pub template: &'a str,
    pub variables: &'a str,
    pub messages: &'a str,
    pub tools: &'a str,
    pub kwargs: &'a str,
    pub now: &'a str,
    pub add_generation_prompt: bool,
}

/// Instructions (and 64-byte pieces of text) that a template may spend: about a hundred times what a chat of a thousand messages needs,
/// a second or two of a template that never ends.
const FUEL: u64 = 5_000_000;
/// Published templates have at most some 30 kB.
const MAX_TEMPLATE_BYTES: usize = 128 << 10;
/// The engine recurses over expressions and over values: at most 450 bytes for each byte of a template and 350 for each level that FUEL
/// can nest. Only pages that are touched exist.
const STACK_BYTES: usize = 512 << 20;

pub fn render(request: &Request) -> Result<String> {
    if request.template.len() > MAX_TEMPLATE_BYTES {
        return Err(Error::file(format!("the chat template has {} bytes, more than the {MAX_TEMPLATE_BYTES} allowed", request.template.len())));
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || render_here(request));
        let thread = thread.map_err(|error| Error::caller(format!("no thread for the chat template: {error}")))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn render_here(request: &Request) -> Result<String> {
    let context = context(request)?;
    let source = prepare(request.template);
    let environment = environment(request.now)?;
    let template = environment
        .template_from_named_str("chat_template", &source)
        .map_err(|error| Error::file(format!("the chat template has an error: {}", describe(&error))))?;
    template.render(context).map_err(|error| {
        Error::caller(match raised(&error) {
            Some(words) => words,
            None => format!("the chat template failed: {}", describe(&error)),
        })
    })
}

fn environment(now: &str) -> Result<Environment<'static>> {
    let now = match now {
        "" => jiff::Zoned::now().datetime(),
        text => text.parse().map_err(|error| Error::caller(format!("the time \"{text}\" is not like 2025-06-28T12:00:00: {error}")))?,
    };
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    let mut environment = Environment::new();
    environment.set_syntax(syntax.map_err(|error| Error::caller(error.to_string()))?);
    environment.set_fuel(Some(FUEL));
    environment.set_formatter(repr::print);
    environment.set_unknown_method_callback(methods::call);
    filters::add_to(&mut environment);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", move |format: &str| strftime::format(now, format));
    Ok(environment)
}

fn raise_exception(state: &State, message: &Value) -> std::result::Result<Value, minijinja::Error> {
    let message = repr::to_str(state, message)?;
    Err(invalid(message.clone()).with_source(Raised(message)))
}

/// Marks an error as the template's own, to be shown in its own words.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

fn raised(error: &minijinja::Error) -> Option<String> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(Raised(words)) = error.downcast_ref() {
            return Some(words.clone());
        }
        cause = error.source();
    }
    None
}

fn describe(error: &minijinja::Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return format!("it does not end (stopped after {FUEL} steps)");
    }
    error.to_string() // "undefined value: … (in chat_template:12)"
}

/// The template as the engine needs it.
/// - Line ends are "\n", as Jinja's lexer makes them.
/// - `{% generation %}` marks what the assistant said, for training. It is a scope of its own and prints its body: `{% with %}` likewise.
fn prepare(template: &str) -> String {
    let mut source = template.replace("\r\n", "\n").replace('\r', "\n");
    for (tag, replacement) in [("generation", "with"), ("endgeneration", "endwith")] {
        source = rename_tag(&source, tag, replacement);
    }
    source
}

fn rename_tag(source: &str, tag: &str, replacement: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, block) = rest.split_at(at + 2);
        out += before;
        let name = block.trim_start_matches(['-', '+']).trim_start();
        let after = name.strip_prefix(tag).map(|after| (after, after.trim_start().trim_start_matches(['-', '+'])));
        match after {
            Some((after, end)) if end.starts_with("%}") => {
                out += &block[..block.len() - name.len()];
                out += replacement;
                rest = after;
            }
            _ => rest = block,
        }
    }
    out + rest
}

/// The variables of the template: those of the tokenizer, then the caller's, then the chat itself.
fn context(request: &Request) -> Result<Value> {
    let mut context = Map::new();
    context.insert("documents".to_owned(), Json::Null);
    for (json, what) in [(request.variables, "the special tokens"), (request.kwargs, "the template variables")] {
        match parse(json, what)? {
            Json::Object(variables) => context.extend(variables),
            Json::Null => {}
            _ => return Err(Error::caller(format!("{what} are not a JSON object"))),
        }
    }
    let tools = parse(request.tools, "the tools")?;
    if !tools.is_null() && !tools.is_array() {
        return Err(Error::caller("the tools are not a JSON array"));
    }
    context.insert("messages".to_owned(), messages(request.messages)?);
    context.insert("tools".to_owned(), tools);
    context.insert("add_generation_prompt".to_owned(), Json::Bool(request.add_generation_prompt));
    Ok(data(Json::Object(context)))
}

fn messages(json: &str) -> Result<Json> {
    let Json::Array(messages) = parse(json, "the messages")? else {
        return Err(Error::caller("the messages are not a JSON array of objects with role and content"));
    };
    if messages.is_empty() {
        return Err(Error::caller("there are no messages; a chat needs at least one"));
    }
    messages.into_iter().map(message).collect()
}

/// Drops null fields, which templates would print as "None", and gives the model's earlier reasoning the names that templates read.
fn message(message: Json) -> Result<Json> {
    let Json::Object(fields) = message else {
        return Err(Error::caller(format!("a message is {message}, not an object with role and content")));
    };
    let fields: Map<String, Json> = fields.into_iter().filter(|(_, value)| !value.is_null()).collect();
    let reasoning = ["reasoning_content", "thinking", "reasoning"].iter().find_map(|name| fields.get(*name).cloned());
    let Some(reasoning) = reasoning else {
        return Ok(Json::Object(fields));
    };
    let mut renamed = Map::from_iter([("thinking".to_owned(), reasoning.clone())]);
    renamed.extend(fields);
    renamed.insert("reasoning_content".to_owned(), reasoning);
    Ok(Json::Object(renamed))
}

fn parse(json: &str, what: &str) -> Result<Json> {
    if json.is_empty() {
        return Ok(Json::Null);
    }
    serde_json::from_str(json).map_err(|error| Error::caller(format!("{what} are not valid JSON: {error}")))
}
