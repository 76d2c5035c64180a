"""What lies beneath an error of Spark: the chain of Java exceptions, and what a database said."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """One Java exception. `sql_state` is what a `java.sql.SQLException` carries (ISO 9075), else empty."""

    kind: str
    message: str
    sql_state: str = ""


def causes(error: Exception) -> list[Cause]:
    """The Java exceptions of an error that Spark raised, the outermost first; at least one."""
    from py4j.java_gateway import is_instance_of
    from pyspark import SparkContext

    context = SparkContext._active_spark_context
    java = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    found: list[Cause] = []
    while java is not None and context is not None:
        sql = is_instance_of(context._gateway, java, "java.sql.SQLException")
        found.append(Cause(java.getClass().getName(), str(java.getMessage() or ""), str(java.getSQLState() or "") if sql else ""))
        java = java.getCause()
    return found or [Cause(type(error).__name__, str(error))]


def first_line(text: str) -> str:
    """A message's first line, cut where it would fill the screen."""
    return (text.strip().splitlines() or [""])[0][:300]
