"""A run's story, as a person reads it: what decided each rule."""

from __future__ import annotations

from typing import Any

import pytest

from medallion.story import tell


def story(*verdicts: dict[str, Any]) -> dict[str, Any]:
    write = {"dataset": "gold.shop.orders", "logical_date": None, "rows_in": 3, "verdicts": list(verdicts)}
    return {"notes": [], "deliveries": [], "read": {}, "writes": [write], "steps": [], "publications": []}


def verdict(rule: str, bad: int = 0, **more: str) -> dict[str, Any]:
    return {"rule": rule, "severity": "error", "bad": bad, "judged": 3, "tolerance": 0, "passed": not bad, "samples": []} | more


def test_it_says_what_decided_the_rules(capsys: pytest.CaptureFixture[str]) -> None:
    free = [verdict(name, decided_by="figures") for name in ("a", "b")]
    tell(story(*free, verdict("of an older run")))
    assert "all rules held on every row (3; decided by figures 2, pass 1)" in capsys.readouterr().out
    tell(story(*free, verdict("looked_at", 2, decided_by="aggregate")))
    told = capsys.readouterr().out
    assert "rules (3; decided by figures 2, aggregate 1)" in told
    assert "looked_at" in told


def test_it_says_what_an_upsert_changed(capsys: pytest.CaptureFixture[str]) -> None:
    found = story(verdict("a"))
    tell(found)
    assert "upserted" not in capsys.readouterr().out
    dropped = {"exact_copy": 4, "older": 5}
    found["writes"][0] |= {"dropped": dropped, "upserted": {"way": "merged", "inserted": 71, "updated": 0}}
    tell(found)
    told = capsys.readouterr().out
    assert "4 exact_copy, 5 older" in " ".join(told.split())
    assert all(word in told for word in ("upserted", "merged", "inserted", "71", "updated"))
    assert "withdrawn" not in told
