"""Bring a date's deliveries into bronze."""

from medallion.job import layer_job

if __name__ == "__main__":
    raise SystemExit(layer_job("bronze"))
