"""Exit codes and help: 0 fine, 1 the work failed, 2 wrong usage."""
import pytest
from conftest import intaglio


@pytest.mark.parametrize("command", [[], ["export"], ["run"], ["inspect"], ["bench"], ["compare"], ["cache"]])
def test_help_teaches_by_examples(command):
    result = intaglio(*command, "--help")
    assert result.returncode == 0
    assert "Examples:" in result.stdout
    assert not result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["engrave"],
        ["export", "only-a-source"],
        ["export", "a", "b", "--weights", "f8"],
        ["export", "a", "b", "--dtype", "f8"],
        ["export", "a", "b", "--group", "48"],
        ["export", "a", "b", "--max-context", "0"],
        ["export", "a", "b", "--batch-buckets", "1,x"],
        ["run", "bundle"],
        ["run", "bundle", "-p", "x", "--chat"],
        ["run", "bundle", "-p", "x", "--input-ids", "1"],
        ["run", "bundle", "-p", "x", "--logprobs", "3"],
        ["run", "bundle", "-p", "x", "--json", "--logprobs", "21"],
        ["run", "bundle", "--chat", "--json"],
        ["run", "bundle", "-p", "x", "--temperature", "-1"],
        ["run", "bundle", "-p", "x", "--threads", "0"],
        ["run", "bundle", "-p", "x", "--threads-per-rank", "0"],
        ["run", "bundle", "-p", "x", "--bind", "socket"],
        ["inspect"],
        ["inspect", "bundle", "--plan", "--graph"],
        ["inspect", "bundle", "--plan", "--topology"],
        ["inspect", "bundle", "--bind", "core"],
        ["compare"],
    ],
)
def test_wrong_usage_exits_with_2(arguments):
    result = intaglio(*arguments)
    assert result.returncode == 2, result.stdout + result.stderr
    assert not result.stdout
    assert result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "/no/bundle", "-p", "x"],
        ["bench", "/no/bundle"],
        ["inspect", "/no/bundle"],
        ["export", "/no/checkpoint", "out"],
        ["compare", "--fixture", "/no/fixture"],
    ],
)
def test_a_missing_path_is_named_and_exits_with_1(arguments, tmp_path):
    result = intaglio(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert "/no/" in result.stderr
    assert result.stderr.startswith("intaglio: error: ")
    assert not result.stdout
    assert not list(tmp_path.iterdir())
