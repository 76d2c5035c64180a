"""Snowflake as a target: comments, constraints and changed columns of its tables.

Keys are informational there: nothing is checked, and tools read them. The emulator is not sent comments and keys
(`Dialect.describes`): it forgets the former, fails at a quote in them, and enforces the latter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from medallion.publish import snowflake_statements as sql
from medallion.publish.columns import Column
from medallion.publish.description import OURS, Description, reference_name
from medallion.publish.snowflake_session import quoted, text

FILE_STATUS, ROWS_LOADED = 1, 3
"""Where it stands in what `COPY` answers for each file."""
KEY_NAME, REFERENCE_NAME = 6, 12
"""Where the constraint's name stands in what `SHOW_KEYS` and `SHOW_REFERENCES` answer."""


def requirements(table: str, wanted: Description, required: Mapping[str, bool]) -> list[str]:
    """Set or take away NOT NULL where it is not as wanted.

    Args:
        required: of each column of the table, in lower case, whether it is NOT NULL.
    """
    wants = {name.lower() for name in wanted.required}
    return [
        (sql.SET_NOT_NULL if name in wants else sql.DROP_NOT_NULL).text.format(table=table, column=quoted(name))
        for name, is_required in required.items()
        if (name in wants) != is_required
    ]


def comments(table: str, wanted: Description) -> list[str]:
    """Set the comments of the table and of its columns."""
    told = [sql.COMMENT_TABLE.text.format(table=table, comment=text(wanted.comment))] if wanted.comment else []
    each = [sql.COLUMN_COMMENT.format(column=quoted(name), comment=text(comment)) for name, comment in wanted.comments.items()]
    return told + ([sql.COMMENT_COLUMNS.text.format(table=table, comments=", ".join(each))] if each else [])


def keys(table: str, dataset: str, wanted: Description, primary: Collection[str], foreign: Collection[str]) -> list[str]:
    """Take away our keys that are not wanted any more, and set the primary key if the table has none.

    Args:
        primary, foreign: the names of the table's constraints.
    """
    name = wanted.key_name(dataset)
    keep = {reference_name(dataset, each) for each in wanted.references} | ({name} if wanted.key else set())
    unwanted = [each for each in (*foreign, *primary) if each.lower().startswith(OURS) and each.lower() not in keep]
    changes = [sql.DROP_CONSTRAINT.text.format(table=table, name=quoted(each)) for each in dict.fromkeys(unwanted)]
    if wanted.key and not set(primary) - set(unwanted):
        changes.append(sql.ADD_KEY.text.format(table=table, name=quoted(name), columns=_listed(wanted.key)))
    return changes


def references(table: str, dataset: str, wanted: Description, foreign: Collection[str], others: Mapping[str, str]) -> list[str]:
    """Add the foreign keys that are missing.

    Args:
        others: the quoted names of the tables of the datasets that are referred to.
    """
    there = {name.lower() for name in foreign}
    return [
        sql.ADD_REFERENCE.text.format(
            table=table,
            name=quoted(name),
            columns=_listed(each.columns),
            other=others[each.to],
            other_columns=_listed(each.to_columns),
        )
        for each in wanted.references
        if (name := reference_name(dataset, each)) not in there
    ]


def widened(table: str, columns: Iterable[Column], types: Mapping[str, str]) -> list[str]:
    """Give columns their wider types, which are by name in `types`."""
    return [sql.WIDEN.text.format(table=table, column=quoted(c.name), type=types[c.name]) for c in columns]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(quoted(name) for name in names)
