"""Clean and type a date's deliveries."""

from medallion.job import layer_job

if __name__ == "__main__":
    raise SystemExit(layer_job("silver"))
