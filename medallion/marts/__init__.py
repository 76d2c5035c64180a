"""The marts: what dbt makes of published gold, built and tested aside, and shown all at once or not at all.

`build.build` does it in a warehouse, `on_spark.build` in the lake, `compare.compare` shows that they agree.
"""
