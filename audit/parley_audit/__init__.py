"""Offline verification, exports and reports: pure, base install only."""
