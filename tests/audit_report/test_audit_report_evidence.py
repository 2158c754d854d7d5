"""Facts from a verified export: what the leaves say, and nothing from one with a fault."""

from __future__ import annotations

import pytest
from parley_audit.errors import FaultError
from parley_audit.export import LEAVES
from parley_audit.report.evidence import read_gateway, read_studies
from parley_audit.verify import verify

from tests.audit.sample_log import export, sample_leaves, sample_terms
from tests.simulator import GATEWAY_KEY


def test_a_study_is_told_by_its_leaves() -> None:
    folder = export(sample_leaves())
    report = verify(folder, gateway_key=GATEWAY_KEY.public)
    (study,) = read_studies(folder, report)
    assert (study.id, study.agreement, study.scheme, study.closed) == ("study", sample_terms().digest(), "masked", "stopped")
    assert [each.number for each in study.rounds] == [1, 2, 3, 4]
    assert [len(each.parties) for each in study.rounds] == [6, 5, 6, 6]
    assert study.rounds[1].shut == ("head:a",)
    assert dict(study.rounds[1].opened) == {"trunk": 5, "head:b": 3}
    assert study.rounds[0].shut == ()
    away = next(record for record in study.participation if record.party == "party-001")
    assert (away.joined, away.missed) == (3, (2,))
    assert sum(record.joined for record in study.participation) == 23
    assert sum(len(each.opened) for each in study.rounds) == report.studies[0].sums


def test_the_gateway_is_told_by_its_newest_declaration() -> None:
    folder = export(sample_leaves())
    report = verify(folder, gateway_key=GATEWAY_KEY.public)
    gateway = read_gateway(folder, report)
    assert (gateway.operator, gateway.country, gateway.fingerprint) == ("Operator", "DE", GATEWAY_KEY.public.fingerprint)


def test_nothing_is_told_of_an_export_with_a_fault() -> None:
    folder = export(sample_leaves())
    head, mark, tail = folder.files[LEAVES].partition(b'"sig":"')
    folder.files[LEAVES] = head + mark + (b"B" if tail[:1] == b"A" else b"A") + tail[1:]
    report = verify(folder, gateway_key=GATEWAY_KEY.public)
    assert report.fault is not None
    with pytest.raises(FaultError, match="wanted the signed root"):
        read_studies(folder, report)
    with pytest.raises(FaultError, match="wanted the signed root"):
        read_gateway(folder, report)
