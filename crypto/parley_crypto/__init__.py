"""Primitives composed: keys, signatures, boxes, shares, masks, Merkle trees. Knows nothing of federations."""
