"""inspect --topology, and what else depends on the machine. HWLOC_SYNTHETIC makes hwloc see another machine than this one."""
import json
import os

import pytest
from conftest import FIXTURES, export, intaglio

# A node for each of the first two CPUs, as if they were sockets.
TWO_NODES = {**os.environ, "HWLOC_SYNTHETIC": "pack:2 [numa(memory=4GB)] core:1 pu:1"}
ONE_NODE = {**os.environ, "HWLOC_SYNTHETIC": "pack:1 [numa(memory=4GB)] core:2 pu:1"}
needs_two_cpus = pytest.mark.skipif(not {0, 1} <= os.sched_getaffinity(0), reason="needs CPUs 0 and 1")


@pytest.fixture(scope="session")
def llama_of_two(tmp_path_factory):
    return export(FIXTURES / "llama-tiny", tmp_path_factory.mktemp("cli") / "llama.2.bundle", "--tp", "2")


def topology(bundle, *options, env=None):
    result = intaglio("inspect", bundle, "--topology", "--json", *options, env=env)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_shows_this_machine_and_all_of_its_usable_cpus(llama):
    shown = topology(llama)
    cpus = {cpu for node in shown["machine"]["nodes"] for cpu in node["usable_cpus"]}
    assert cpus and cpus <= os.sched_getaffinity(0)
    assert shown["machine"]["note"] == ""
    assert [rank["threads"] for rank in shown["ranks"]] == [len(cpus)]


@needs_two_cpus
def test_two_ranks_take_a_node_each(llama_of_two):
    ranks = topology(llama_of_two, env=TWO_NODES)["ranks"]
    assert [(rank["nodes"], rank["cpus"], rank["threads"], rank["is_bound"]) for rank in ranks] == [([0], [0], 1, True), ([1], [1], 1, True)]
    assert all(rank["weights_bytes"] > 0 and rank["kv_cache_bytes"] > 0 and rank["arena_bytes"] > 0 for rank in ranks)


@needs_two_cpus
def test_options_move_the_ranks(llama_of_two):
    ranks = topology(llama_of_two, "--bind", "none", "--threads-per-rank", "3", env=TWO_NODES)["ranks"]
    assert [(rank["nodes"], rank["threads"], rank["is_bound"]) for rank in ranks] == [([0, 1], 3, False)] * 2


@needs_two_cpus
def test_one_rank_on_two_nodes_is_told_that_two_would_do(llama, llama_of_two):
    assert "--tp 2" in intaglio("inspect", llama, "--topology", env=TWO_NODES).stdout
    assert "--tp" not in intaglio("inspect", llama_of_two, "--topology", env=TWO_NODES).stdout
    assert "--tp" not in intaglio("inspect", llama, "--topology", env=ONE_NODE).stdout


@needs_two_cpus
@pytest.mark.parametrize("options, env, is_told", [([], TWO_NODES, True), ([], ONE_NODE, False), (["--tp", "1"], TWO_NODES, False)])
def test_export_suggests_ranks_where_nobody_chose(options, env, is_told, tmp_path):
    result = intaglio("export", FIXTURES / "llama-tiny", tmp_path / "llama.bundle", *options, env=env)
    assert result.returncode == 0, result.stderr
    assert ("--tp 2" in result.stderr) == is_told


def test_counts_that_contradict_each_other_are_refused(llama_of_two):
    for command in (["run", llama_of_two, "-p", "x"], ["inspect", llama_of_two, "--topology"]):
        result = intaglio(*command, "--threads", "4", "--threads-per-rank", "1")
        assert result.returncode == 1
        assert "4 threads in all contradict 1 for each of 2 ranks" in result.stderr


@needs_two_cpus
@pytest.mark.parametrize("options", [["--bind", "none"], ["--bind", "core"], ["--bind", "numa"], ["--threads-per-rank", "2"]])
def test_no_place_changes_the_answer(options, llama, llama_of_two):
    def answer(bundle, *options):
        result = intaglio("run", bundle, "--input-ids", "1,2,3", "--max-tokens", "8", "--json", *options, env=TWO_NODES)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)["ids"]

    assert answer(llama_of_two, *options) == answer(llama)
