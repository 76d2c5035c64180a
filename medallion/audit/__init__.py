"""The audit log: who did what, on what, from where, when and with what outcome; append-only, and verifiable (docs/audit.md)."""
