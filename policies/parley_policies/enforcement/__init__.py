"""The gate that holds a party to its policy and its agreements."""
