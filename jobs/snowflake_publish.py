"""Show gold as it is on main in the warehouse, in one transaction."""

from medallion.job import publish_job

if __name__ == "__main__":
    raise SystemExit(publish_job())
