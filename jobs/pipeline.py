"""Make bronze, silver and gold of a date in one run, and publish."""

from medallion.job import pipeline_job

if __name__ == "__main__":
    raise SystemExit(pipeline_job())
