"""conf/alerts.toml: what it says, and what is refused of it, naming file, rule, key and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from medallion.alerts import rules
from medallion.alerts.finding import masked, samples
from medallion.alerts.rules import Gap, QualityDrop
from medallion.errors import SettingsError
from tests.lake_tables import gold


def test_the_file_that_comes_with_medallion_has_a_rule_of_each_kind() -> None:
    found = rules.load({})
    assert [rule.kind for rule in found.rules] == list(rules.KINDS)
    drop = found.by_name["quality_drop"]
    assert isinstance(drop, rules.QualityDrop)
    assert drop.share == 0.2
    assert found.look_back_hours == 168


def test_a_folder_of_profiles_may_have_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_CONF", str(tmp_path))
    assert rules.path().parent != tmp_path
    (tmp_path / "alerts.toml").write_text('[rules.a]\nkind = "gap"\ndatasets = ["gold.*"]\n[rules.b]\nkind = "quality_drop"\n')
    found = rules.load({})
    assert [rule.name for rule in found.of(Gap, "gold.sales.totals")] == ["a"]
    assert found.of(Gap, "silver.sales.totals") == found.of(Gap, None) == []
    assert [rule.name for rule in found.of(QualityDrop, None)] == ["b"]


@pytest.mark.parametrize(
    ("text", "told", "hint"),
    [
        ("[rules.a", "cannot be read", "mend"),
        ("rule = 1", "there is no key 'rule'", r"one table \[rules.NAME\]"),
        ("look_back_hours = -1", "look_back_hours is -1", "hours"),
        ("rules = 3", "rules are not tables", "rules.NAME"),
        (
            "[rules.a]\nshare = 0.2",
            "rule 'a', kind: None is none",
            "quality_drop, run_failed, publication_failed, gap, schema_violation, anomaly",
        ),
        ('[rules.a]\nkind = "gap"\nafter = 3', "rule 'a': there is no key 'after'", "after_hours"),
        ('[rules.a]\nkind = "gap"\nname = "b"', "rule 'a': there is no key 'name'", "its table's name"),
        ('[rules.a]\nkind = "gap"\nafter_hours = -3', "rule 'a', after_hours: ", "greater than or equal to 0"),
        ('[rules.a]\nkind = "quality_drop"\nshare = 20', "rule 'a', share: ", "less than 1"),
        ('[rules.a]\nkind = "gap"\nseverity = "loud"', "rule 'a', severity: ", "allowed: critical, error, warning"),
        ('[rules.a]\nkind = "gap"\nchannels = ["x"]', "rule 'a', channels: there is no channel 'x'", "known: team"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, text: str, told: str, hint: str) -> None:
    file = tmp_path / "alerts.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=told) as refused:
        rules.load({"team": None}, file)
    assert refused.value.message.startswith(str(file))
    assert refused.value.hint
    import re

    assert re.search(hint, refused.value.hint)


def test_rows_are_shown_without_personal_columns() -> None:
    contract = gold("sales", {"id": "bigint", "customer": "string"})
    personal = contract.columns[1].__class__("customer", "string", False, "", True, "Customer Name")
    contract = contract.__class__(**{**vars(contract), "columns": (contract.columns[0], personal)})
    rows = ['{"id": 1, "customer": "ann", "Customer Name": "ann"}', "9 rows", '{"id": NaN}', *['{"id": 2}'] * 5]
    assert samples(rows, contract) == [{"id": 1}, {"id": "NaN"}, {"id": 2}]
    assert samples(rows, None) == []


def test_what_stands_in_quotes_is_left_out_of_an_error_unless_it_is_a_name() -> None:
    assert masked("ValueError: `amount` of 'ann' is none\nat bob", ["amount"]) == "ValueError: `amount` of '…' is none"
    assert masked("ValueError: 'ann' in `amount` of \"x\"\nat bob", ["amount"]) == "ValueError: '…\""
    assert len(masked("x" * 1000, ())) == 300


@pytest.mark.parametrize(
    "text",
    [
        "doesn't parse: value 'Anna Smith'", "doesn't parse: value \"Anna Smith\"", "value 'O'Neil Anna Smith' of `amount`",
        "it's amount: 'amount' and don't: 'Anna Smith'", "value 'Anna Smith", "value \u2018Anna Smith\u2019",
        'value "it\'s Anna Smith"',
        "the customers' value 'Anna Smith' isn't `amount`", "'amount'Anna Smith'amount'", "value '\\'Anna Smith\\''",
    ],
)  # fmt: skip
def test_an_apostrophe_lets_no_quoted_value_through(text: str) -> None:
    told = masked(f"ValueError: {text}", ["amount"])
    assert "Anna" not in told
    assert "Smith" not in told
    assert told.startswith("ValueError: ")
