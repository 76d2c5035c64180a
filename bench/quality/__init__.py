"""`python -m bench quality`: what it costs that every write is judged, against the bare write, in the same run."""

GROUPS = ("floor", "ours", "many", "simple", "rivals", "upsert", "silver", "append", "duckdb")
AT_SCALE_10 = ("floor", "ours")
