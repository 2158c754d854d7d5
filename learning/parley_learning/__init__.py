"""What a party computes, and the pure step from an opened sum to the next model version."""
