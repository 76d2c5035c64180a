"""The rules that the benchmark judges by: said once, and put into each judge's own words from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bench.quality.lineitem import COLUMNS

Kind = Literal["null", "range", "set", "regex", "cross"]
Bound = Literal["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]
TOLERANCE = 0.01
SIGNS: dict[str, str] = {"minimum": ">=", "maximum": "<=", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}


@dataclass(frozen=True)
class Check:
    """One rule. `value`: of a range (bound, number or ISO date), of a set its members, of a regex the pattern, of a
    cross-column rule the condition in SQL that a good row meets."""

    kind: Kind
    column: str
    value: Any = None

    @property
    def sql(self) -> str:
        """What a good row meets, in the SQL that Spark and DuckDB share; null where it says nothing of the row."""
        match self.kind:
            case "null":
                return f"{self.column} IS NOT NULL"
            case "range":
                bound, limit = self.value
                return f"{self.column} {SIGNS[bound]} {_literal(self.column, limit)}"
            case "set":
                return f"{self.column} IN ({', '.join(_literal(self.column, one) for one in self.value)})"
            case "regex":
                return f"regexp_like({self.column}, '{self.value}')"
            case "cross":
                return str(self.value)


def _literal(column: str, value: Any) -> str:
    type_ = COLUMNS[column]
    if type_ == "date":
        return f"DATE '{value}'"
    return f"'{value}'" if type_ == "string" else str(value)


NULLS = [Check("null", column) for column in COLUMNS]
_WIDE: dict[str, tuple[Any, Any]] = {
    "l_orderkey": (1, 9_000_000_000), "l_partkey": (1, 900_000_000), "l_suppkey": (1, 90_000_000), "l_linenumber": (1, 7),
    "l_quantity": (1, 50), "l_extendedprice": (900, 105_000), "l_discount": (0, 0.1), "l_tax": (0, 0.08),
    "l_shipdate": ("1992-01-01", "1998-12-31"), "l_commitdate": ("1992-01-01", "1998-12-31"),
    "l_receiptdate": ("1992-01-01", "1999-01-31"),
}  # fmt: skip
_WIDER: dict[str, tuple[Any, Any]] = {
    "l_orderkey": (0, 9_000_000_001), "l_partkey": (0, 900_000_001), "l_suppkey": (0, 90_000_001), "l_linenumber": (0, 8),
    "l_quantity": (0, 51), "l_extendedprice": (0, 200_000),
}  # fmt: skip
INCLUSIVE = [Check("range", c, (b, v)) for c, both in _WIDE.items() for b, v in zip(("minimum", "maximum"), both, strict=True)]
EXCLUSIVE = [
    Check("range", c, (b, v))
    for c, both in _WIDER.items()
    for b, v in zip(("exclusiveMinimum", "exclusiveMaximum"), both, strict=True)
]
_MODES = ["AIR", "FOB", "MAIL", "RAIL", "REG AIR", "SHIP", "TRUCK"]
_INSTRUCTIONS = ["COLLECT COD", "DELIVER IN PERSON", "NONE", "TAKE BACK RETURN"]
_SETS: dict[str, list[Any]] = {
    "l_returnflag": ["A", "N", "R"], "l_linestatus": ["F", "O"], "l_shipinstruct": _INSTRUCTIONS, "l_shipmode": _MODES,
    "l_linenumber": list(range(1, 8)), "l_quantity": list(range(1, 51)),
    "l_discount": [n / 100 for n in range(11)], "l_tax": [n / 100 for n in range(9)],
}  # fmt: skip
SETS = [Check("set", column, values) for column, values in _SETS.items()]
REGEXES = [
    Check("regex", "l_comment", "^[^<>{}0-9]*$"),  # a class of characters
    Check("regex", "l_comment", "[a-z]{3}"),  # somewhere in it
    Check("regex", "l_shipmode", "^[A-Z]+( [A-Z]+)*$"),
    Check("regex", "l_shipinstruct", "^(NONE|[A-Z]+ [A-Z ]+)$"),
]
CROSS = [
    Check("cross", "l_shipdate", "l_receiptdate > l_shipdate"),
    Check("cross", "l_extendedprice", "l_extendedprice >= l_quantity * 900"),
    Check("cross", "l_linestatus", "(l_linestatus = 'O') = (l_shipdate > DATE '1995-06-17')"),
    Check("cross", "l_returnflag", "NOT (l_returnflag = 'N' AND l_receiptdate <= DATE '1995-06-17' AND l_linestatus = 'O')"),
    Check("cross", "l_discount", "l_discount + l_tax <= 0.18"),
]
PROVABLE = [*NULLS, *INCLUSIVE, *EXCLUSIVE]
"""50 rules that the figures of a file's footer can prove: 16 of nulls, 34 of ranges."""
MIXED = [*NULLS, *INCLUSIVE[:16], INCLUSIVE[16], *SETS, *REGEXES, *CROSS]
"""50 rules: 16 of nulls, 17 of ranges, 8 of sets, 4 of patterns (two of a column without a dictionary), 5 of several columns."""


