"""Create what the stack's servers hold before its first run: databases, buckets, and what the demo's sources offer.

Again, only what is missing.
"""

from __future__ import annotations

from medallion.services import source_endpoints
from medallion.services.minio import create_buckets
from medallion.services.postgres import DATABASES, create_databases
from medallion.settings import load

settings = load()
registry = settings.sources[source_endpoints.REGISTRY].password
assert registry  # compose.yaml sets it
create_databases(settings.postgres)
source_endpoints.fill_registry(settings.postgres, registry.get_secret_value())
source_endpoints.lay_out_archive(settings.home / "sources" / "price_archive")
print(f"databases {', '.join(DATABASES)} are there; {create_buckets(settings.s3)} buckets created")
