"""Records what Transformers computes with a checkpoint, for `intaglio compare BUNDLE CAPTURE` and `intaglio export --validate CAPTURE`.

    python -m intaglio.parity.capture MODEL_DIR OUT_DIR [--prompts FILE] [--max-new-tokens 48] [--dtype float32]

OUT_DIR gets golden.safetensors and golden.json in the layout of tests/fixtures/README.md: logits of every prompt, greedy tokens with
their margins, and for one prompt the hidden states after every layer and what enters and leaves the modules of layer 0 and of the first
layer of every other kind. FILE holds prompts: JSON, a list of texts or of lists of token ids, or plain text with one prompt a line.

Works with any causal language model of Transformers; needs torch, transformers and safetensors, and no network.
"""
import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig  # noqa: E402

# A short one, a middling one, and one that outgrows the windows of small models.
PROMPTS = [
    "The capital of France is",
    "When the cache is full, the scheduler must decide which request to preempt, and the tests check that no token is lost.",
    "def softmax(row):\n    m = max(row)\n    e = [exp(x - m) for x in row]\n    return [x / sum(e) for x in e]\n\nThe function above is stable "
    "because the largest value is subtracted first. A compiler may fuse the loops, keep the maximum in a register and write the result only "
    "once; the answer must stay the same for every shape, also when the number of columns is not a multiple of the vector width.",
]
NUM_LOGPROB_STEPS, NUM_LOGPROBS = 8, 5


def first_attribute(module, names):
    """The first of the attributes that the module has, or None."""
    return next((getattr(module, name) for name in names if getattr(module, name, None) is not None), None)


def attention_of(layer):
    return first_attribute(layer, ("self_attn", "linear_attn", "attention", "attn"))


def mlp_of(layer):
    return first_attribute(layer, ("mlp", "feed_forward", "block_sparse_moe"))


def router_of(layer):
    mlp = mlp_of(layer)
    return first_attribute(mlp, ("gate", "router")) if hasattr(mlp, "experts") else None


def layers_of(decoder):
    return first_attribute(decoder, ("layers", "h", "blocks"))


def decoder_of(model):
    for decoder in (model.get_decoder(), model.base_model, getattr(model, "model", None)):
        if layers_of(decoder) is not None:
            return decoder
    raise SystemExit(f"capture: {type(model).__name__} has no decoder with a list of layers that this script knows (layers, h, blocks)")


def kind_of(config, layer, index):
    """What makes a layer another kind than its neighbours: attention type, rotary embedding or none, experts or dense, class."""
    types, rotates = getattr(config, "layer_types", None), getattr(config, "no_rope_layers", None)
    return (types[index] if types else "full_attention", "nope" if rotates and not rotates[index] else "rope",
            "dense" if router_of(layer) is None else "moe", type(attention_of(layer)).__name__)


def first_layers_of_each_kind(config, layers):
    kinds = {}
    for index, layer in enumerate(layers):
        kinds.setdefault(kind_of(config, layer, index), index)
    return {index: kind for kind, index in kinds.items()}


class Recorder:
    """While entered, keeps the inputs and outputs of modules of a forward pass in `values`, without the batch dimension."""

    def __init__(self, decoder, probed):
        self.decoder, self.probed, self.values, self.hooks = decoder, probed, {}, []

    def keep(self, name, tensor):
        rows = tensor.detach().float()
        self.values[name] = rows.reshape(-1, rows.shape[-1]).clone().contiguous()

    def keep_input(self, module, name):
        def hook(_, args, kwargs):
            self.keep(name, args[0] if args else kwargs["hidden_states"])
        self.hooks.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def keep_output(self, module, name):
        self.hooks.append(module.register_forward_hook(lambda _, args, out: self.keep(name, out[0] if isinstance(out, tuple) else out)))

    def keep_router(self, module, layer):
        """Routers give logits, alone or followed by the weights and ids of the chosen experts; Llama 4's gives scores, then logits."""
        def hook(_, args, out):
            parts = out if isinstance(out, tuple) else (out,)
            self.keep(f"layer{layer}.router_logits", parts[1] if len(parts) == 2 else parts[0])
        self.hooks.append(module.register_forward_hook(hook))

    def __enter__(self):
        layers = layers_of(self.decoder)
        self.keep_input(layers[0], "hidden.embed")
        for index, layer in enumerate(layers):
            self.keep_output(layer, f"hidden.layer{index}")
            if index not in self.probed:
                continue
            for module, name in ((attention_of(layer), "attn"), (mlp_of(layer), "mlp")):
                if module is not None:
                    self.keep_input(module, f"layer{index}.{name}_in")
                    self.keep_output(module, f"layer{index}.{name}_out")
            if router_of(layer) is not None:
                self.keep_router(router_of(layer), index)
        norm = first_attribute(self.decoder, ("norm", "final_layernorm", "ln_f"))
        if norm is not None:
            self.keep_output(norm, "hidden.final_norm")
        return self

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()