def many() -> list[Check]:
    """500 rules, no two alike: 16 of nulls, 314 of ranges, 80 of sets, 40 of patterns (20 of l_comment), 50 cross-column."""
    ranges: list[Check] = [*INCLUSIVE]
    step = 1
    while len(ranges) < 314:
        for column, (low, high) in _WIDER.items():
            ranges += [Check("range", column, ("minimum", low - step)), Check("range", column, ("maximum", high + step))]
        step += 1
    sets = [*SETS]
    for n in range(1, 10):
        sets += [Check("set", c.column, [*c.value, f"other {n}" if COLUMNS[c.column] == "string" else 100 + n]) for c in SETS]
    letters = "<>{}|~^$#@"
    regexes = [Check("regex", "l_comment", f"^[^{letters[n] if letters[n] != '^' else '='}0-9]*$") for n in range(10)]
    regexes += [Check("regex", "l_comment", f"[a-z{n}]{{3}}") for n in range(10)]
    regexes += [Check("regex", "l_shipmode", f"^[A-Z{n}]+( [A-Z]+)*$") for n in range(10)]
    regexes += [Check("regex", "l_shipinstruct", f"^(NONE|[A-Z]+ [A-Z{n} ]+)$") for n in range(10)]
    cross = [*CROSS]
    for n in range(1, 10):
        cross += [
            Check("cross", "l_shipdate", f"l_receiptdate > date_add(l_shipdate, {-n})"),
            Check("cross", "l_extendedprice", f"l_extendedprice >= l_quantity * {900 - n}"),
            Check("cross", "l_linestatus", f"(l_linestatus = 'O') = (l_shipdate > DATE '1995-06-17') OR l_tax > {n}"),
            Check("cross", "l_returnflag", f"NOT (l_returnflag = 'N' AND l_receiptdate <= DATE '1995-06-0{n}')"),
            Check("cross", "l_discount", f"l_discount + l_tax <= 0.18 + {n}"),
        ]
    return [*NULLS, *ranges[:314], *sets, *regexes, *cross]


def odcs(checks: list[Check]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rules in the contract's words: (the properties with all that a column says of itself, rules of the table)."""
    tolerance = [{"property": "tolerance", "value": TOLERANCE}]
    properties: dict[str, dict[str, Any]] = {}
    for name, type_ in COLUMNS.items():
        logical = {"bigint": "integer", "int": "integer", "string": "string", "date": "date"}.get(type_, "number")
        properties[name] = {"name": name, "logicalType": logical, "physicalType": type_, "customProperties": tolerance}
    table = []
    for n, check in enumerate(checks):
        of, name = properties[check.column], f"{check.column}_{check.kind}_{n}"
        rule = {"name": name, "severity": "error", "mustBe": 0, "customProperties": tolerance}
        if check.kind == "null":
            of["required"] = True
        elif check.kind == "range" and check.value[0] not in of.get("logicalTypeOptions", {}):
            bound, limit = check.value
            of.setdefault("logicalTypeOptions", {})[bound] = limit
        elif check.kind in ("set", "regex"):
            arguments = {"validValues": check.value} if check.kind == "set" else {"pattern": check.value}
            of.setdefault("quality", []).append(rule | {"metric": "invalidValues", "arguments": arguments})
        else:
            query = f"SELECT COUNT(*) FROM {{object}} WHERE NOT ({check.sql})"
            table.append(rule | {"type": "sql", "query": query})
    return list(properties.values()), table
