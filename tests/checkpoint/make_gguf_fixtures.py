"""Makes GGUF files with the Python package `gguf`, which is llama.cpp's own writer, reader and dequantiser.

    python make_gguf_fixtures.py small DIR             the files of tests/data/gguf: the same bytes every time
    python make_gguf_fixtures.py model FIXTURE FILE    a fixture folder as a GGUF file in F32, as llama.cpp's converter would write it

`small` gives types.gguf (a tensor of every type, random blocks) with types.safetensors (what they stand for); for each architecture
a model of a few numbers, NAME.gguf, with the Hugging Face tensors it came from, NAME.safetensors; and NAME-tokenizer.gguf, the
tokenizer of a fixture and next to no weights.
"""
import json
import math
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import load_file, save_file

# Where each block type keeps its f16 scales and offsets.
HALVES = {Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0], Type.Q2_K: [80, 82], Type.Q3_K: [108],
          Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208]}
ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3_text": "gemma3"}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def halves(rng, count):
    """Finite f16 of every magnitude: subnormal, zero, negative."""
    bits = rng.integers(0, 1 << 16, count).astype(np.uint16)
    bits[(bits & 0x7C00) == 0x7C00] &= 0x83FF
    bits[:3] = [0, 0x8000, 0x0001]
    return rng.permutation(bits)


def blocks(rng, kind, rows, columns):
    """Random blocks with finite scales: [rows, bytes]."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (rows * columns // elements, size)).astype(np.uint8)
    for offset in HALVES[kind]:
        data[:, offset:offset + 2] = halves(rng, len(data)).view(np.uint8).reshape(-1, 2)
    return data.reshape(rows, -1)


def write_types(folder):
    rng = np.random.default_rng(1)
    writer, values = gguf.GGUFWriter(folder / "types.gguf", "llama"), {}
    for kind in [Type.F32, Type.F16, Type.BF16, *HALVES]:
        rows, columns = 3, 2 * max(gguf.GGML_QUANT_SIZES[kind][0], 32)
        if kind == Type.F32:
            data = rng.standard_normal((rows, columns)).astype(np.float32)
        elif kind in (Type.F16, Type.BF16):
            bits = halves(rng, rows * columns).reshape(rows, columns)
            data = bits.view(np.float16) if kind == Type.F16 else bits.view(np.uint8).reshape(rows, -1)
        else:
            data = blocks(rng, kind, rows, columns)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        values[kind.name] = gguf.quants.dequantize(data, kind).astype(np.float32).reshape(rows, columns)
    finish(writer)
    save_file(values, folder / "types.safetensors")


def permute(weights, num_heads):
    """Half by half to pair by pair: what llama.cpp does to query and key projections (LlamaModel.permute)."""
    return weights.reshape(num_heads, 2, len(weights) // num_heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def stored(name, values, config):
    """A Hugging Face tensor as llama.cpp's converter stores it."""
    if config["model_type"] in ("llama", "mistral"):
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
        return permute(values, config[heads]) if heads else values
    return values + 1 if config["model_type"] == "gemma3_text" and name.endswith("norm.weight") else values


def rope_factors(scaling, theta, head_dim):
    """rope_freqs.weight of llama3 scaling (LlamaModel.generate_extra_tensors)."""
    original, low_factor, high_factor = (scaling[name] for name in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor"))
    factors = []
    for frequency in 1.0 / theta ** (np.arange(0, head_dim, 2, dtype=np.float32) / head_dim):
        wavelength = 2 * math.pi / frequency
        if wavelength < original / high_factor:
            factors.append(1.0)
        elif wavelength > original / low_factor:
            factors.append(scaling["factor"])
        else:
            smooth = (original / wavelength - low_factor) / (high_factor - low_factor)
            factors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(factors, dtype=np.float32)


def add_config(writer, config):
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    rope = config.get("rope_parameters") or {"rope_theta": config["rope_theta"], **(config.get("rope_scaling") or {})}
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_freq_base(rope["rope_theta"])
    if config.get("sliding_window") and config["model_type"] in ("mistral", "gemma3_text"):
        writer.add_sliding_window(config["sliding_window"])
    if "layer_types" in config and config["model_type"] == "gemma3_text":
        writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in config["layer_types"]])
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_factors(rope, rope["rope_theta"], head_dim))


