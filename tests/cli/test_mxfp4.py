"""gpt-oss as published: experts in MXFP4 blocks. The same model with the values that the format defines, written out, makes the same bundle."""
import json
import shutil

import numpy
import pytest
from conftest import FIXTURES, intaglio
from safetensors.numpy import load_file, save_file

EXPERTS, HIDDEN, INTERMEDIATE = 6, 64, 32
FP4 = numpy.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], dtype=numpy.float32)


def values(blocks, scales):
    """[..., groups, 16] bytes of two elements, the lower half first, and [..., groups] exponents -> [..., groups * 32]."""
    elements = numpy.stack([FP4[blocks & 15], FP4[blocks >> 4]], axis=-1).reshape(*blocks.shape[:-1], 32)
    scaled = numpy.ldexp(elements, scales.astype(numpy.int32)[..., None] - 127)
    return scaled.reshape(*scaled.shape[:-2], -1).astype(numpy.float32)


@pytest.fixture
def checkpoints(tmp_path):
    """Two folders: with blocks, and with plain tensors of the same values."""
    random = numpy.random.default_rng(7)
    blocked, plain = tmp_path / "blocked", tmp_path / "plain"
    for folder in (blocked, plain):
        shutil.copytree(FIXTURES / "gpt-oss-tiny", folder)
        config = json.loads((folder / "config.json").read_text())
        config["intermediate_size"] = INTERMEDIATE
        if folder == blocked:
            config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}
        (folder / "config.json").write_text(json.dumps(config))
    tensors = {name: tensor for name, tensor in load_file(blocked / "model.safetensors").items() if ".experts." not in name}
    with_blocks, with_values = dict(tensors), dict(tensors)
    for layer in range(2):
        scope = f"model.layers.{layer}.mlp.experts."
        for name, rows, cols in (("gate_up_proj", 2 * INTERMEDIATE, HIDDEN), ("down_proj", HIDDEN, INTERMEDIATE)):
            blocks = random.integers(0, 256, (EXPERTS, rows, cols // 32, 16), dtype=numpy.uint8)
            scales = random.integers(118, 126, (EXPERTS, rows, cols // 32), dtype=numpy.uint8)
            bias = random.normal(size=(EXPERTS, rows)).astype(numpy.float32)
            with_blocks |= {scope + name + "_blocks": blocks, scope + name + "_scales": scales, scope + name + "_bias": bias}
            with_values |= {scope + name: numpy.ascontiguousarray(values(blocks, scales).swapaxes(1, 2)), scope + name + "_bias": bias}
    save_file(with_blocks, blocked / "model.safetensors")
    save_file(with_values, plain / "model.safetensors")
    return blocked, plain


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_blocks_make_the_bundle_that_their_values_make(checkpoints, tmp_path, dtype):
    weights = []
    for source in checkpoints:
        bundle = tmp_path / (source.name + ".bundle")
        result = intaglio("export", source, bundle, "--dtype", dtype, "--max-context", "128")
        assert result.returncode == 0, result.stderr
        weights.append(next(bundle.glob("weights*")).read_bytes())
    assert weights[0] == weights[1]


def test_scales_of_another_shape_are_refused_by_name(checkpoints, tmp_path):
    blocked, _ = checkpoints
    tensors = load_file(blocked / "model.safetensors")
    name = "model.layers.1.mlp.experts.down_proj_scales"
    save_file(tensors | {name: numpy.ascontiguousarray(tensors[name][:, :-1])}, blocked / "model.safetensors")
    result = intaglio("export", blocked, tmp_path / "out")
    assert result.returncode == 1
    assert name in result.stderr and "[6, 63, 1]" in result.stderr and "[6, 64, 1]" in result.stderr
    assert not (tmp_path / "out").exists()


def test_blocks_stay_as_they_are_unless_told_otherwise(checkpoints, tmp_path):
    stored, dequantized = tmp_path / "stored", tmp_path / "dequantized"
    for bundle, options in ((stored, []), (dequantized, ["--dequantize"])):
        result = intaglio("export", checkpoints[0], bundle, "--max-context", "128", *options)
        assert result.returncode == 0, result.stderr
    formats = {weight["dtype"] for weight in json.loads((stored / "manifest.json").read_text())["weights"] if weight["layout"] == "experts"}
    assert formats == {"mxfp4"}
    assert json.loads((stored / "manifest.json").read_text())["weight_dtype"] == "mxfp4"
    assert "mxfp4" not in (dequantized / "manifest.json").read_text()
    assert intaglio("run", stored, "-p", "a", "--max-tokens", "4", "--ignore-eos").returncode == 0
