"""One file a revision; never rename one."""
