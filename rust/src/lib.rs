//! Hugging Face tokenizers and chat templates behind the small C ABI of `ffi.rs`; `src/text/rust_abi.h` declares it for C++.

mod chat_template;
mod detokenizer;
mod ffi;
mod filters;
mod methods;
mod repr;
mod special_tokens;
mod strftime;
mod tojson;
mod tokenizer;

/// Whose fault an error is: the caller's arguments or the model's files. Numbers are part of the ABI.
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum Fault {
    Caller = 1,
    File = 2,
}

pub struct Error {
    pub fault: Fault,
    pub message: String,
}

impl Error {
    pub fn caller(message: impl Into<String>) -> Self {
        Error { fault: Fault::Caller, message: message.into() }
    }
    pub fn file(message: impl Into<String>) -> Self {
        Error { fault: Fault::File, message: message.into() }
    }
}

pub type Result<T> = std::result::Result<T, Error>;
