"""Pages ask through here: an answer is kept for some seconds, for all who look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import streamlit as st
from psycopg import Connection

KEPT_S = 15
_P = ParamSpec("_P")
_T = TypeVar("_T")


def asked(
    db: Connection[Any], question: Callable[Concatenate[Connection[Any], _P], _T], *args: _P.args, **kwargs: _P.kwargs
) -> _T:
    """The answer to a question of `queries` and its like."""
    found: _T = _kept(f"{question.__module__}.{question.__qualname__}", args, kwargs, lambda: question(db, *args, **kwargs))
    return found


@st.cache_data(ttl=KEPT_S, max_entries=500, show_spinner=False)
def _kept(name: str, args: Any, kwargs: Any, _ask: Callable[[], Any]) -> Any:
    return _ask()


def forget() -> None:
    """Ask anew: something was changed."""
    _kept.clear()
