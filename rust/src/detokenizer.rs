//! Ids to text one at a time, so that all pieces together are what `Tokenizer::decode` gives for all ids.
//!
//! How much of the past decides the next piece depends on the decoder, hence two ways:
//! - byte-level: tokens are bytes. Those of an incomplete character wait; nothing else is kept.
//! - any other: a window of recent ids is decoded with and without the newest, and the difference is new. A run of byte-fallback tokens
//!   (`<0xE2>`) waits until it ends, because one bad byte turns the whole run into U+FFFD.
//!
//! Either way an id costs the same however many came before it.
use tokenizers::DecoderWrapper;

use crate::tokenizer::Tokenizer;
use crate::Result;

pub struct Detokenizer {
    skip_special_tokens: bool,
    state: State,
}

enum State {
    Bytes { pending: Vec<u8> },
    /// `emitted` bytes of the text of `ids` have been returned.
    Window { ids: Vec<i32>, emitted: usize, has_byte_fallback: bool, has_byte_level: bool },
}

impl Detokenizer {
    pub fn new(skip_special_tokens: bool, tokenizer: &Tokenizer) -> Self {
        let state = match tokenizer.decoder() {
            Some(decoder) if is_byte_level(decoder) => State::Bytes { pending: Vec::new() },
            decoder => State::Window {
                ids: Vec::new(),
                emitted: 0,
                has_byte_fallback: decoder.is_some_and(|it| contains(it, |part| matches!(part, DecoderWrapper::ByteFallback(_)))),
                has_byte_level: decoder.is_some_and(|it| contains(it, |part| matches!(part, DecoderWrapper::ByteLevel(_)))),
            },
        };
        Detokenizer { skip_special_tokens, state }
    }

    pub fn push(&mut self, tokenizer: &Tokenizer, id: i32) -> Result<String> {
        let token = tokenizer.token(id)?;
        if self.skip_special_tokens && tokenizer.is_special(&token) {
            return Ok(String::new()); // decode() drops it before the decoder sees it
        }
        match &mut self.state {
            State::Bytes { pending } => {
                append_bytes(&token, pending);
                Ok(take_complete(pending))
            }
            State::Window { ids, emitted, has_byte_fallback, has_byte_level } => {
                ids.push(id);
                if *has_byte_fallback && is_byte_token(&token) {
                    return Ok(String::new());
                }
                let text = tokenizer.decode(ids, false)?;
                if *has_byte_level && text.ends_with('\u{FFFD}') {
                    return Ok(String::new()); // may be the start of a character
                }
                let piece = text.get(*emitted..).unwrap_or_default().to_owned();
                *emitted = text.len();
                shrink(tokenizer, ids, emitted)?;
                Ok(piece)
            }
        }
    }

    pub fn finish(&mut self, tokenizer: &Tokenizer) -> Result<String> {
        match &mut self.state {
            State::Bytes { pending } => {
                let text = String::from_utf8_lossy(pending).into_owned();
                pending.clear();
                Ok(text)
            }
            State::Window { ids, emitted, .. } => {
                let text = tokenizer.decode(ids, false)?;
                ids.clear();
                Ok(text.get(std::mem::take(emitted)..).unwrap_or_default().to_owned())
            }
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

fn is_byte_level(decoder: &DecoderWrapper) -> bool {
    match decoder {
        DecoderWrapper::ByteLevel(_) => true,
        DecoderWrapper::Sequence(sequence) => matches!(sequence.get_decoders(), [only] if is_byte_level(only)),
        _ => false,
    }
}

fn contains(decoder: &DecoderWrapper, is_it: fn(&DecoderWrapper) -> bool) -> bool {
    match decoder {
        DecoderWrapper::Sequence(sequence) => sequence.get_decoders().iter().any(|part| contains(part, is_it)),
        part => is_it(part),
    }
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
