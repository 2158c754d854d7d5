"""What one party permits: the policy file as one frozen, versioned, fail-closed model."""
