"""The gateway service: negotiates, sums, logs; holds no data."""
