"""PostgreSQL as a target: comments, constraints and changed columns of its tables.

A primary key is real, and so is NOT NULL. A foreign key is NOT ENFORCED (PostgreSQL 18; before that there is none):
it tells people and tools what belongs together, as in Snowflake, while an enforced one would look for each exchanged
row in the other table. Statements that need a table alone wait for its readers `_WAIT` and no longer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import psycopg

from medallion.errors import ServiceUnavailable, UsageError
from medallion.publish.description import OURS, Description, reference_name
from medallion.publish.postgres_session import Session, quoted, table_name
from medallion.publish.target import BUILD, Outrun

_WAIT = "SET LOCAL lock_timeout = '2s'"
_NOT_ENFORCED_FROM = 180_000
_STATE = """SELECT attname, attnotnull, coalesce(col_description(attrelid, attnum), '') FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"""
_CONSTRAINTS = "SELECT conname, contype::text FROM pg_constraint WHERE conrelid = to_regclass(%s) AND contype IN ('p', 'f')"
_POINTING_HERE = """SELECT conrelid::regclass::text, conname FROM pg_constraint
WHERE confrelid = to_regclass(%s) AND contype = 'f' AND starts_with(conname, %s)"""
_VIEWS = """SELECT DISTINCT n.nspname, r.ev_class::regclass::text FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = to_regclass(%s) AND a.attname = ANY (%s) ORDER BY 2"""
_BUILDS = """SELECT nspname, EXISTS (SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE '%%' || split_part(nspname, '_', 4) || '%%')
FROM pg_namespace WHERE starts_with(nspname, %s) AND nspowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)"""


def describe(session: Session, dataset: str, wanted: Description) -> None:
    """Set comments, NOT NULL and the primary key, and take away our keys that are not wanted any more.

    Raises: ServiceUnavailable if the server refuses one, as for rows that do not fit; Outrun if readers hold the table.
    """
    table = table_name(dataset)
    columns = {name: (required, comment) for name, required, comment in session.rows(_STATE, [table])}
    comments = {quoted(name): text for name, text in wanted.comments.items() if columns[_plain(name)][1] != text}
    [(comment,)] = session.rows("SELECT coalesce(obj_description(to_regclass(%s), 'pg_class'), '')", [table])
    told = [f"COMMENT ON COLUMN {table}.{name} IS {_text(text)}" for name, text in comments.items()]
    if wanted.comment and comment != wanted.comment:
        told.append(f"COMMENT ON TABLE {table} IS {_text(wanted.comment)}")
    _all(session, told)

    there = dict(session.rows(_CONSTRAINTS, [table]))
    keys = [name for name, kind in there.items() if kind == "p"]
    key = wanted.key_name(dataset)
    keep = {reference_name(dataset, each) for each in wanted.references} | ({key} if wanted.key else set())
    unwanted = [name for name in there if name.startswith(OURS) and name not in keep]
    changes = []
    if any(there[name] == "p" for name in unwanted):
        changes = [f"ALTER TABLE {of} DROP CONSTRAINT {quoted(name)}" for of, name in session.rows(_POINTING_HERE, [table, OURS])]
    required = {_plain(name) for name in wanted.required}
    actions = [f"DROP CONSTRAINT {quoted(name)}" for name in unwanted]
    of_the_key = {} if set(keys) <= set(unwanted) else {_plain(name) for name in _key_columns(session, table)}
    for name, (is_required, _) in columns.items():
        if (name in required) != is_required and name not in of_the_key:
            actions.append(f"ALTER COLUMN {quoted(name)} {'SET' if name in required else 'DROP'} NOT NULL")
    if wanted.key and set(keys) <= set(unwanted):
        actions.append(f"ADD CONSTRAINT {quoted(key)} PRIMARY KEY ({_listed(wanted.key)})")
    if actions:
        changes.append(f"ALTER TABLE {table} {', '.join(actions)}")
    _all(session, changes)


def relate(session: Session, dataset: str, wanted: Description) -> None:
    """Add the foreign keys that are missing. Raises: as `describe`."""
    if not wanted.references or session.server_version < _NOT_ENFORCED_FROM:
        return
    table = table_name(dataset)
    there = dict(session.rows(_CONSTRAINTS, [table]))
    added = [
        f"ADD CONSTRAINT {quoted(name)} FOREIGN KEY ({_listed(each.columns)}) "
        f"REFERENCES {table_name(each.to)} ({_listed(each.to_columns)}) NOT ENFORCED"
        for each in wanted.references
        if (name := reference_name(dataset, each)) not in there
    ]
    _all(session, [f"ALTER TABLE {table} {', '.join(added)}"] if added else [])


def release(session: Session, dataset: str) -> None:
    """Take away the foreign keys of ours that point to a table; `relate` adds them again."""
    for of, name in session.rows(_POINTING_HERE, [table_name(dataset), OURS]):
        session.execute(f"ALTER TABLE {of} DROP CONSTRAINT {quoted(name)}")


def alter(session: Session, dataset: str, columns: Collection[str], actions: Sequence[str], what: str) -> None:
    """Change columns of a table in one statement.

    Args:
        columns: their names; `actions`: of `ALTER TABLE`; `what`: in words, for the message.
    Raises: UsageError naming the views that depend on the columns; Outrun if marts are being built from them.
    """
    table = table_name(dataset)
    found = [(schema, view) for schema, view in session.rows(_VIEWS, [table, [_plain(name) for name in columns]])]
    views = [view for schema, view in found if not _left_by_a_build(session, schema)]
    try:
        if not views:
            session.execute(f"ALTER TABLE {table} {', '.join(actions)}")
            return
        reason, told = f"{', '.join(views)} depend{'s' if len(views) == 1 else ''} on it", views
    except ServiceUnavailable as error:
        if not isinstance(error.__cause__, psycopg.errors.FeatureNotSupported | psycopg.errors.DependentObjectsStillExist):
            raise
        reason, told = error.message, ["what depends on it"]
    raise UsageError(
        f"{dataset}: {what} in the warehouse, because {reason}; the warehouse is unchanged",
        hint=f"keep its definition (`SELECT pg_get_viewdef('{told[0]}')`) and grants, drop {', '.join(told)}, publish again, and "
        "make it anew",
        dataset=dataset,
    )


def _left_by_a_build(session: Session, schema: str) -> bool:
    """Whether a schema is one in which marts were built by somebody who is dead: then it is removed.

    Raises: Outrun if they are at work.
    """
    if schema not in (builds := dict(session.rows(_BUILDS, [BUILD]))):
        return False
    if builds[schema]:
        raise Outrun(f"marts are being built in {schema} from columns that are to change")
    session.execute(f"DROP SCHEMA IF EXISTS {quoted(schema)} CASCADE")
    return True


def _key_columns(session: Session, table: str) -> list[str]:
    rows = session.rows(
        "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) "
        "WHERE i.indrelid = to_regclass(%s) AND i.indisprimary",
        [table],
    )
    return [name for (name,) in rows]


def _all(session: Session, statements: Iterable[str]) -> None:
    """Run these in one go, as one transaction."""
    if found := list(statements):
        session.execute("; ".join([_WAIT, *found]))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(quoted(name) for name in names)


def _plain(name: str) -> str:
    """A column's name as the server keeps it."""
    return quoted(name)[1:-1].replace('""', '"')


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
