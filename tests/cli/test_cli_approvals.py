"""Two roles put a policy in force and approve an agreement, by the commands and with real processes; the engineer alone cannot."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.cli_federation import (
    PASSPHRASE,
    SAMPLES,
    STUDY,
    VARIABLE,
    WAIT_SECONDS,
    Federation,
    free_port,
    problem,
    result,
    run,
    shown,
    wait_for,
)

OFFICER, SECURITY, DOCTOR = "role:privacy-officer", "role:it-security", "role:doctor"
PHRASE = ("--passphrase", f"env:{VARIABLE}")


@dataclass(frozen=True)
class People:
    """The people of the party `north`, each with a key of her own, in a folder that the service's engineer does not have."""

    folder: Path

    def key(self, role: str) -> Path:
        return self.folder / f"{role.removeprefix('role:')}.key"

    def has(self, role: str) -> tuple[str | Path, ...]:
        return ("--role", role, "--key", self.key(role), *PHRASE)

    def make(self, *roles: str) -> None:
        for role in roles:
            made = result("policy", "key", "--party", "north", "--role", role, "--out", self.key(role), *PHRASE)
            assert made["fingerprint"].startswith("SHA256:")

    def sign(self, policy: Path, *roles: str, named: bool = False) -> list[Any]:
        """Let roles sign a policy, and with it (`named`) whose keys hold the roles."""
        publics = [part for path in sorted(self.folder.glob("*.pub")) for part in ("--holder", path)] if named else []
        return [result("policy", "sign", policy, *self.has(role), *publics) for role in roles]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, PASSPHRASE)
        patch.delenv("PARLEY_HOME", raising=False)
        people = People(tmp_path_factory.mktemp("people"))
        people.make(OFFICER, SECURITY, DOCTOR)
        yield people


def asking(policy: Path, version: int, **edits: str) -> Path:
    """Write a version of a policy that asks the three roles; `edits` replace the values of single lines."""
    values = {"version": str(version), "policy": f'["{OFFICER}", "{SECURITY}"]', "agreement": f'["{OFFICER}", "{DOCTOR}"]', **edits}
    text = policy.read_text()
    for name, value in values.items():
        text, count = re.subn(rf"^({name}\s*=\s*)[^#\n]*", rf"\g<1>{value} ", text, flags=re.MULTILINE)
        assert count == 1, name
    policy.write_text(text)
    return policy


def invited(federation: Federation, name: str) -> Path:
    """Make a party's folder from an invite, with a sample of data, and return the invite."""
    invite, sample = federation.folder / f"{name}.invite", federation.home(name) / "visits.csv"
    member = ("--name", f"{name} clinic", "--class", "demo", "--country", "DE")
    federation.at("gateway", "member", "invite", name, *member, "--out", invite)
    sample.parent.mkdir()
    shutil.copy(SAMPLES / ("south.csv" if name == "south" else "north.csv"), sample)
    result("party", "init", federation.home(name), "--invite", invite, "--from-csv", sample, *PHRASE)
    return invite


def killed(federation: Federation, name: str) -> None:
    """End a service with kill -9 and start it again."""
    federation.services[name].send_signal(signal.SIGKILL)
    federation.services[name].wait(timeout=WAIT_SECONDS)
    federation.serve(name)


def state_is(federation: Federation, state: str) -> None:
    wait_for(lambda: any(each["state"] == state for each in federation.at("north", "party", "status")["studies"]), state)


def test_two_roles_approve_a_policy_and_an_agreement(people: People, tmp_path: Path) -> None:
    federation = Federation(tmp_path, f"http://127.0.0.1:{free_port()}")
    init = ("--url", federation.url, "--operator", "Example Trust", "--country", "DE")
    result("gateway", "init", tmp_path / "gateway", *init, *PHRASE)
    home, north = federation.home("north"), ("--home", federation.home("north"))
    try:
        federation.serve("gateway")
        for name in ("south", "east"):
            federation.at(name, "party", "join", invited(federation, name))
            federation.serve(name)

        invite, policy = invited(federation, "north"), asking(home / "policy.toml", 1)
        assert problem(*north, "party", "join", invite, code=4)["detail"] == "approval.policy"
        assert problem(*north, "policy", "activate", code=4)["got"].startswith("no key for")
        people.sign(policy, OFFICER, named=True)
        assert "the first one" in problem(*north, "policy", "activate", code=4)["do"]
        people.sign(policy, SECURITY, named=True)
        first = federation.at("north", "policy", "activate", policy)
        assert (first["version"], [signer["role"] for signer in first["signers"]]) == (1, [SECURITY, OFFICER])
        assert set(first["holders"]) == {OFFICER, SECURITY, DOCTOR}
        federation.at("north", "party", "join", invite)
        federation.serve("north")

        study = tmp_path / "study.toml"
        study.write_text(STUDY.format(id="readmission", use="dpv:ScientificResearch"))
        federation.at("north", "study", "propose", study)
        state_is(federation, "AGREED")
        _approve(federation, people)
        state_is(federation, "FINALIZED")
        assert "every member signed" in shown(*north, "agreement", "verify", "readmission")
        _newer_versions(federation, people, policy)
    finally:
        federation.stop()


