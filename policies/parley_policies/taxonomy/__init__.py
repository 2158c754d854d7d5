"""The pinned taxonomy by whose terms purposes and diseases are matched."""
