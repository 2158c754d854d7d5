"""Revisions of the party's store."""