def _approve(federation: Federation, people: People) -> None:
    """Approve the terms: one role on a machine of its own, one at the service, which is killed in between; the engineer in vain."""
    north, terms = ("--home", federation.home("north")), people.folder / "terms.json"
    (waits,) = federation.at("north", "agreement", "list")["waiting"]
    assert (waits["study"], waits["lacking"]) == ("readmission", [OFFICER, DOCTOR])
    engineer = People(federation.folder)
    engineer.make(DOCTOR)
    assert problem(*north, "agreement", "approve", "readmission", *engineer.has(DOCTOR), code=6)["detail"].startswith(
        "approval of role:doctor"
    )
    assert problem(*north, "agreement", "approve", "readmission", *people.has(SECURITY), code=6)

    federation.at("north", "agreement", "show", "readmission", "--out", terms)
    signed = Path(result("agreement", "approve", terms, *people.has(OFFICER))["approval"])
    handed = federation.at("north", "agreement", "approve", "readmission", "--approval", signed)
    assert (handed["state"], handed["lacking"]) == ("AGREED", [DOCTOR])
    assert problem(*north, "agreement", "refuse", "elsewhere", *people.has(DOCTOR), "--reason", "no", code=2)
    killed(federation, "north")
    assert "still asked" not in shown(*north, "agreement", "approve", waits["digest"][:12], *people.has(DOCTOR))


def _newer_versions(federation: Federation, people: People, policy: Path) -> None:
    """While the service runs: an edited file changes nothing, one role tightens, one role alone does not loosen, nothing comes back."""
    north, old = ("--home", federation.home("north")), policy.read_bytes()
    asking(policy, 2, min_people="60")
    assert federation.at("north", "party", "status")["policy"]["file_differs"] is True
    people.sign(policy, SECURITY)
    second = federation.at("north", "policy", "activate")
    assert (second["version"], [each["study"] for each in second["agreements"]]) == (2, ["readmission"])
    assert second["agreements"][0]["clause"] == ""
    assert federation.at("north", "party", "status")["policy"]["version"] == 2
    assert federation.at("north", "policy", "activate")["changed"] is False

    asking(policy, 3, min_people="10")
    people.sign(policy, SECURITY)
    lacking = problem(*north, "policy", "activate", code=4)
    assert "it loosens data.min_people" in lacking["do"]
    assert "lacking: role:privacy-officer" in lacking["do"]
    fewer = asking(Path(shutil.copy(policy, federation.folder / "fewer.toml")), 4, rounds_a_study="1")
    (broken,) = federation.at("north", "policy", "diff", policy, fewer)["agreements"]
    assert (broken["study"], broken["clause"]) == ("readmission", "limits.rounds_a_study")
    policy.write_bytes(old)
    assert problem(*north, "policy", "activate", code=4)["detail"] == "identity.version"
    killed(federation, "north")
    assert [each["version"] for each in federation.at("north", "policy", "history")["activations"]] == [1, 2]
    assert federation.at("north", "party", "status")["policy"]["version"] == 2
    assert "it changes nothing until" in shown(*north, "party", "status")


def test_a_key_opens_for_its_role_alone_and_lies_apart(people: People, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "party.toml").write_text("")
    make = ("policy", "key", "--party", "north", "--role", OFFICER, *PHRASE, "--out")
    assert "apart from every service" in problem(*make, tmp_path / "home" / "dpo.key", code=3)["wanted"]
    assert problem(*make, people.key(OFFICER), code=10)["got"] == "one"
    assert people.key(OFFICER).stat().st_mode & 0o777 == 0o600
    assert problem("policy", "key", "--party", "north", "--role", "officer", "--out", tmp_path / "k", *PHRASE, code=2)
    policy = tmp_path / "policy.toml"
    shutil.copy(Path(__file__).parents[2] / "docs" / "examples" / "policy-hospital.toml", policy)
    found = problem("policy", "sign", policy, "--role", SECURITY, "--key", people.key(OFFICER), *PHRASE, code=3)
    assert found["wanted"] == f"the key of {SECURITY}"
    assert problem("policy", "sign", policy, *people.has(OFFICER), code=2)["wanted"] == "a policy of north, whose key this is"
    assert run("policy", "sign", policy, *people.has(OFFICER)[:4], "--passphrase", "env:NOWHERE", code=3)
