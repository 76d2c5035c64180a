"""Names that may be one, on the manufacturers and models of planes.csv: measured against labels made by hand."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from medallion.contract import Near
from medallion.domains.operations import silver
from medallion.odcs.deduplicate import SIMILARITY
from medallion.quality.near import Cluster, clusters, normalised, variants
from tests import near_names
from tests.frames import frame_of
from tests.unit.operations_rows import frame


def found(spark: SparkSession, names: list[str], similarity: float = SIMILARITY) -> list[Cluster]:
    return clusters(frame_of(spark, [(name,) for name in names], "name string"), "name", similarity)


def measured(spark: SparkSession, names: list[str], truth: list[set[str]], similarity: float = SIMILARITY) -> tuple[float, float]:
    return near_names.pairwise([one.names for one in found(spark, names, similarity)], truth)


def test_manufacturers_and_models(spark: SparkSession) -> None:
    makers, models = near_names.names("manufacturer"), near_names.names("model")
    assert (len(makers), len(models)) == (35, 127)
    assert measured(spark, makers, near_names.MANUFACTURERS) == (1.0, 1.0)
    assert measured(spark, models, near_names.MODELS) == (1.0, 1.0)


@pytest.mark.parametrize(("similarity", "expected"), [(0.75, (1.0, 0.8803)), (SIMILARITY, (1.0, 0.8732)), (0.95, (1.0, 0.1338))])
def test_misspelt_manufacturers(spark: SparkSession, similarity: float, expected: tuple[float, float]) -> None:
    names, truth = near_names.with_slips(near_names.MANUFACTURERS)
    assert measured(spark, names, truth, similarity) == expected


def test_the_table_made_by_hand_finds_what_this_finds_and_no_misspelt_name(spark: SparkSession) -> None:
    """silver.operations.planes joins known variants, and so that nothing unknown is joined it keeps its table."""

    def by_hand(names: list[str]) -> list[set[str]]:
        rows = [{"manufacturer": name, "_source_row": n} for n, name in enumerate(names)]
        found: dict[str, set[str]] = {}
        for row in silver.planes(frame(spark, "bronze.operations.planes", rows)).collect():
            found.setdefault(row.manufacturer, set()).add(names[row._source_row])
        return list(found.values())

    assert near_names.pairwise(by_hand(near_names.names("manufacturer")), near_names.MANUFACTURERS) == (1.0, 1.0)
    names, truth = near_names.with_slips(near_names.MANUFACTURERS)
    assert near_names.pairwise(by_hand(names), truth) == (1.0, 0.0246)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Café  Zürich, Ltd.", "CAFE ZURICH"), ("Rolls-Royce Co., Inc.", "ROLLS ROYCE"), ("Co", "CO"), ("CO LTD", "CO"),
        ("日本 航空", "日本 航空"), (" . ", ""), ("A320-211", "A320 211"),
    ],
)  # fmt: skip
def test_a_name_is_normalised(spark: SparkSession, name: str, key: str) -> None:
    assert frame_of(spark, [(name,)], "name string").select(normalised("name")).collect()[0][0] == key


def test_figures_are_no_slips_and_signs_are(spark: SparkSession) -> None:
    names = ["MD-88", "MD88", "MD-83", "172M", "172N", "Boeing 747", "Boeing 737", "", "-", None, "Bell", "bell"]
    assert [list(one.names) for one in found(spark, names, 0.5)] == [["Bell", "bell"], ["MD-88", "MD88"]]


def test_the_most_frequent_name_is_canonical_and_the_weakest_link_the_score(spark: SparkSession) -> None:
    names = ["Kitfox"] * 2 + ["Kitfoxx"] * 3 + ["Kitfoxxy", "Piper"]
    frame = frame_of(spark, [(name,) for name in names], "name string")
    assert variants(frame, (Near("name", 0.8),)) == [
        {"column": "name", "canonical": "Kitfoxx", "names": {"Kitfoxx": 3, "Kitfox": 2, "Kitfoxxy": 1}, "score": 0.8571}
    ]
    assert variants(frame, (Near("name", 0.9),)) == []
