"""A contract's file in the Open Data Contract Standard: read, checked and drafted. What it says: `medallion.contract`."""
