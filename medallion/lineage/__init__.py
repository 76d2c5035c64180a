"""Where data comes from and where it goes: tables with their landing files, and columns."""
