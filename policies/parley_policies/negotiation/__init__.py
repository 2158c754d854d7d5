"""How N different policies become one agreement: pure and deterministic."""
