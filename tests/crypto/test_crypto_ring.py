"""Ring vectors, keystream and masks against references written another way."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from parley_crypto import keystream, ring
from parley_crypto.errors import MalformedError
from parley_crypto.keys import AgreementKey
from parley_crypto.masked import Context, MaskedOpening, MaskedSealing

KEY = bytes(range(32))
CONTEXT = Context("a" * 64, 3, "b" * 64, "trunk")


def reference_stream(key: bytes, length: int) -> bytes:
    """AES-256 in counter mode, block by block of 256 KiB: GCM's first counter after the tag's is 2 (NIST SP 800-38D, section 7.1)."""
    out = b""
    for block in range(-(-length // keystream.BLOCK_BYTES)):
        counter = block.to_bytes(12, "big") + (2).to_bytes(4, "big")
        out += Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(keystream.BLOCK_BYTES))
    return out[:length]


@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("coordinates", [1, 3, 1_000, 131_072, 131_073, 300_001])
def test_a_mask_is_the_bare_counter_mode_stream(width: int, coordinates: int) -> None:
    vector = ring.zeros(coordinates, width)
    keystream.add_mask(vector, KEY)
    assert ring.to_bytes(vector) == reference_stream(KEY, coordinates * width // 8)
    keystream.subtract_mask(vector, KEY)
    assert not vector.any()


@pytest.mark.parametrize("width", [16, 32, 64])
def test_masks_together_are_masks_one_by_one(width: int) -> None:
    count = 2 * keystream.BLOCK_BYTES // (width // 8) + 5
    keys = [bytes([index]) * 32 for index in range(5)]
    together, one_by_one = ring.zeros(count, width), ring.zeros(count, width)
    keystream.apply_masks(together, added=keys[:3], subtracted=iter(keys[3:]))
    for key in keys[:3]:
        keystream.add_mask(one_by_one, key)
    for key in keys[3:]:
        keystream.subtract_mask(one_by_one, key)
    assert together.any()
    assert np.array_equal(together, one_by_one)


def test_no_part_of_a_long_mask_repeats() -> None:
    vector = ring.zeros(4 * keystream.BLOCK_BYTES // 8, 64)
    keystream.add_mask(vector, KEY)
    assert len(set(vector.tolist())) == vector.size


def test_a_mask_wraps_around() -> None:
    vector = ring.zeros(64, 16) + np.uint16(65_535)
    keystream.add_mask(vector, KEY)
    stream = np.frombuffer(reference_stream(KEY, 128), dtype="<u2").astype(int)
    assert vector.tolist() == ((stream + 65_535) % 65_536).tolist()


def test_a_mask_goes_on_views_too() -> None:
    body = ring.zeros(10, 32)
    keystream.add_mask(body[2:7], KEY)
    assert not body[:2].any()
    assert not body[7:].any()
    assert ring.to_bytes(body[2:7]) == reference_stream(KEY, 20)


@pytest.mark.parametrize("width", [0, 8, 24, 33, 128, -16])
def test_other_widths_are_refused(width: int) -> None:
    with pytest.raises(MalformedError, match="wanted 16, 32 or 64 bits"):
        ring.zeros(4, width)


@pytest.mark.parametrize("size", [0, 15, 17])
def test_bytes_of_another_length_are_no_vector(size: int) -> None:
    with pytest.raises(MalformedError, match=f"wanted 16 bytes for 4 coordinates, got {size}"):
        ring.from_bytes(bytes(size), 4, 32)


def test_vectors_are_little_endian_and_copied() -> None:
    raw = bytearray(b"\x01\x00\x00\x02")
    vector = ring.from_bytes(raw, 2, 16)
    raw[0] = 9
    assert vector.tolist() == [1, 512]
    vector += np.uint16(1)
    assert ring.to_bytes(vector) == b"\x02\x00\x01\x02"
    assert ring.to_bytes(vector.astype(">u2")) == b"\x02\x00\x01\x02"


def test_vectors_of_another_shape_or_width_are_not_added() -> None:
    for other in (ring.zeros(5, 32), ring.zeros(4, 16), ring.zeros(4, 64)):
        with pytest.raises(MalformedError, match="ring sum: wanted"):
            ring.add_into(ring.zeros(4, 32), other)


def test_masks_come_off_a_sum_with_dropouts_on_either_side() -> None:
    """Five seal; the first, the middle and the last by id drop out in turn and in pairs."""
    ids = [f"p{index}" for index in range(5)]
    keys = {party: AgreementKey(bytes([index + 1]) * 32) for index, party in enumerate(ids)}
    seeds = {party: bytes([index + 101]) * 32 for index, party in enumerate(ids)}
    sealed = {}
    for index, party in enumerate(ids):
        vector = ring.zeros(7, 32) + np.uint32(1 << index)
        peers = {peer: keys[peer].public for peer in ids if peer != party}
        MaskedSealing.prepare(CONTEXT, me=party, self_seed=seeds[party], mask_key=keys[party], peers=peers).seal(vector)
        sealed[party] = vector
    for dropouts in ([], ["p0"], ["p2"], ["p4"], ["p0", "p4"], ["p1", "p2"]):
        survivors = [party for party in ids if party not in dropouts]
        opening = MaskedOpening(CONTEXT, 7, 32)
        for party in survivors:
            opening.combine(sealed[party])
            opening.remove_self(party, seeds[party])
        for dropout in dropouts:
            opening.remove_dropout(dropout, keys[dropout], {party: keys[party].public for party in survivors})
        assert opening.open().tolist() == [sum(1 << ids.index(party) for party in survivors)] * 7


def test_masks_do_not_show() -> None:
    sealing = MaskedSealing.prepare(CONTEXT, me="p0", self_seed=bytes(32), mask_key=AgreementKey(KEY), peers={})
    assert sealing.self_key.hex() not in repr(sealing)
    assert repr(sealing.self_key) not in repr(sealing)
