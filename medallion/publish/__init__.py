"""The publication: one version of gold, made visible in the warehouse once, or not at all.

`publication.publish` does it, `reconcile.reconcile` proves it. Nothing is imported here: a session with
the warehouse (`medallion sql --warehouse`) needs neither the lake nor the journal.
"""
