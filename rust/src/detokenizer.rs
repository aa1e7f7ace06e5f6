//! Ids to text one at a time, so that all pieces together are what `Tokenizer::decode` gives for all ids.
//!
//! How much of the past and the future decides a piece depends on the decoder, hence three ways:
//! - byte-level: tokens are bytes. Those of an incomplete character wait; nothing else is kept.
//! - the usual others: a window of recent ids is decoded with and without the newest, and the difference is new. A run of byte-fallback
//!   tokens (`<0xE2>`) waits until it ends, because one bad byte turns the whole run into U+FFFD.
//! - anything else (a regular expression over the whole text, …): all waits for the end.
//!
//! In all of them an id costs the same however many came before it.
use serde_json::{json, Value};
use tokenizers::DecoderWrapper;

use crate::tokenizer::Tokenizer;
use crate::Result;

pub struct Detokenizer {
    skip_special_tokens: bool,
    state: State,
}

enum State {
    Bytes {
        pending: Vec<u8>,
    },
    /// `emitted` bytes of the text of `ids` have been returned.
    Window {
        ids: Vec<i32>,
        emitted: usize,
        has_byte_fallback: bool,
    },
    Whole {
        ids: Vec<i32>,
    },
}

impl State {
    fn new(decoder: Option<&DecoderWrapper>) -> Self {
        let decoder = serde_json::to_value(decoder).unwrap_or_default();
        let parts = match decoder.get("decoders") {
            Some(Value::Array(parts)) => parts.as_slice(),
            _ => std::slice::from_ref(&decoder),
        };
        let kinds: Vec<&str> = parts.iter().map(|part| part["type"].as_str().unwrap_or_default()).collect();
        match kinds.as_slice() {
            ["ByteLevel"] => State::Bytes { pending: Vec::new() },
            _ if decoder.is_null() || kinds == ["WordPiece"] || is_sentence_piece(parts, &kinds) => {
                State::Window { ids: Vec::new(), emitted: 0, has_byte_fallback: kinds.contains(&"ByteFallback") }
            }
            _ => State::Whole { ids: Vec::new() },
        }
    }
}

/// Some of: "▁" becomes a space, byte fallback, fuse, strip the start of the text; in this order. Or Metaspace, which does the same.
fn is_sentence_piece(parts: &[Value], kinds: &[&str]) -> bool {
    let is_known = |part: &Value| match part["type"].as_str() {
        Some("Replace") => part["pattern"] == json!({"String": "▁"}) && part["content"] == json!(" "),
        Some("Strip") => part["stop"] == json!(0),
        _ => true,
    };
    let order = ["Replace", "ByteFallback", "Metaspace", "Fuse", "Strip"];
    let places: Option<Vec<usize>> = kinds.iter().map(|kind| order.iter().position(|other| other == kind)).collect();
    parts.iter().all(is_known) && places.is_some_and(|places| places.windows(2).all(|pair| pair[0] < pair[1]))
}

impl Detokenizer {
    pub fn new(skip_special_tokens: bool, tokenizer: &Tokenizer) -> Self {
        Detokenizer { skip_special_tokens, state: State::new(tokenizer.decoder()) }
    }

    pub fn push(&mut self, tokenizer: &Tokenizer, id: i32) -> Result<String> {
        let Some(token) = tokenizer.token(id)? else {
            return Ok(String::new());
        };
        if self.skip_special_tokens && tokenizer.is_special(&token) {
            return Ok(String::new()); // decode() drops it before the decoder sees it
        }
        match &mut self.state {
            State::Bytes { pending } => {
                append_bytes(&token, pending);
                Ok(take_complete(pending))
            }
            State::Window { ids, emitted, has_byte_fallback } => {
                ids.push(id);
                if *has_byte_fallback && is_byte_token(&token) {
                    return Ok(String::new());
                }
                let text = tokenizer.decode(ids, false)?;
                let piece = text.get(*emitted..).unwrap_or_default().to_owned();
                *emitted = text.len();
                shrink(tokenizer, ids, emitted)?;
                Ok(piece)
            }
            State::Whole { ids } => {
                ids.push(id);
                Ok(String::new())
            }
        }
    }

    pub fn finish(&mut self, tokenizer: &Tokenizer) -> Result<String> {
        match &mut self.state {
            State::Bytes { pending } => Ok(String::from_utf8_lossy(&std::mem::take(pending)).into_owned()),
            State::Window { ids, emitted, .. } => {
                let text = tokenizer.decode(&std::mem::take(ids), false)?;
                Ok(text.get(std::mem::take(emitted)..).unwrap_or_default().to_owned())
            }
            State::Whole { ids } => tokenizer.decode(&std::mem::take(ids), false),
        }
    }
}

/// Keeps only the newest one or two ids, whose text stands for all before it. An empty text will not do: a decoder that strips the start
/// of a text would strip what follows.
fn shrink(tokenizer: &Tokenizer, ids: &mut Vec<i32>, emitted: &mut usize) -> Result<()> {
    for keep in 1..=2 {
        if ids.len() <= keep {
            return Ok(());
        }
        let text = tokenizer.decode(&ids[ids.len() - keep..], false)?;
        if !text.is_empty() {
            ids.drain(..ids.len() - keep);
            *emitted = text.len();
            return Ok(());
        }
    }
    Ok(())
}

/// As `tokenizers` recognises them.
fn is_byte_token(token: &str) -> bool {
    token.len() == 6 && token.starts_with("<0x") && token.ends_with('>') && u8::from_str_radix(&token[3..5], 16).is_ok()
}

/// The bytes that a byte-level token stands for. GPT-2 writes a byte as the character of that number if it is printable Latin-1, and
/// numbers the other 68 from U+0100 upwards. A token with any other character (an added token) stands for its own UTF-8.
fn append_bytes(token: &str, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    for character in token.chars() {
        match byte_of(character as u32) {
            Some(byte) => bytes.push(byte),
            None => {
                bytes.truncate(start);
                bytes.extend_from_slice(token.as_bytes());
                return;
            }
        }
    }
}

fn byte_of(code_point: u32) -> Option<u8> {
    Some(match code_point {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => code_point as u8,
        0x100..=0x120 => (code_point - 0x100) as u8,        // 0x00 ..= 0x20
        0x121..=0x142 => (code_point - 0x121 + 0x7F) as u8, // 0x7F ..= 0xA0
        0x143 => 0xAD,
        _ => return None,
    })
}

/// Takes all that can no longer change from the front of `pending`, bad bytes as U+FFFD: what `from_utf8_lossy` gives, but for an
/// incomplete character at the end.
fn take_complete(pending: &mut Vec<u8>) -> String {
    let complete = match std::str::from_utf8(pending) {
        Ok(_) => pending.len(),
        Err(_) => pending.len() - incomplete_suffix(pending),
    };
    let text = String::from_utf8_lossy(&pending[..complete]).into_owned();
    pending.drain(..complete);
    text
}

/// How many bytes at the end are the start of a character that further bytes could complete.
fn incomplete_suffix(bytes: &[u8]) -> usize {
    (1..=bytes.len().min(3))
        .find(|&length| {
            let suffix = &bytes[bytes.len() - length..];
            suffix[0] >= 0xC0 && std::str::from_utf8(suffix).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        })
        .unwrap_or(0)
}
