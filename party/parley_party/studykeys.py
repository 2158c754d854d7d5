"""A study's secrets where the store keeps them: drawn here for the offer, turned into the members' key, and sealed all the while.

Both columns are sealed under the keystore's storage key and bound to the study. What was drawn for the offer is erased in the transaction
that writes the members' key, that moves it to another study of the proposal, or that ends the negotiation. No secret passes as text.
"""

from __future__ import annotations

import secrets

from parley_protocol.members_key import SECRET_BYTES, OwnSecrets, StudyKeys
from parley_service.keyfile import StorageKey

from parley_party.errors import StudyError
from parley_party.tables import StudyRow

_OFFER = "offer"
_MEMBERS_KEY = "members' key"


def draw_secrets(row: StudyRow, storage: StorageKey) -> OwnSecrets:
    """Draw the secrets of an offer and put them, sealed, into the study's row."""
    own = OwnSecrets.of(secrets.token_bytes(SECRET_BYTES))
    row.secrets = storage.seal(own.dump(), row.study, _OFFER)
    return own


def secrets_of(row: StudyRow, storage: StorageKey) -> OwnSecrets:
    """Return the secrets that were drawn for the offer; KeyFileError if they are not what this party sealed."""
    return OwnSecrets.of(storage.open(row.secrets, row.study, _OFFER))


def move_secrets(row: StudyRow, to: StudyRow, storage: StorageKey) -> None:
    """Put the secrets of an offer into the row of the study that goes on with it, sealed for that one, and erase them here."""
    to.secrets = storage.seal(storage.open(row.secrets, row.study, _OFFER), to.study, _OFFER)
    row.secrets = b""


def keep_keys(row: StudyRow, keys: StudyKeys, storage: StorageKey) -> None:
    """Put what the members share into the study's row, and erase what was drawn for the offer."""
    row.members_key, row.graph_seed = storage.seal(keys.members_key, row.study, _MEMBERS_KEY), keys.graph_seed.hex()
    row.secrets = b""


def keys_of(row: StudyRow, storage: StorageKey) -> StudyKeys:
    """Return what the members of an agreed study share; StudyError if this party holds none of it."""
    if not row.members_key:
        raise StudyError(f"study {row.study}", wanted="the members' key", got="none: this party takes no part")
    return StudyKeys(storage.open(row.members_key, row.study, _MEMBERS_KEY), bytes.fromhex(row.graph_seed))
