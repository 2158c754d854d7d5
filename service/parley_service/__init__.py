"""What both services share: config, secrets, logs, database, problems, control socket, tokens."""
