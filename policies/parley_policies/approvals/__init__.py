"""What people sign with keys of their roles: policies and agreements. Pure: no clock, no files."""
