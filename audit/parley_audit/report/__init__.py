"""The report that people read: facts in, one HTML page out. Pure."""
