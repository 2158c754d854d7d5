"""The command line of Parley."""
