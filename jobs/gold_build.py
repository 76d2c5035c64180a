"""Build facts, dimensions and aggregates of a date."""

from medallion.job import layer_job

if __name__ == "__main__":
    raise SystemExit(layer_job("gold"))
