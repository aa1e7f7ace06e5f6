"""Who may include whom: the table of docs/STYLE.md, checked on every #include of src/ and include/."""
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Folder -> what it may include besides itself, base and the public headers. An entry with a file name allows that header alone.
MAY_INCLUDE = {
    "base": set(),
    "checkpoint": set(),
    "text": set(),
    "graph": set(),
    "kernels": set(),
    "collectives": set(),
    "bundle": set(),
    "layers": {"graph"},
    "models": {"layers", "graph", "checkpoint/hf_config.h"},
    "compiler": {"models", "layers", "graph", "checkpoint", "bundle", "kernels"},
    "runtime": {"bundle", "kernels", "collectives"},
    "parity": {"compiler", "runtime", "models", "layers", "graph", "text", "checkpoint", "bundle", "kernels/isa.h"},
    "cli": {"text"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def includes(folder: Path) -> list[tuple[str, str]]:
    """(file, what it includes) for every quoted include below a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in {".h", ".cc", ".inc"}]
    return [(str(path.relative_to(ROOT)), header) for path in files for header in INCLUDE.findall(path.read_text())]


def test_every_folder_has_its_line_in_the_table():
    assert {path.name for path in (ROOT / "src").iterdir() if path.is_dir()} == set(MAY_INCLUDE)


@pytest.mark.parametrize("folder", MAY_INCLUDE)
def test_a_folder_includes_only_what_it_may(folder):
    allowed = MAY_INCLUDE[folder] | {folder, "intaglio"} | ({"base"} if folder != "base" else set())
    wrong = [f"{file} includes {header}" for file, header in includes(ROOT / "src" / folder)
             if header not in allowed and header.partition("/")[0] not in allowed]
    assert not wrong, f"{folder} may include {', '.join(sorted(allowed))}, but:\n" + "\n".join(wrong)


def test_public_headers_include_only_each_other():
    wrong = [f"{file} includes {header}" for file, header in includes(ROOT / "include") if not header.startswith("intaglio/")]
    assert not wrong, "\n".join(wrong)


def test_includes_name_their_folder_and_exist():
    wrong = [f"{file} includes {header}" for file, header in includes(ROOT / "src") + includes(ROOT / "include")
             if not any((ROOT / base / header).is_file() and "/" in header for base in ("src", "include", "rust/include"))]
    assert not wrong, "\n".join(wrong)
