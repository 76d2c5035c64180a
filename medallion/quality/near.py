"""Names that are probably one name written differently: AIRBUS and AIRBUS INDUSTRIE, FALCON XP and FALCON-XP.

They are told, never joined: whether Douglas is McDonnell Douglas only a person knows.

1. **Normalised**: upper case, Latin letters without accents, signs as spaces, legal forms (INC, GMBH, …) off the end.
2. **Blocked**: only names that share a block are compared: the first three letters, the letters two to five, or
   the Soundex code of the first word. A name is in three blocks, so one slip of the pen leaves one in common.
3. **Compared** word by word from the left, because names lead with what tells them apart: the shorter one with as many
   words of the longer one. `score = 1 - levenshtein / length of the longer`, less `_PER_WORD` for every word that the
   longer one has more. Figures are never slips of the pen: names with other figures are two (A320-211, A320-212).
4. **Joined** into clusters: what is alike to one of a cluster is in it. The canonical name is its most frequent one.

Levenshtein's distance and Soundex are Spark's own, so there is no further library and no Python function for rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medallion.contract import Near

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

LEGAL_FORMS = (
    "INC", "INCORPORATED", "LTD", "LIMITED", "LLC", "LLP", "LP", "PLC", "CO", "COMPANY", "CORP", "CORPORATION", "GMBH", "AG",
    "KG", "SE", "SA", "SAS", "SARL", "SPA", "SRL", "SL", "BV", "NV", "AB", "AS", "OY", "OYJ", "PTY",
)  # fmt: skip
_ACCENTED = "ÀÁÂÃÄÅÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝŸŠŽ"
_PLAIN = "AAAAAACEEEEIIIINOOOOOOUUUUYYSZ"
_PER_WORD = 0.03
SHOWN = 100
"""How many clusters a run's story shows of a column."""


@dataclass(frozen=True)
class Cluster:
    """Names that may be one. `names` are all of them with their rows, the most frequent first; `canonical` is that one;
    `score`, from 0 to 1, is how alike the least alike two of them are that join the cluster."""

    canonical: str
    names: dict[str, int]
    score: float


def clusters(frame: DataFrame, column: str, similarity: float) -> list[Cluster]:
    """Clusters of two names or more in a column of text, the one with the most rows first.

    Args:
        similarity: the least score of two names that are joined, from 0 to 1.
    Returns: the same for the same names, whatever the order of rows.
    """
    from pyspark.sql import functions as f

    counted = frame.filter(f.col(column).isNotNull()).groupBy(f.col(column).alias("name")).agg(f.count("*").alias("rows"))
    keyed = counted.withColumn("key", normalised("name")).filter("key <> ''")
    blocks = keyed.withColumn("block", f.explode(f.array_distinct(_blocks())))
    left, right = blocks.alias("a"), blocks.alias("b")
    pairs = (
        left.join(right, (f.col("a.block") == f.col("b.block")) & (f.col("a.name") < f.col("b.name")))
        .select(*[f.col(f"{side}.{what}").alias(f"{what}_{side}") for side in "ab" for what in ("name", "rows", "key")])
        .distinct()
        .withColumn("score", _score("key_a", "key_b"))
        .filter(f.col("score") >= similarity)
    )
    found = pairs.select("name_a", "rows_a", "name_b", "rows_b", "score").collect()
    rows = {name: n for a, n_a, b, n_b, _ in found for name, n in ((a, n_a), (b, n_b))}
    return _joined(rows, sorted(((a, b, round(score, 4)) for a, _, b, _, score in found), key=lambda p: (-p[2], p)))


def variants(frame: DataFrame, wanted: Sequence[Near]) -> list[dict[str, Any]]:
    """What a run's story tells of similar names: `column`, `canonical`, `names` with their rows, `score`."""
    return [
        {"column": near.column, "canonical": one.canonical, "names": one.names, "score": one.score}
        for near in wanted
        for one in clusters(frame, near.column, near.similarity)[:SHOWN]
    ]


def normalised(column: str) -> Column:
    """A name's key: what is left of it when case, accents, signs and legal forms are gone."""
    from pyspark.sql import functions as f

    words = f.trim(f.regexp_replace(f.translate(f.upper(column), _ACCENTED, _PLAIN), r"[^\p{L}\p{N}]+", " "))
    return f.regexp_replace(words, rf"(?<=\S)( ({'|'.join(LEGAL_FORMS)}))+$", "")


def _blocks() -> Column:
    from pyspark.sql import functions as f

    joined = f.translate("key", " ", "")
    return f.array(
        f.concat(f.lit("1"), f.substring(joined, 1, 3)),
        f.concat(f.lit("2"), f.substring(joined, 2, 4)),
        f.concat(f.lit("s"), f.soundex(f.substring_index("key", " ", 1))),
    )


def _score(a: str, b: str) -> Column:
    """How alike two keys are; 0 where their figures differ."""
    from pyspark.sql import functions as f

    words = [f.split(f.col(key), " ") for key in (a, b)]
    sizes = [f.size(each) for each in words]
    fewer, more = f.least(*sizes), f.greatest(*sizes)
    left, right = (f.array_join(f.slice(each, 1, fewer), " ") for each in words)
    alike = 1 - f.levenshtein(left, right) / f.greatest(f.length(left), f.length(right))
    joined = [f.translate(key, " ", "") for key in (a, b)]
    figures = [f.regexp_extract_all(key, f.lit(r"\S*\p{N}\S*"), f.lit(0)) for key in (a, b)]
    differ = f.when(figures[0] == figures[1], alike - _PER_WORD * (more - fewer)).otherwise(0.0)
    return f.when(joined[0] == joined[1], 1.0).otherwise(differ)


def _joined(rows: dict[str, int], pairs: Sequence[tuple[str, str, float]]) -> list[Cluster]:
    """Pairs, the most alike first, joined into clusters."""
    of = {name: [name] for name in rows}
    least = dict.fromkeys(rows, 1.0)
    for a, b, score in pairs:
        if of[a] is not of[b]:
            both = of[a] + of[b]
            low = min(least[of[a][0]], least[of[b][0]], score)
            for name in both:
                of[name], least[name] = both, low
    found = []
    for names in {id(members): members for members in of.values()}.values():
        ordered = sorted(names, key=lambda name: (-rows[name], name))
        found.append(Cluster(ordered[0], {name: rows[name] for name in ordered}, least[ordered[0]]))
    return sorted(found, key=lambda one: (-sum(one.names.values()), one.canonical))
