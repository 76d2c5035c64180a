"""How often tests repeat what is random or raced: a few times in `make test`, many times where THOROUGH=1, as in `make model`.

docs/guarantees.md says which number is what.
"""

from __future__ import annotations

import os

THOROUGH = os.environ.get("THOROUGH") == "1"


def rounds(few: int, thorough: int) -> int:
    """How often, here and now."""
    return thorough if THOROUGH else few
