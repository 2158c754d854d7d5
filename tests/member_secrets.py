"""What simulated parties draw for an offer, as a function of their names: the members' key and the graph seed are then known to tests."""

from __future__ import annotations

import base64
import hashlib
from functools import cache

from parley_crypto.keys import SigningKey
from parley_crypto.signing import Envelope
from parley_policies.negotiation.terms import Terms
from parley_protocol.keyparts import check_boxes, with_path
from parley_protocol.members_key import OwnSecrets, make_key_part


@cache
def secrets_of(party: str) -> OwnSecrets:
    """Return what a party drew."""
    return OwnSecrets.of(b"".join(hashlib.sha256(f"{party}/{index}".encode()).digest() for index in range(3)))


def key_part(terms: Terms, party: str, key: SigningKey) -> Envelope:
    """Return a party's signed key part."""
    return make_key_part(terms, party, secrets_of(party))[0].sign(key)


def accept_post(terms: Terms, party: str, key: SigningKey) -> dict[str, object]:
    """Return the body of a party's ACCEPT."""
    part, boxes = make_key_part(terms, party, secrets_of(party))
    return {
        "statement": terms.sign(key).dump().decode(),
        "key_part": part.sign(key).dump().decode(),
        "boxes": {recipient: base64.b64encode(box).decode() for recipient, box in boxes.items()},
    }


def handed_on(terms: Terms, recipient: str) -> dict[str, str]:
    """Return the boxes for a party by sender, as a gateway hands them on."""
    found = {}
    for member in terms.members:
        if member.party != recipient:
            part, boxes = make_key_part(terms, member.party, secrets_of(member.party))
            texts = {other: base64.b64encode(box).decode() for other, box in boxes.items()}
            found[member.party] = with_path(terms, check_boxes(terms, part, texts), member.party, recipient, texts[recipient])
    return found
