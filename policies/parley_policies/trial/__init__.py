"""A whole negotiation offline: from a study file and policies to terms, and why they are what they are."""
