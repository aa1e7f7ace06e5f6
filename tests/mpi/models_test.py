"""Models whose ranks are processes: byte for byte what a bundle of one rank gives."""
import json

import pytest
from launcher import FIXTURES, INTAGLIO, export, intaglio, launch, needs_mpirun

EMBEDDERS = ["qwen3-embedding-tiny", "gemma3-embedding-tiny", "bert-embedding-tiny"]
NOT_TEXT = ["smolvlm-tiny"]
DECODERS = sorted({path.parent.name for path in FIXTURES.glob("*-tiny/golden.json")} - {*EMBEDDERS, *NOT_TEXT})
PROMPT = "5,6,7,300,9,1,2,3,17,4,250,11,12,13,14,15,16,18,19"
GREEDY = ["--max-tokens", "4"]
SAMPLED = ["--max-tokens", "8", "--temperature", "0.9", "--top-p", "0.8", "--seed", "5", "--repetition-penalty", "1.2", "--logprobs", "3"]

pytestmark = needs_mpirun


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """Exports each once, by fixture and options."""
    root, made = tmp_path_factory.mktemp("bundles"), {}

    def bundle(fixture, *options):
        key = " ".join([fixture, *options])
        if key not in made:
            made[key] = export(fixture, root / str(len(made)), *options)
        return made[key]
    return bundle


def run(bundle, logits, *options):
    return [INTAGLIO, "run", bundle, "--input-ids", PROMPT, "--ignore-eos", "--json", "--logits", logits, *options]


def answer(result, logits):
    """What does not depend on time or memory."""
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    return {key: told.get(key) for key in ("prompt_ids", "ids", "finish_reason", "top_logprobs")}, logits.read_bytes()


def check_against_one_rank(bundles, tmp_path, fixture, ranks, options, wrapper="run.sh"):
    one, many = tmp_path / "one.safetensors", tmp_path / "many.safetensors"
    for sampling in (GREEDY, SAMPLED):
        expected = answer(intaglio(*run(bundles(fixture), one, *sampling)[1:]), one)
        actual = answer(launch(ranks, *run(bundles(fixture, "--tp", str(ranks), *options), many, *sampling), wrapper=wrapper), many)
        assert actual[0] == expected[0]
        assert actual[1] == expected[1], "the logits differ"


# Four ranks have every collective that two have, and some ranks without heads.
@pytest.mark.parametrize("fixture, ranks", [(fixture, 4) for fixture in DECODERS] + [("llama-tiny", 2), ("qwen3-moe-tiny", 2), ("falcon-h1-tiny", 2)])
def test_processes_give_the_bytes_of_one_rank(bundles, tmp_path, fixture, ranks):
    check_against_one_rank(bundles, tmp_path, fixture, ranks, [])


@pytest.mark.parametrize("experts", [1, 2])
def test_so_do_processes_that_share_the_inside_of_experts(bundles, tmp_path, experts):
    check_against_one_rank(bundles, tmp_path, "qwen3-moe-tiny", 4, ["--ep", str(experts)])


def test_so_do_eight_processes(bundles, tmp_path):
    check_against_one_rank(bundles, tmp_path, "llama-heads-not-divisible-tiny", 8, [])


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("fixture", ["llama-tiny", "qwen3-moe-tiny"])
def test_so_do_processes_on_two_hosts(bundles, tmp_path, fixture, ranks):
    check_against_one_rank(bundles, tmp_path, fixture, ranks, [], wrapper="two_hosts.sh")


@pytest.mark.parametrize("fixture", ["llama-tiny", "qwen3-moe-tiny"])
def test_so_do_long_prompts_whose_sums_travel_in_parts(bundles, fixture):
    # Between hosts, a step of 128 rows and more is summed while its next rows are computed.
    ids = ",".join(str(3 + i * 7 % 290) for i in range(300))
    options, context = ["--input-ids", ids, "--ignore-eos", "--json", "--max-tokens", "6", "--logprobs", "20"], ["--max-context", "384"]
    told = [json.loads(intaglio("run", bundles(fixture, *context), *options).stdout)]
    result = launch(2, INTAGLIO, "run", bundles(fixture, "--tp", "2", *context), *options, wrapper="two_hosts.sh")
    assert result.returncode == 0, result.stderr
    told.append(json.loads(result.stdout))
    assert told[1]["ids"] == told[0]["ids"]
    assert told[1]["top_logprobs"] == told[0]["top_logprobs"]


def test_sums_that_travel_as_bf16_are_near(bundles):
    options = ["--input-ids", PROMPT, "--ignore-eos", "--json", "--max-tokens", "1", "--logprobs", "1"]
    result = launch(2, INTAGLIO, "run", bundles("llama-tiny", "--tp", "2"), *options, "--wire", "bf16")
    assert result.returncode == 0, result.stderr
    near, exact = (json.loads(text)["top_logprobs"][0] for text in (result.stdout, intaglio("run", bundles("llama-tiny"), *options).stdout))
    threads = json.loads(intaglio("run", bundles("llama-tiny", "--tp", "2"), *options, "--wire", "bf16").stdout)["top_logprobs"][0]
    assert near == threads, "processes and threads round alike"
    assert near != exact
    assert abs(near[0]["logprob"] - exact[0]["logprob"]) < 0.1


@pytest.mark.parametrize("fixture", EMBEDDERS)
def test_embeddings_are_those_of_one_rank(bundles, fixture):
    ids = ["--input-ids", "5,6,7,300,9"]
    result = launch(2, INTAGLIO, "embed", bundles(fixture, "--tp", "2"), *ids)
    assert result.returncode == 0, result.stderr
    assert result.stdout == intaglio("embed", bundles(fixture), *ids).stdout


def test_a_host_file_names_the_hosts(bundles, tmp_path):
    (tmp_path / "hosts").write_text("# two ranks on this machine\nlocalhost slots=2\n")
    bundle = bundles("llama-tiny", "--tp", "2")
    result = launch(2, "--hostfile", tmp_path / "hosts", INTAGLIO, "run", bundle, "--input-ids", PROMPT, "--max-tokens", "4")
    assert result.returncode == 0, result.stderr
    assert result.stdout == intaglio("run", bundle, "--input-ids", PROMPT, "--max-tokens", "4").stdout


def test_a_bench_loads_again_and_again(bundles):
    result = launch(2, INTAGLIO, "bench", bundles("llama-tiny", "--tp", "2"), "--repeat", "3", "--prefill", "16", "--decode", "4", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["decode_tokens_per_s"]["median"] > 0


def test_a_bundle_for_processes_is_compared_with_transformers(bundles):
    result = launch(2, INTAGLIO, "compare", bundles("qwen3-moe-tiny", "--tp", "2"), FIXTURES / "qwen3-moe-tiny", "--summary")
    assert result.returncode == 0, result.stdout + result.stderr
