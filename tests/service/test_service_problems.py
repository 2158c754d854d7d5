"""The list of problems is complete, round-trips, and takes nothing dangerous from a sender."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_crypto.errors import MalformedError
from parley_protocol.errors import LocalProtocolError, RemoteProtocolError
from parley_protocol.limits import PROBLEM_BYTES, PROBLEM_TEXT_CHARACTERS
from parley_protocol.problems import TYPE_PREFIX, Problem, Slug

_TEXT = st.text(st.characters(categories=("L", "N", "P", "S")), max_size=60)


@pytest.mark.parametrize("slug", Slug)
def test_every_name_has_title_status_and_advice(slug: Slug) -> None:
    problem = Problem(slug, "something")
    assert 400 <= problem.status < 600
    assert problem.title
    assert problem.do
    assert problem.type == TYPE_PREFIX + slug.value


@given(slug=st.sampled_from(Slug), detail=_TEXT, wanted=st.none() | _TEXT, got=st.none() | _TEXT, do=st.none() | _TEXT)
def test_a_problem_survives_its_json(slug: Slug, detail: str, wanted: str | None, got: str | None, do: str | None) -> None:
    problem = Problem(slug, detail, wanted=wanted, got=got, do=do, instance="ab" if slug is Slug.STALE_INSTANCE else None)
    assert Problem.from_json(problem.to_json()) == problem
    assert Problem.load(problem.dump()) == problem


def test_absent_members_are_left_out() -> None:
    assert set(Problem(Slug.INTERNAL, "x").to_json()) == {"type", "title", "status", "detail", "do"}


@pytest.mark.parametrize(
    "body",
    [
        [],
        "text",
        {},
        {"type": "urn:parley:problem:internal", "title": "t", "status": 500},
        {"type": "about:blank", "title": "t", "status": 500, "detail": "d"},
        {"type": "urn:parley:problem:no-such", "title": "t", "status": 500, "detail": "d"},
        {"type": 7, "title": "t", "status": 500, "detail": "d"},
        {"type": "urn:parley:problem:internal", "title": "t", "status": 500, "detail": 7},
        {"type": "urn:parley:problem:internal", "title": "t", "status": 500, "detail": "d", "extra": "x"},
    ],
)
def test_what_is_no_problem_of_the_list_is_refused(body: object) -> None:
    with pytest.raises(MalformedError, match="problem: wanted"):
        Problem.from_json(body)


def test_a_peer_cannot_write_to_the_terminal_or_fill_it() -> None:
    sent = Problem(Slug.CONFLICT, "\x1b[2Jgone\r" + "x" * 10_000).to_json()
    read = Problem.from_json(sent)
    assert "\x1b" not in read.detail
    assert "\r" not in read.detail
    assert len(read.detail) <= PROBLEM_TEXT_CHARACTERS + 1


def test_title_and_status_come_from_the_list() -> None:
    body = Problem(Slug.CONFLICT, "x").to_json() | {"title": "All is well", "status": 200}
    assert Problem.from_json(body).status == 409
    assert Problem.from_json(body).title != "All is well"


@pytest.mark.parametrize("raw", [b"<html>", b"\xff", b"[" * 100_000, b" " * (PROBLEM_BYTES + 1)])
def test_bytes_that_are_no_json_are_refused(raw: bytes) -> None:
    with pytest.raises(MalformedError, match="problem: wanted"):
        Problem.load(raw)


def test_protocol_errors_name_wanted_and_got_and_become_problems() -> None:
    error = RemoteProtocolError("upload", problem=Slug.TRUNCATED_UPLOAD, wanted="10 bytes", got="7")
    assert str(error) == "upload: wanted 10 bytes, got 7"
    assert json.loads(error.to_problem().dump())["wanted"] == "10 bytes"
    assert RemoteProtocolError("x").to_problem().slug is Slug.PROTOCOL_BROKEN
    assert LocalProtocolError("x").to_problem().slug is Slug.WRONG_STATE
