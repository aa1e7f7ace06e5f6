"""The part of docs/STYLE.md that a script can check on the text of every file."""
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOT_OURS = {".git", "build", ".cache", ".venv", "target", "__pycache__", ".pytest_cache", ".ruff_cache", "fixtures", "corpus"}
MAX_LINES = 400
# Files that are better long than cut: at most this many lines, and why.
LONGER: dict[str, int] = {}
HARD_MAX_LINES = 600
CODE = {".cc", ".h", ".inc", ".py", ".rs", ".sh", ".cmake"}
TEXT = CODE | {".md", ".json", ".toml", ".txt", ".yaml", ".ini", ""}
# A file of code opens with what it is for.
OPENING = {".cc": "//", ".h": "//", ".inc": "//", ".rs": "//", ".sh": "#!", ".cmake": "#", ".py": ('"""', "#!", "#")}


def our_files(suffixes: set[str]) -> list[Path]:
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(set(folders) - NOT_OURS)
        found += [Path(folder) / name for name in sorted(names) if Path(name).suffix in suffixes]
    return found


def places(pattern: re.Pattern[str], files: list[Path]) -> list[str]:
    return [f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
            for path in files if path != Path(__file__).resolve()
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1) if pattern.search(line)]


def test_files_are_short():
    wrong = []
    for path in our_files(CODE):
        name, lines = str(path.relative_to(ROOT)), len(path.read_text().splitlines())
        if lines > min(LONGER.get(name, MAX_LINES), HARD_MAX_LINES):
            wrong.append(f"{name} has {lines} lines")
    assert not wrong, f"more than {MAX_LINES} lines; cut by subject:\n" + "\n".join(wrong)


def says_what_it_is_for(path: Path) -> bool:
    """A .cc file that includes the header it implements (bundle.h for bundle.cc and bundle_writer.cc) leaves that to it; a test's name
    says it."""
    text = path.read_text()
    headers = re.findall(r'^#include "(?:\w+/)+(\w+)\.h"', text, re.MULTILINE) if path.suffix == ".cc" else []
    is_implementation = any(f"{path.stem}_".startswith(f"{header}_") for header in headers)
    return path.name.endswith("_test.cc") or is_implementation or not text or text.startswith(OPENING[path.suffix])


def test_every_file_of_code_opens_with_what_it_is_for():
    wrong = [str(path.relative_to(ROOT)) for path in our_files(CODE) if not says_what_it_is_for(path)]
    assert not wrong, "no opening comment:\n" + "\n".join(wrong)


def test_headers_have_pragma_once():
    wrong = [str(path.relative_to(ROOT)) for path in our_files({".h"}) if "\n#pragma once\n" not in path.read_text()]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("what, pattern", {
    "notes to self belong in an issue": r"\b(TODO|FIXME|XXX|HACK)\b",
    "paths of one machine": r"(?<![\w.])/(work|root|home/\w+|Users/\w+|tmp/w)/",
    "trailing blanks": r"[ \t]+$",
}.items())
def test_no_file_contains(what, pattern):
    wrong = places(re.compile(pattern), our_files(TEXT - {""}))
    assert not wrong, f"{what}:\n" + "\n".join(wrong)


def test_no_tabs_in_code():
    wrong = places(re.compile("\t"), our_files(CODE))
    assert not wrong, "\n".join(wrong)


def test_no_compiled_program_is_in_the_tree():
    wrong = []
    for path in our_files(TEXT | {".so", ".o", ".a"}):
        with path.open("rb") as file:
            if file.read(4) == b"\x7fELF":
                wrong.append(str(path.relative_to(ROOT)))
    assert not wrong, "\n".join(wrong)


def test_links_between_documents_lead_somewhere():
    wrong = []
    for path in our_files({".md"}):
        for target in re.findall(r"\]\(([^)#:\s]+)\)", path.read_text()):
            if not (path.parent / target).exists():
                wrong.append(f"{path.relative_to(ROOT)}: {target}")
    assert not wrong, "\n".join(wrong)
