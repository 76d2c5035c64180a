"""docs/domains.md, carried out: its files are written, its commands typed, and it prints what it says.

A block of `sh` is typed into one shell, one after the other; a block of `text` holds lines of what was
printed before it; a block below a line with nothing but a path in backquotes is that file. How long it
took is printed: `pytest -s tests/e2e/test_domains_page.py`.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from medallion import domain
from medallion.settings import ROOT, load

PAGE = (ROOT / "docs" / "domains.md").read_text("utf-8")
BLOCKS = list(re.finditer(r"(?:^`(?P<path>[^`\n]+)`\n\n)?^```(?P<kind>\w+)\n(?P<body>.*?)^```$", PAGE, re.M | re.S))
FILES = [block for block in BLOCKS if block["path"]]
SHOWN = [block for block in BLOCKS if block["kind"] == "text"]


def script() -> str:
    """What a person does who follows the page, as one shell script; it tells the milliseconds after each block."""
    lines = ["set -eu", "began=$(date +%s%3N)"]
    for number, block in enumerate(BLOCKS):
        if block["path"]:
            lines.append(f"cat > {block['path']} <<'END-OF-FILE'\n{block['body']}END-OF-FILE")
        elif block["kind"] == "sh":
            lines.append(block["body"])
        lines.append(f'echo "-- block {number}: $(( $(date +%s%3N) - began )) ms"')
    return "\n".join(lines)


@pytest.fixture(scope="module")
def printed(stack_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the terminal shows after the whole page, begun in an empty folder."""
    folder = tmp_path_factory.mktemp("page")
    words = ["bash", "-c", script()]
    done = subprocess.run(words, cwd=folder, env=stack_environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    print(f"docs/domains.md: {folder}\n{done.stdout}")
    return done.stdout


def plain(line: str) -> str:
    return re.sub(r"\s+", " ", line).strip()


def test_the_page_prints_what_it_says(printed: str) -> None:
    assert SHOWN
    for block in SHOWN:
        before = printed.partition(f"-- block {BLOCKS.index(block)}:")[0]
        lines = [plain(line) for line in before.splitlines()]
        missing = [line for line in block["body"].splitlines() if plain(line) not in lines]
        assert not missing, before[-3000:]


def test_the_page_makes_one_domain_of_five_datasets(printed: str, tmp_path: Path) -> None:
    assert printed.count("1 passed") == 1
    (row,) = [plain(line).split(" │ ") for line in printed.splitlines() if "│ cycling" in line]
    assert row[1:5] == ["folder", "2", "2", "1"]
    for block in FILES:
        (tmp_path / block["path"]).parent.mkdir(exist_ok=True)
        (tmp_path / block["path"]).write_text(block["body"], "utf-8")
    mine = domain.load(load(), tmp_path / "cycling").select(domain="cycling")
    others = {d.partition(".")[2].partition(".")[2] for d in domain.load(load()).contracts}
    assert len(mine) == 5
    assert not others & {d.rpartition(".")[2] for d in mine}, "the page shows something that the demo does not have"