def reset_rotary_embeddings(model):
    """Dynamic rotary embeddings remember the longest sequence seen; every prompt starts afresh."""
    for module in model.modules():
        if hasattr(module, "original_inv_freq") and hasattr(module, "max_seq_len_cached"):
            module.register_buffer("inv_freq", module.original_inv_freq.clone().to(module.inv_freq.dtype), persistent=False)
            module.max_seq_len_cached = module.original_max_seq_len


def load_model(folder, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    if hasattr(model, "set_experts_implementation"):
        try:
            model.set_experts_implementation("eager")  # one expert after the other, in a fixed order
        except (AttributeError, ValueError):
            pass  # a model without experts
    end = model.generation_config.eos_token_id
    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=end, pad_token_id=end[0] if isinstance(end, list) else end)
    return model


def stored_dtype(folder):
    """How the checkpoint stores its weights: what is bfloat16 there loses nothing in a bfloat16 bundle."""
    kinds = set()
    for path in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            kinds |= {file.get_slice(name).get_dtype() for name in file.keys()}
    return {frozenset({"BF16"}): "bfloat16", frozenset({"F16"}): "float16"}.get(frozenset(kinds), "float32")


def read_prompts(file, folder):
    """(text or None, token ids) of each prompt."""
    if file is None:
        prompts = PROMPTS
    else:
        text = Path(file).read_text()
        prompts = json.loads(text) if Path(file).suffix == ".json" else [line for line in text.splitlines() if line.strip()]
    if not prompts:
        raise SystemExit(f"capture: {file} has no prompts")
    tokenizer = AutoTokenizer.from_pretrained(folder) if any(isinstance(prompt, str) for prompt in prompts) else None
    return [(prompt, list(tokenizer(prompt).input_ids)) if isinstance(prompt, str) else (None, list(prompt)) for prompt in prompts]


@torch.no_grad()
def continue_greedily(model, ids, max_new_tokens):
    reset_rotary_embeddings(model)
    prompt = torch.tensor([ids])
    out = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=max_new_tokens, return_dict_in_generate=True,
                         output_logits=True)
    logits = torch.stack([row[0] for row in out.logits]).float()
    best = logits.topk(2, -1).values
    logprobs = torch.log_softmax(logits[:NUM_LOGPROB_STEPS].double(), -1).topk(NUM_LOGPROBS, -1)
    return {"greedy_ids": out.sequences[0, len(ids):].tolist(),
            "margins": [round(margin, 6) for margin in (best[:, 0] - best[:, 1]).tolist()],
            "top5_logprobs_first8": [[[int(i), round(float(p), 7)] for i, p in zip(*step, strict=True)]
                                     for step in zip(logprobs.indices, logprobs.values, strict=True)]}


@torch.no_grad()
def capture(folder, out, prompts, max_new_tokens, dtype):
    model = load_model(folder, dtype)
    decoder, config = decoder_of(model), model.config.get_text_config()
    probed_layers = first_layers_of_each_kind(config, layers_of(decoder))
    probed_prompt = min(1, len(prompts) - 1)
    tensors, rows = {}, []
    for index, (text, ids) in enumerate(prompts):
        reset_rotary_embeddings(model)
        with Recorder(decoder, probed_layers) as recorder:
            logits = model(torch.tensor([ids]), use_cache=False).logits[0].float()
        tensors[f"p{index}.input_ids"] = torch.tensor(ids, dtype=torch.int32)
        tensors[f"p{index}.logits"] = logits.contiguous()
        if index == probed_prompt:
            tensors |= {f"p{index}.{name}": value for name, value in recorder.values.items()}
        rows.append({"text": text, "input_ids": ids} | continue_greedily(model, ids, max_new_tokens))
        print(f"capture: prompt {index}: {len(ids)} tokens, smallest greedy margin {min(rows[-1]['margins']):.3g}")
    golden = {"fixture": Path(folder).resolve().name, "model_type": config.model_type,
              "made_with": {"transformers": transformers.__version__, "torch": torch.__version__},
              "stored_dtype": stored_dtype(folder), "compute_dtype": dtype,
              "layer_kinds": {str(layer): list(kind[:3]) for layer, kind in probed_layers.items()}, "probed_prompt": f"p{probed_prompt}",
              "prompts": rows}
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "golden.safetensors")
    (out / "golden.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
    print(f"capture: wrote {out}. Next: intaglio compare BUNDLE {out}")


def main():
    parser = argparse.ArgumentParser(prog="python -m intaglio.parity.capture", description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", metavar="MODEL_DIR", help="checkpoint folder")
    parser.add_argument("out", metavar="OUT_DIR", help="folder to make")
    parser.add_argument("--prompts", metavar="FILE", help="JSON list of texts or of lists of token ids, or text with one prompt a line")
    parser.add_argument("--max-new-tokens", type=int, default=48, help="greedy tokens a prompt (default 48)")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"),
                        help="what to compute in; the tolerances are those of float32 (default)")
    options = parser.parse_args()
    torch.set_num_threads(1)  # sums in one order
    transformers.logging.set_verbosity_error()
    capture(options.model, options.out, read_prompts(options.prompts, options.model), options.max_new_tokens, options.dtype)


if __name__ == "__main__":
    main()
