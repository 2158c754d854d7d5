"""What a party permits, how permissions become an agreement, and the guard."""