def add_tokenizer(writer, folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    ids = dict(tokenizer["model"]["vocab"])
    added = {token["content"]: token for token in tokenizer["added_tokens"]}
    ids.update({content: token["id"] for content, token in added.items()})
    tokens = sorted(ids, key=ids.get)
    assert [ids[token] for token in tokens] == list(range(len(tokens)))
    is_byte_level = not tokenizer["model"]["byte_fallback"]

    def kind(token):
        if token in added:
            return UNKNOWN if token == tokenizer["model"]["unk_token"] else CONTROL if added[token]["special"] else USER_DEFINED
        return BYTE if not is_byte_level and len(token) == 6 and token.startswith("<0x") else NORMAL

    writer.add_tokenizer_model("gpt2" if is_byte_level else "llama")
    if is_byte_level:
        writer.add_tokenizer_pre("llama-bpe" if tokenizer["model"]["ignore_merges"] else "qwen2")
        writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    else:
        writer.add_token_scores([-float(i) for i in range(len(tokens))])
        writer.add_add_space_prefix(tokenizer["normalizer"] is None)
    writer.add_token_list(tokens)
    writer.add_token_types([kind(token) for token in tokens])
    adders = {"bos": writer.add_bos_token_id, "eos": writer.add_eos_token_id, "unk": writer.add_unk_token_id, "pad": writer.add_pad_token_id}
    for name, add in adders.items():
        if settings.get(f"{name}_token"):
            add(ids[settings[f"{name}_token"]])
    writer.add_add_bos_token("TemplateProcessing" in json.dumps(tokenizer["post_processor"]))
    if settings.get("chat_template"):
        writer.add_chat_template(settings["chat_template"])


def write_model(path, config, tensors, tokenizer_folder=None):
    architecture = ARCHITECTURES[config["model_type"]]
    names = gguf.get_tensor_name_map({name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}[architecture], config["num_hidden_layers"])
    writer = gguf.GGUFWriter(path, architecture)
    add_config(writer, config)
    if tokenizer_folder:
        add_tokenizer(writer, tokenizer_folder)
    for name, values in tensors.items():
        name_there = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert name_there, name
        writer.add_tensor(name_there, np.ascontiguousarray(stored(name, values.astype(np.float32), config)))
    finish(writer)


SMALL = {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 6, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
MODELS = {
    "llama": ({"model_type": "llama", "head_dim": 64, "rope_theta": 500000.0, "rope_scaling": LLAMA3}, {"biases", "head"}),
    "mistral": ({"model_type": "mistral", "sliding_window": 16}, {"head"}),
    "qwen2": ({"model_type": "qwen2", "rope_scaling": {"rope_type": "linear", "factor": 2.5}}, {"qkv biases"}),
    "qwen3": ({"model_type": "qwen3"}, {"q/k norms"}),
    "gemma3": ({"model_type": "gemma3_text", "sliding_window": 16}, {"q/k norms", "four norms"}),
}

TOKENIZERS = {"llama": "llama-tiny", "mistral": "mistral-tiny", "qwen3": "qwen3-tiny", "gemma3": "gemma3-text-tiny"}
FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def tensor_shapes(c, parts):
    """Hugging Face names and shapes of a model with the given parts."""
    hidden, mlp = c["hidden_size"], c["intermediate_size"]
    q, kv = c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"]
    shapes = {"model.embed_tokens.weight": (c["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    if "head" in parts:
        shapes["lm_head.weight"] = (c["vocab_size"], hidden)
    for i in range(c["num_hidden_layers"]):
        qkv = {"self_attn.q_proj": (q, hidden), "self_attn.k_proj": (kv, hidden), "self_attn.v_proj": (kv, hidden)}
        linear = qkv | {"self_attn.o_proj": (hidden, q), "mlp.gate_proj": (mlp, hidden), "mlp.up_proj": (mlp, hidden), "mlp.down_proj": (hidden, mlp)}
        norms = {"input_layernorm": hidden, "post_attention_layernorm": hidden}
        norms |= {"self_attn.q_norm": c["head_dim"], "self_attn.k_norm": c["head_dim"]} if "q/k norms" in parts else {}
        norms |= {"pre_feedforward_layernorm": hidden, "post_feedforward_layernorm": hidden} if "four norms" in parts else {}
        with_bias = linear if "biases" in parts else qkv if "qkv biases" in parts else {}
        shapes |= {f"model.layers.{i}.{name}.weight": shape for name, shape in linear.items()}
        shapes |= {f"model.layers.{i}.{name}.bias": linear[name][:1] for name in with_bias}
        shapes |= {f"model.layers.{i}.{name}.weight": (size,) for name, size in norms.items()}
    return shapes


def write_small(folder):
    folder.mkdir(parents=True, exist_ok=True)
    write_types(folder)
    for number, (name, (changes, parts)) in enumerate(MODELS.items()):
        rng, config = np.random.default_rng(number), SMALL | changes
        # Multiples of 1/64 below 2 in magnitude: adding one and taking it off again is exact.
        tensors = {tensor: (rng.integers(-127, 128, shape) / 64).astype(np.float32) for tensor, shape in tensor_shapes(config, parts).items()}
        write_model(folder / f"{name}.gguf", config, tensors)
        save_file(tensors, folder / f"{name}.safetensors")
    for name, fixture in TOKENIZERS.items():
        config = SMALL | {"model_type": MODELS[name][0]["model_type"], "num_hidden_layers": 1, "sliding_window": 16}
        embedding = {"model.embed_tokens.weight": np.zeros((1, config["hidden_size"]))}
        write_model(folder / f"{name}-tokenizer.gguf", config, embedding, FIXTURES / fixture)


def main(arguments):
    match arguments:
        case ["small", folder]:
            write_small(Path(folder))
        case ["model", fixture, file]:
            fixture = Path(fixture)
            write_model(Path(file), json.loads((fixture / "config.json").read_text()), load_file(fixture / "model.safetensors"), fixture)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
