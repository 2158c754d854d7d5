"""Migrations of the gateway's store. Never rename a revision: its id is in every store."""
