"""Workloads: what turns a party's local data into a vector that is summed, and sums into the next state."""
