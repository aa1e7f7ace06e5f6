"""Exits 0 if every `name==version` of the given requirements files is installed for this interpreter, else 1."""
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def is_installed(requirement: str) -> bool:
    name, _, wanted = requirement.partition("==")
    try:
        return version(name) == wanted
    except PackageNotFoundError:
        return False


lines = [line.partition("#")[0].strip() for path in sys.argv[1:] for line in Path(path).read_text().splitlines()]
sys.exit(not all(is_installed(line) for line in lines if line))
