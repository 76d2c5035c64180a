"""A new domain from the skeleton: what is written, and what is refused. That it works is an integration test."""

from __future__ import annotations

from pathlib import Path

import pytest

from medallion import domain
from medallion.domain_skeleton import create
from medallion.errors import UsageError
from medallion.settings import Settings


def test_the_skeleton_is_a_domain_of_the_new_name(tmp_path: Path) -> None:
    files = create(Settings(), "bakery", tmp_path / "deep" / "bakery")
    assert {file.parent for file in files} == {tmp_path / "deep" / "bakery", tmp_path / "deep" / "bakery" / "sample"}
    assert not [file for file in files if "skeleton" in file.read_text().lower()]
    domains = domain.load(Settings(), tmp_path / "deep" / "bakery")
    assert domains.select(domain="bakery") == ("bronze.bakery.orders", "silver.bakery.orders", "gold.bakery.daily_orders")
    assert {c.owner for c in domains.contracts.values() if c.domain == "bakery"} == {"bakery-team"}
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["bakery"], "nothing half-made is left"


def test_without_a_folder_it_is_made_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert create(Settings(), "bakery")[0].parent == tmp_path / "bakery"


@pytest.mark.parametrize("name", ["", "Bakery", "2go", "a-b", "a.b", "../a", "class", "silver", "medallion", "operations"])
def test_a_name_that_no_domain_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}'") as refused:
        create(Settings(), name, tmp_path / "new")
    assert refused.value.hint
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    create(Settings(), "bakery", tmp_path / "bakery")

    def files() -> dict[Path, bytes]:
        of_python = "__pycache__"  # where it keeps what it compiled
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and of_python not in path.parts}

    before = files()
    with pytest.raises(UsageError, match="bakery exists already") as refused:
        create(Settings(), "butcher", tmp_path / "bakery")
    assert "--folder" in (refused.value.hint or "")
    with pytest.raises(UsageError, match=f"there is a domain 'bakery' already, in {tmp_path}/bakery"):
        create(Settings(domains=str(tmp_path / "bakery")), "bakery", tmp_path / "new")
    assert files() == before


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"file/bakery cannot be written: .*Not a directory"):
        create(Settings(), "bakery", tmp_path / "file" / "bakery")
