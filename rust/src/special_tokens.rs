//! The special tokens of tokenizer_config.json and special_tokens_map.json, as Transformers 5.23 reads them
//! (`PreTrainedTokenizerBase._from_pretrained`, `TokenizersBackend.__init__`).
use std::collections::HashMap;
use std::hash::BuildHasher;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use crate::{Error, Result};

pub struct SpecialTokens {
    /// Tokens with their flags, by rising id.
    described: Vec<AddedToken>,
    /// "eos_token" and the like, and names that the model made up ("image_token").
    named: Vec<(String, AddedToken)>,
    extra: Vec<AddedToken>,
}

/// The roles that every tokenizer knows (`SPECIAL_TOKENS_ATTRIBUTES`).
const ROLES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

impl SpecialTokens {
    /// From the texts of the two files; either may be empty.
    pub fn parse(config: &[u8], special_tokens_map: &[u8]) -> Result<Self> {
        let mut config = parse_object(config, "tokenizer_config.json")?;
        let mut described = Vec::new();
        match config.get("added_tokens_decoder") {
            Some(Value::Object(tokens)) => {
                for (id, token) in tokens {
                    let id: u32 = id
                        .parse()
                        .map_err(|_| Error::file(format!("tokenizer_config.json: added_tokens_decoder has the key \"{id}\", not a token id")))?;
                    described.extend(added_token(token, false).map(|token| (id, token)));
                }
            }
            // Older checkpoints: special_tokens_map.json overrides the config.
            _ => config.extend(parse_object(special_tokens_map, "special_tokens_map.json")?),
        }
        described.sort_by_key(|(id, _)| *id);

        let mut named = named_tokens(&config);
        let mut extra = Vec::new();
        for key in ["extra_special_tokens", "additional_special_tokens", "model_specific_special_tokens"] {
            match config.get(key) {
                Some(Value::Array(tokens)) => extra.extend(tokens.iter().filter_map(|token| added_token(token, true))),
                Some(Value::Object(tokens)) => named.extend(named_pairs(tokens)),
                _ => {}
            }
        }
        Ok(SpecialTokens { described: described.into_iter().map(|(_, token)| token).collect(), named, extra })
    }

    /// The variables that chat templates get: {"eos_token": "</s>", …}.
    pub fn variables(&self) -> Value {
        self.named.iter().map(|(name, token)| (name.clone(), Value::from(token.content.as_str()))).collect()
    }

    /// What to add to a tokenizer that has the tokens `known`: tokens that it describes with other flags, and tokens it lacks.
    pub fn missing_from<S: BuildHasher>(&self, known: &HashMap<u32, AddedToken, S>) -> Vec<AddedToken> {
        let mut missing = Vec::new();
        for token in &self.described {
            if !known.values().any(|other| is_same(other, token)) {
                let is_named = self.named.iter().any(|(_, named)| named.content == token.content);
                let mut token = token.clone();
                token.special |= is_named;
                missing.push(token);
            }
        }
        for token in self.named.iter().map(|(_, token)| token).chain(&self.extra) {
            if !known.values().chain(&missing).any(|other| other.content == token.content) {
                missing.push(token.clone());
            }
        }
        missing
    }
}

fn named_tokens(config: &Map<String, Value>) -> Vec<(String, AddedToken)> {
    let is_role = |name: &str| ROLES.contains(&name);
    let roles = ROLES.iter().filter_map(|role| Some((role.to_string(), added_token(config.get(*role)?, true)?)));
    let others = config.iter().filter(|(name, value)| name.ends_with("_token") && !is_role(name) && value.is_string());
    roles.chain(others.filter_map(|(name, value)| Some((name.clone(), added_token(value, true)?)))).collect()
}

fn named_pairs(tokens: &Map<String, Value>) -> impl Iterator<Item = (String, AddedToken)> + '_ {
    tokens.iter().filter_map(|(name, token)| Some((name.clone(), added_token(token, true)?)))
}

fn parse_object(json: &[u8], file: &str) -> Result<Map<String, Value>> {
    if json.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(json) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Error::file(format!("{file} is not a JSON object"))),
        Err(error) => Err(Error::file(format!("{file} is malformed: {error}"))),
    }
}

/// A token written as a string or as an object with flags; None for anything else (null, a bool) and for an empty one.
fn added_token(value: &Value, is_special: bool) -> Option<AddedToken> {
    let content = value.as_str().or_else(|| value.get("content")?.as_str()).filter(|content| !content.is_empty())?;
    let flag = |name: &str, otherwise: bool| value.get(name).and_then(Value::as_bool).unwrap_or(otherwise);
    let special = is_special || flag("special", false);
    Some(
        AddedToken::from(content, special)
            .single_word(flag("single_word", false))
            .lstrip(flag("lstrip", false))
            .rstrip(flag("rstrip", false))
            .normalized(flag("normalized", !special)),
    )
}

fn is_same(a: &AddedToken, b: &AddedToken) -> bool {
    let flags = |token: &AddedToken| (token.single_word, token.lstrip, token.rstrip, token.normalized, token.special);
    a.content == b.content && flags(a) == flags(b)
}
