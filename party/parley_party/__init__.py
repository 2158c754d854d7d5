"""One organization's service: data, policy, keys, guard."""
