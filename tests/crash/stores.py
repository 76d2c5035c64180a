"""What the servers hold, read past medallion's code: HTTP to Nessie, SQL to PostgreSQL and to the emulated warehouse,
files by pyiceberg. Whoever judges a crash looks here, and nowhere else."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
from psycopg.rows import dict_row
from pyiceberg.table import StaticTable

from medallion.settings import Settings

Row = dict[str, Any]


@dataclass(frozen=True)
class Commit:
    """One commit on main: which keys it put, and what its properties say."""

    hash: str
    puts: frozenset[str]
    deletes: frozenset[str]
    properties: dict[str, str]

    @property
    def run(self) -> str | None:
        return self.properties.get("medallion.run")


class Stores:
    """The servers of one place."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._http = httpx.Client(base_url=f"{settings.nessie.uri}/api/v2/", timeout=30, trust_env=False)

    def close(self) -> None:
        self._http.close()

    # ── the catalog ───────────────────────────────────────────────────────────────────────────
    def _get(self, path: str, **parameters: str) -> Any:
        answer = self._http.get(path, params=parameters)
        answer.raise_for_status()
        return answer.json()

    def main(self) -> str:
        return str(self._get("trees/main")["reference"]["hash"])

    def branches(self) -> set[str]:
        """The names of all branches of runs."""
        found, token = set(), ""
        while True:
            page = self._get("trees", **({"page-token": token} if token else {}))
            found |= {each["name"] for each in page["references"] if each["name"].startswith("run/")}
            token = page.get("token") or ""
            if not page.get("hasMore"):
                return found

    def since(self, old: str | None) -> list[Commit]:
        """The commits on main after one of its hashes, oldest first."""
        found: list[Commit] = []
        token = ""
        while True:
            page = self._get("trees/main/history", fetch="ALL", **({"page-token": token} if token else {}))
            for entry in page["logEntries"]:
                meta = entry["commitMeta"]
                if meta["hash"] == old:
                    return found[::-1]
                keys: dict[str, set[str]] = {"PUT": set(), "DELETE": set()}
                for operation in entry.get("operations") or ():
                    keys.setdefault(operation["type"], set()).add(".".join(operation["key"]["elements"]))
                properties = {name: values[0] for name, values in meta["allProperties"].items() if values}
                found.append(Commit(meta["hash"], frozenset(keys["PUT"]), frozenset(keys["DELETE"]), properties))
            token = page.get("token") or ""
            if not page.get("hasMore"):
                return found[::-1]

    def rows(self, dataset: str, at: str) -> list[Row] | None:
        """A table's rows at a hash of main; None if there is no such table."""
        path = f"trees/{quote(f'main@{at}', safe='@')}/contents/{quote(dataset, safe='')}"
        answer = self._http.get(path)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        content = answer.json()["content"]
        s3 = self._settings.s3
        properties = {
            "s3.endpoint": str(s3.endpoint), "s3.region": s3.region, "s3.access-key-id": s3.access_key,
            "s3.secret-access-key": s3.secret_key.get_secret_value(),
        }  # fmt: skip
        table = StaticTable.from_metadata(content["metadataLocation"], properties)
        snapshot = table.metadata.current_snapshot_id
        if snapshot is None:
            return []
        assert snapshot == content["snapshotId"], f"{dataset}: catalog and metadata name different snapshots"
        return list(table.scan().to_arrow().to_pylist())

    # ── the journal ───────────────────────────────────────────────────────────────────────────
    def _ask(self, part: Any, sql: str) -> list[Row]:
        with psycopg.connect(
            host=part.host, port=part.port, user=part.user, password=part.password.get_secret_value(),
            dbname=part.database, autocommit=True, row_factory=dict_row,
        ) as connection:  # fmt: skip
            return connection.execute(sql).fetchall()  # type: ignore[arg-type]  # it asks for literals

    def runs(self) -> list[Row]:
        """The journal's runs, with `gated`: whether the gate let them pass. None, if it has no table yet."""
        if self._ask(self._settings.postgres, "SELECT to_regclass('ops.steps') AS there") == [{"there": None}]:
            return []
        gate = "SELECT 1 FROM ops.steps s WHERE s.run_id = r.run_id AND s.name = 'gate' AND s.outcome = 'done'"
        return self._ask(
            self._settings.postgres,
            f"SELECT run_id, kind, state, branch, h0, merged_hash, EXISTS ({gate}) AS gated FROM ops.runs r ORDER BY opened_at",
        )

    # ── the warehouse ─────────────────────────────────────────────────────────────────────────
    def warehouse(self, *statements: str) -> list[list[Row]]:
        """The answers to some queries, each an empty list where the table is not there."""
        if self._settings.warehouse == "postgres":
            return [self._of_postgres(statement) for statement in statements]
        import snowflake.connector
        from snowflake.connector import DictCursor, errors

        part = self._settings.snowflake
        assert part.password
        found: list[list[Row]] = []
        with closing(
            snowflake.connector.connect(
                account=part.account, user=part.user, password=part.password.get_secret_value(), host=part.host,
                port=part.port, protocol=part.protocol, database=part.database, platform_detection_timeout_seconds=0.0,
                session_parameters={"CLIENT_TELEMETRY_ENABLED": False},
            )
        ) as connection:  # fmt: skip
            for statement in statements:
                try:
                    rows = connection.cursor(DictCursor).execute(statement).fetchall()
                except errors.ProgrammingError:
                    rows = []
                found.append([{name.lower(): value for name, value in row.items()} for row in rows])
        return found

    def _of_postgres(self, statement: str) -> list[Row]:
        try:
            return self._ask(self._settings.warehouse_postgres, statement)
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return []

    def shown(self, tables: dict[str, str]) -> tuple[list[Row], list[Row], dict[str, list[Row]]]:
        """The warehouse's ledger (in order, `runs` as a list), its head, and the rows of these tables (dataset -> columns)."""
        ledger, head, *rows = self.warehouse(
            "SELECT sequence, publication_id, main_hash, runs FROM medallion.publications ORDER BY sequence",
            "SELECT sequence, main_hash, publication_id FROM medallion.publication_head",
            *(f"SELECT {columns} FROM {dataset.partition('.')[2]}" for dataset, columns in tables.items()),
        )
        return [row | {"runs": json.loads(row["runs"])} for row in ledger], head, dict(zip(tables, rows, strict=True))
