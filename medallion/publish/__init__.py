"""The publication: one version of gold, made visible in the warehouse once, or not at all."""

from medallion.publish.ledger import Entry, TableState
from medallion.publish.publication import Publication, history, publish
from medallion.publish.reconcile import TableAgreement, reconcile

__all__ = ["Entry", "Publication", "TableAgreement", "TableState", "history", "publish", "reconcile"]
