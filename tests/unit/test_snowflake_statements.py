"""What is sent to Snowflake: in one file, listed in docs/snowflake.md, and with no more rights than the GRANT script gives."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from medallion.publish import snowflake_statements as sql
from medallion.settings import ROOT

PAGE = (ROOT / "docs" / "snowflake.md").read_text("utf-8")
GRANTS = (ROOT / "scripts" / "snowflake_grants.sql").read_text("utf-8")
STATEMENTS = {name: value for name, value in vars(sql).items() if isinstance(value, sql.Statement)}
PARTS = {"STILL": sql.STILL, "ONE_COUNT": sql.ONE_COUNT, "FILLED_JSON": sql.FILLED_JSON, "COLUMN_COMMENT": sql.COLUMN_COMMENT}
LISTED = re.findall(r"^\| `([\w\[\]]+)` \| `([^`]+)` \| (.+?) \|(?: (.+) \|)?$", PAGE, re.MULTILINE)
READS = "SELECT|SHOW|DESCRIBE|USE|BEGIN|COMMIT|ROLLBACK|CALL|PUT|REMOVE|COPY"
CHANGES = "INSERT|UPDATE|DELETE|MERGE|CREATE|DROP|ALTER|TRUNCATE|GRANT"
PRIVILEGE = r"((?:[A-Z]+ )+ON (?:ACCOUNT|WAREHOUSE|DATABASE|SCHEMA))"


def test_the_page_lists_every_statement_as_it_is_sent() -> None:
    fetched = {f"FETCHED[{type_}]": text for type_, text in sql.FETCHED.items()}
    expected = {name: each.text for name, each in STATEMENTS.items()} | PARTS | fetched
    assert {name: text for name, text, *_ in LISTED} == expected
    assert len(LISTED) == len(expected)


def test_every_string_of_the_module_is_a_statement_or_listed_as_a_part_of_one() -> None:
    parts = {name for name, value in vars(sql).items() if isinstance(value, str) and name.isupper()}
    assert parts == {*PARTS, "ENTRY"}
    assert all(sql.ENTRY in STATEMENTS[name].text for name in ("APPEND_ENTRY", "ENTRY_BY_ID", "NEWEST_ENTRIES"))


def sent_from(path: Path) -> tuple[set[str], list[str]]:
    """The statements that a module names, and its texts that read like one."""
    tree = ast.parse(path.read_text("utf-8"))
    named = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "sql"}
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return named, [text for text in texts if re.match(rf"\s*(?:{READS}|{CHANGES})\b", text)]


def test_no_other_file_has_a_statement_and_every_statement_is_sent() -> None:
    named: set[str] = set()
    for name in ("snowflake.py", "snowflake_schema.py", "snowflake_session.py"):
        used, texts = sent_from(ROOT / "medallion" / "publish" / name)
        named |= used
        assert texts == [], name
    assert named >= set(STATEMENTS)


def test_the_privileges_that_the_page_names_are_those_that_the_script_grants() -> None:
    named = {each for _, _, privileges, *_ in LISTED for each in re.findall(f"`{PRIVILEGE}`", privileges)}
    assert "CREATE DATABASE ON ACCOUNT" in named, "for whoever has no database yet; the script makes it instead"
    granted = set(re.findall(rf"^GRANT {PRIVILEGE} .*TO ROLE MEDALLION_PUBLISHER;$", GRANTS, re.MULTILINE))
    assert granted == named - {"CREATE DATABASE ON ACCOUNT"}
    assert len(re.findall(r"^GRANT ", GRANTS, re.MULTILINE)) == 1 + len(
        re.findall(rf"^GRANT {PRIVILEGE} ", GRANTS, re.MULTILINE)
    ), "the first gives the role to its user; nothing else is granted"


def test_nothing_that_readers_see_is_dropped_renamed_or_replaced() -> None:
    for name, each in STATEMENTS.items():
        assert not re.search(r"\b(?:TRUNCATE|RENAME|SWAP|REPLACE|UNDROP)\b", each.text), name
        if re.match(r"DROP\b", each.text):
            assert re.search(r"\{(staged|stage|built)\}( CASCADE)?$", each.text), name
        if re.match(r"(?:INSERT|UPDATE|DELETE)\b", each.text) and name != "LOCK_HEAD":
            assert each.text.endswith(("{still}", '"LOCKED" = {locked}')), name
            assert not each.repeatable, name
    loses = {name for name, each in STATEMENTS.items() if " DROP " in each.text}
    assert loses == {"DROP_COLUMN", "DROP_CONSTRAINT", "DROP_NOT_NULL"}, "a column only on purpose; constraints only our own"
