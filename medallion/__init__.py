"""A lakehouse that cannot publish bad or half data. For notebooks: `medallion.sandbox("name")`."""

from medallion.sandboxes import sandbox, sandbox_diff, sandbox_make

__all__ = ["sandbox", "sandbox_diff", "sandbox_make"]
