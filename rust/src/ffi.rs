//! The C ABI. Every function catches panics, so that a bug below becomes an error and never unwinds into C++.
//! Safety, for all of them: a `Slice` points to `size` readable bytes, pointers come from the matching `_new`, and `out` is writable.
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

use crate::chat_template::{self, Request};
use crate::detokenizer::Detokenizer;
use crate::special_tokens::SpecialTokens;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Slice {
    data: *const u8,
    size: usize,
}

/// Bytes that Rust allocated; `intaglio_buffer_free` returns them.
#[repr(C)]
pub struct Buffer {
    data: *mut u8,
    size: usize,
    capacity: usize,
}

impl Buffer {
    fn new(bytes: Vec<u8>) -> Self {
        let mut bytes = std::mem::ManuallyDrop::new(bytes);
        Buffer { data: bytes.as_mut_ptr(), size: bytes.len(), capacity: bytes.capacity() }
    }
}

impl Slice {
    unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.size == 0 {
            return &[];
        }
        std::slice::from_raw_parts(self.data, self.size)
    }

    unsafe fn text<'a>(self, what: &str) -> Result<&'a str> {
        let bytes = self.bytes();
        std::str::from_utf8(bytes).map_err(|error| {
            let at = error.valid_up_to();
            Error::caller(format!("{what} is not valid UTF-8: byte {at} is 0x{:02x}", bytes[at]))
        })
    }
}

/// Runs `body`; its bytes, or the message of its error, go to `out`. Returns 0, or the number of the `Fault`.
unsafe fn guard(out: *mut Buffer, body: impl FnOnce() -> Result<Vec<u8>>) -> i32 {
    // A library does not print: the default hook would write every panic to stderr.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(Error::file(format!("the text library cannot handle this input ({})", words.unwrap_or("panic"))))
    });
    let (code, bytes) = match result {
        Ok(bytes) => (0, bytes),
        Err(error) => (error.fault as i32, error.message.into_bytes()),
    };
    out.write(Buffer::new(bytes));
    code
}

#[no_mangle]
pub unsafe extern "C" fn intaglio_buffer_free(buffer: Buffer) {
    drop(Vec::from_raw_parts(buffer.data, buffer.size, buffer.capacity));
}

/// `config` and `special_tokens_map` are the texts of the files of that name, or empty.
#[no_mangle]
pub unsafe extern "C" fn intaglio_tokenizer_new(
    tokenizer_json: Slice,
    config: Slice,
    special_tokens_map: Slice,
    tokenizer: *mut *mut Tokenizer,
    out: *mut Buffer,
) -> i32 {
    guard(out, || {
        let loaded = Tokenizer::new(tokenizer_json.bytes(), config.bytes(), special_tokens_map.bytes())?;
        tokenizer.write(Box::into_raw(Box::new(loaded)));
        Ok(Vec::new())
    })
}

#[no_mangle]
pub unsafe extern "C" fn intaglio_tokenizer_free(tokenizer: *mut Tokenizer) {
    drop(Box::from_raw(tokenizer));
}

#[no_mangle]
pub unsafe extern "C" fn intaglio_tokenizer_vocab_size(tokenizer: *const Tokenizer) -> usize {
    (*tokenizer).vocab_size()
}

/// `out` receives the ids, 4 bytes each in native order.
#[no_mangle]
pub unsafe extern "C" fn intaglio_tokenizer_encode(tokenizer: *const Tokenizer, text: Slice, add_special_tokens: bool, out: *mut Buffer) -> i32 {
    guard(out, || {
        let ids = (*tokenizer).encode(text.text("the text to tokenize")?, add_special_tokens)?;
        Ok(ids.iter().flat_map(|id| id.to_ne_bytes()).collect())
    })
}

#[no_mangle]
pub unsafe extern "C" fn intaglio_tokenizer_decode(
    tokenizer: *const Tokenizer,
    ids: *const i32,
    num_ids: usize,
    skip_special_tokens: bool,
    out: *mut Buffer,
) -> i32 {
    guard(out, || {
        let ids = if num_ids == 0 { &[] } else { std::slice::from_raw_parts(ids, num_ids) };
        Ok((*tokenizer).decode(ids, skip_special_tokens)?.into_bytes())
    })
}

#[no_mangle]
pub unsafe extern "C" fn intaglio_detokenizer_new(tokenizer: *const Tokenizer, skip_special_tokens: bool) -> *mut Detokenizer {
    Box::into_raw(Box::new(Detokenizer::new(skip_special_tokens, &*tokenizer)))
}

#[no_mangle]
pub unsafe extern "C" fn intaglio_detokenizer_free(detokenizer: *mut Detokenizer) {
    drop(Box::from_raw(detokenizer));
}

/// `tokenizer` is the one that the detokenizer was made for.
#[no_mangle]
pub unsafe extern "C" fn intaglio_detokenizer_push(detokenizer: *mut Detokenizer, tokenizer: *const Tokenizer, id: i32, out: *mut Buffer) -> i32 {
    guard(out, || Ok((*detokenizer).push(&*tokenizer, id)?.into_bytes()))
}

#[no_mangle]
pub unsafe extern "C" fn intaglio_detokenizer_finish(detokenizer: *mut Detokenizer, tokenizer: *const Tokenizer, out: *mut Buffer) -> i32 {
    guard(out, || Ok((*detokenizer).finish(&*tokenizer)?.into_bytes()))
}

/// `out` receives a JSON object: the special tokens by name, for chat templates.
#[no_mangle]
pub unsafe extern "C" fn intaglio_special_tokens(config: Slice, special_tokens_map: Slice, out: *mut Buffer) -> i32 {
    guard(out, || {
        let tokens = SpecialTokens::parse(config.bytes(), special_tokens_map.bytes())?;
        Ok(tokens.variables().to_string().into_bytes())
    })
}

/// JSON texts except `template` and `now`; `tools`, `kwargs` and `now` may be empty.
#[repr(C)]
pub struct ChatRequest {
    template: Slice,
    variables: Slice,
    messages: Slice,
    tools: Slice,
    kwargs: Slice,
    now: Slice,
    add_generation_prompt: bool,
}

#[no_mangle]
pub unsafe extern "C" fn intaglio_chat_render(request: *const ChatRequest, out: *mut Buffer) -> i32 {
    guard(out, || {
        let request = &*request;
        let text = chat_template::render(&Request {
            template: request.template.text("the chat template")?,
            variables: request.variables.text("the special tokens")?,
            messages: request.messages.text("the messages")?,
            tools: request.tools.text("the tools")?,
            kwargs: request.kwargs.text("the template variables")?,
            now: request.now.text("the time")?,
            add_generation_prompt: request.add_generation_prompt,
        })?;
        Ok(text.into_bytes())
    })
}
