"""The dashboards: `make dashboards`, or `medallion dashboards`. They read schema `ops` and never start Spark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st
from psycopg import Connection

from dashboards import look, queries
from dashboards.asking import asked
from dashboards.database import NothingYet, TookTooLong, connected
from dashboards.views import alerts, lineage, operations, quality, run, today
from medallion.errors import MedallionError

PAGES = (("Today", "", today), ("Quality", "quality", quality), ("Operations", "operations", operations),
         ("Lineage", "lineage", lineage), ("Run", "run", run), ("Alerts", "alerts", alerts))  # fmt: skip


def guarded(show: Callable[[Connection[Any]], None]) -> Callable[[], None]:
    """A page that says what to do where there is nothing, or no database."""

    def page() -> None:
        look.style()
        try:
            with connected() as db:
                if asked(db, queries.is_empty):
                    look.first_steps()
                else:
                    show(db)
        except NothingYet:
            look.first_steps()
        except TookTooLong as error:
            look.is_down(error.message, error.hint, "The database took too long")
        except MedallionError as error:
            look.is_down(error.message, error.hint)

    return page


st.set_page_config(page_title="medallion", page_icon=str(Path(__file__).parent / "icon.svg"), layout="wide")
st.navigation(
    [st.Page(guarded(page.show), title=title, url_path=path, default=not path) for title, path, page in PAGES], position="top"
).run()
