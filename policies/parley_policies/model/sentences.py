"""One plain sentence for every clause of a policy, with what its value means. Units are written out, and nothing is said plainly.

The table `SENTENCES` has an entry for each clause, and a test holds that two different values give two different sentences. Words that
people read are those of the glossary's "say" column: parties summed together, readable result, encrypted contribution, shared part.
"We" is the party whose policy it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from parley_policies.model.phrases import (
    counted,
    country,
    day,
    days,
    listed,
    loss,
    number,
    part,
    peer,
    percent,
    purpose,
    quoted,
    reader,
    roles,
    short,
)
from parley_policies.model.protection import ClipRange, Groups, LifetimeBudget, MetricReaders, PrivacyBudget
from parley_policies.model.sections import LegalBasis, LegalDocument, Transfer

Template = Callable[[Any], str]
_SCHEMES: Final = MappingProxyType(
    {
        "masked": "hidden by random masks that cancel each other in the sum",
        "homomorphic": "added up under encryption, by a key that several parties share",
    }
)


def _list(some: str, none: str, phrase: Callable[[Any], str] = quoted, joined: str = "and") -> Template:
    """Return the template of a clause that lists values: `{}` in `some` stands for them."""
    return lambda values: some.format(listed(map(phrase, values), joined)) if values else none


def _choice(**sentences: str) -> Template:
    """Return the template of a clause that names one of a few words."""
    return lambda word: sentences[word.replace("-", "_")]


def _truth(yes: str, no: str) -> Template:
    return lambda value: yes if value else no


def _optional(some: str, none: str, phrase: Callable[[Any], str]) -> Template:
    return lambda value: none if value is None else some.format(phrase(value))


def _text(some: str, none: str) -> Template:
    return lambda value: some.format(quoted(value)) if value else none


def _count(some: str, none: str, one: str, many: str = "") -> Template:
    """Return the template of a clause that counts, with a sentence of its own for 0."""
    return lambda value: some.format(counted(value, one, many)) if value else none


def _signers(some: str, none: str) -> Template:
    return lambda value: some.format(roles(value) + (" have" if value[1:] else " has")) if value else none


def _profile(value: str | None) -> str:
    if value is None:
        return "It was not made from a profile."
    alone = ", which is for demonstrations on one machine alone" if value == "demo-open" else ""
    return f"It was made from the profile {quoted(value)}{alone}."


def _basis(value: LegalBasis) -> str:
    main = listed(quoted(item) for item in (value.id, value.citation) if item) or "no reference"
    return f"{main} with {quoted(value.with_)}" if value.with_ else main


def _document(value: LegalDocument) -> str:
    due = f", to be reviewed by {day(value.review_by)}" if value.review_by else ""
    return f"{quoted(value.kind)} {quoted(value.reference)} ({short(value.sha256)}{due})"


def _transfer(value: Transfer) -> str:
    return f"{country(value.country)} ({quoted(value.instrument)})"


def _pins(value: Mapping[str, str]) -> str:
    if not value:
        return "We have compared no other party's key ourselves."
    pinned = listed(f"{party} ({short(value[party])})" for party in sorted(value))
    return f"We have compared the keys of {counted(len(value), 'party', 'parties')} ourselves: {pinned}. Another key is refused."


def _conspirators(value: int) -> str:
    if not value:
        return "No protection is asked for against other parties that conspire."
    who = counted(value, "other party conspires", "other parties conspire")
    return f"If {who}, even with the gateway, {'it learns' if value == 1 else 'they learn'} no more about us than the readable result says."


def _floors(value: int | Mapping[str, int]) -> str:
    if isinstance(value, int):
        return f"Nothing is ever made readable unless at least {value} parties, ourselves included, are summed together."
    floors = listed(f"at least {value[name]} for {part(name)}" for name in value)
    return f"Only sums of enough parties, ourselves included, are ever made readable: {floors}. No other part is."


def _groups(value: Groups) -> str:
    size = "of no size, since none is named" if value.min_parties is None else f"of at least {value.min_parties} parties"
    bounds = f"over groups {size}, in at most {counted(value.rounds_at_most, 'round')} of a study"
    if value.allowed:
        return f"Extra sums may be made to measure who contributed how much, {bounds}."
    return "No extra sums over groups of parties are made." if value == Groups() else f"No extra sums are made (if they were, {bounds})."


def _small_changes(value: int) -> str:
    often = f"In at most {counted(value, 'round')} of a study" if value else "In no round"
    return f"{often} may the list of parties differ from an earlier one by only a few of them: two such sums tell about those few."


def _schemes(value: tuple[str, ...]) -> str:
    if not value:
        return "No scheme of encryption is accepted, so nothing can leave."
    how = [f"{name} ({_SCHEMES[name]})" for name in value]
    one_of = "one of these schemes, the preferred one first: " if how[1:] else "the scheme "
    return f"Contributions are encrypted by {one_of}{', '.join(how)}."


def _study_loss(value: PrivacyBudget | None) -> str:
    return (
        "No budget of privacy is written for a study, so one that needs noise does not fit."
        if value is None
        else f"One study may spend at most {loss(value)}."
    )


def _lifetime(value: LifetimeBudget | None) -> str:
    if value is None:
        return "No budget of privacy is written for a dataset over all studies together."
    over = f"Over all studies and federations, the dataset {value.dataset} may in {counted(value.years, 'year')} spend at most"
    return f"{over} {loss(value)}. What is spent does not come back."


def _segments(value: Mapping[str, bool]) -> str:
    shared = [part(name) for name in value if value[name]]
    withheld = [part(name) for name in value if not value[name]]
    if not shared:
        kept = f", named besides: {listed(withheld)}" if withheld else ""
        return f"No part of a model and no statistics may leave{kept}."
    kept = f"{listed(withheld)}, and everything not named, stay here" if withheld else "everything else stays here"
    return f"Encrypted, and to be summed with others, may leave: {listed(shared)}; {kept}."


def _clip_range(value: ClipRange | None) -> str:
    if value is None:
        return "No cap on one person's influence is accepted, so nothing can be trained."
    return f"The cap on one person's influence must lie between {number(value.min)} and {number(value.max)} (L2 norm, in model units)."


def _ratio(value: float) -> str:
    how = f"outweigh us at most {number(value)} times" if value > 1 else "not outweigh us"
    return f"Parties that accept a greater loss of privacy may {how}."


def _records(value: str) -> str:
    match value:
        case "exact":
            return "We tell how many records we have, exactly."
        case "hidden":
            return "We do not tell how many records we have."
    return f"We tell how many records we have, rounded down to a multiple of {int(value.removeprefix('rounded:')):,}."


def _upload(value: float) -> str:
    return f"In one round we send at most {number(value)} MiB." if value else "In one round we send nothing (0 MiB)."


def _most(portion: float) -> str:
    return f"at most {percent(portion)}" if portion else "nothing (0 %)"


def _fraction(value: float) -> str:
    most = "all" if value == 1 else f"at most {percent(value)}" if value else "none"
    return f"In one round {most} of a part's numbers may be sent."


def _metrics(value: str | MetricReaders) -> str:
    match value:
        case MetricReaders(to=readers):
            return f"Figures about our own data, such as a model's accuracy here, may be read by {roles(readers) if readers else 'nobody'}."
        case "sum-only":
            return "Figures about our own data, such as a model's accuracy here, leave only inside an encrypted sum."
    return "Figures about our own data, such as a model's accuracy here, never leave."


def _hours(value: str | None) -> str:
    if value is None:
        return "Rounds may begin at any hour."
    times, _, zone = value.partition(" ")
    begin, _, end = times.partition("-")
    return f"Rounds begin only between {begin} and {end} ({zone})."


def _readers(value: Iterable[str]) -> str:
    who = listed(map(reader, value)) or "nobody"
    return f"Besides the gateway's operator, the record of what we contributed may be seen by {who}."


def _within_hours(value: int) -> str:
    return (
        f"The gateway must tell us of an incident within {counted(value, 'hour')}."
        if value
        else "The gateway must tell us of an incident at once (0 hours)."
    )


SENTENCES: Final[Mapping[str, Template]] = MappingProxyType(
    {
        "identity.party": _text("This is the policy of {}.", "This is nobody's policy."),
        "identity.version": "It is version {}.".format,
        "identity.valid_from": lambda value: f"Its first day is {day(value)} (UTC).",
        "identity.valid_until": lambda value: f"Its last day is {day(value)} (UTC); then our service stops by itself.",
        "identity.supersedes": _optional("It replaces an earlier file (digest {}).", "It names no version that it replaces.", short),
        "identity.profile": _profile,
        "legal.controller": _text(
            "Responsible for the data (the controller) is {}.", "It does not say who is responsible for the data (the controller)."
        ),
        "legal.role": _text("Our legal role is {}.", "It does not say what our legal role is."),
        "legal.basis": _list("The legal basis is {}.", "It names no legal basis.", _basis),
        "legal.professional_secrecy": _text(
            "The people involved are bound to secrecy by {}.", "It names no duty of secrecy that binds the people involved."
        ),
        "legal.documents": _list(
            "Every signature on a technical agreement covers {}. If a review is overdue, our service stops.",
            "No documents stand behind it.",
            _document,
        ),
        "purpose.granted": _list(
            "Results may serve {}, or what is narrower; nothing else.", "Results may serve no purpose.", purpose, "or"
        ),
        "purpose.prohibited": _list(
            "Whatever is granted, they must never serve {}, nor a part of it, nor anything that includes it.",
            "No purpose is prohibited by name.",
            purpose,
            "or",
        ),
        "purpose.diseases": _list(
            "A study must say which disease it is about: {}, or a form of it.",
            "Studies are not limited to certain diseases.",
            purpose,
            "or",
        ),
        "gateway.fingerprints": _list("We speak to one gateway only, known by its key ({}).", "We speak to no gateway.", short, "or"),
        "gateway.countries": _list(
            "The gateway's operator and every subprocessor must be in {}.", "The gateway's operator may be in no country.", country, "or"
        ),
        "gateway.incident_notice_hours_at_most": _within_hours,
        "gateway.change_notice_days_at_least": _count(
            "The gateway must tell us of a change of hosting at least {} ahead.",
            "The gateway need not tell us of a change of hosting ahead (0 days).",
            "day",
        ),
        "peers.granted": _list("We compute with {}, and with nobody else.", "We compute with nobody.", peer, "or"),
        "peers.denied": _list("We never compute with {}. They are not told.", "Nobody is denied by name or class.", peer, "or"),
        "peers.countries": _list("The other parties must be in {}.", "The other parties may be in no country.", country, "or"),
        "peers.trust": _choice(
            pinned="A party counts only if we compared its key ourselves or it holds a credential that we believe; "
            "any other is counted among those that conspire.",
            first_use="A party's key is believed when we first see it, and the party counts from then on.",
        ),
        "peers.transfers": _list(
            "Further countries, each under its own instrument of transfer: {}.", "No instrument of transfer adds a country.", _transfer
        ),
        "peers.fingerprints": _pins,
        "peers.issuers": _list(
            "We believe credentials (class, legal name, key) of one issuer only, known by its key ({}).",
            "We believe nobody's credentials.",
            short,
            "or",
        ),
        "peers.trusted_set": _list(
            "When we cannot go on, our work may be continued by {}.", "No party may continue our work when we cannot.", joined="or"
        ),
        "data.columns": _list("Of our data, only these columns may be read: {}.", "No column of our data may be read."),
        "data.datasets": _list("Of our datasets only {} may be used.", "No dataset of ours may be used."),
        "data.min_people": _optional(
            "A dataset is used only while at least {} are left in it after exclusions.",
            "No number of people in a dataset is enough, since none is written.",
            lambda value: counted(value, "person", "people"),
        ),
        "data.exclusions_required": _truth(
            "No study begins without a list of the people who objected or withdrew.",
            "A study may begin without a list of the people who objected or withdrew.",
        ),
        "data.exclusions_max_age_hours": _count(
            "That list may be at most {} old.", "That list must be made at that moment (0 hours old).", "hour"
        ),
        "data.erasure_effect": _choice(
            from_next_study="When a person's data are erased here, this takes effect in the next study. "
            "A model that is out does not forget them.",
            from_next_round="When a person's data are erased here, this takes effect in the next round. "
            "A model that is out does not forget them.",
        ),
        "data.minimum_fairness_check": _list(
            "Before a model version is accepted, it is tested for each group of {}.", "Model versions need not be tested group by group."
        ),
        "schemes.accepted": _schemes,
        "schemes.key_bits_at_least": lambda value: f"A key of the homomorphic scheme must have at least {counted(value, 'bit')}.",
        "schemes.gateway_may_lie": _truth(
            "The gateway is not trusted: the encryption must hold even if it lies.",
            "The gateway is trusted to do as agreed: the encryption need not hold if it lies.",
        ),
        "schemes.colluding_parties_survived": _conspirators,
        "schemes.dealers_granted": _list(
            "A key of the homomorphic scheme may be created and dealt by {}.", "No party may deal a key.", joined="or"
        ),
        "sums.min_parties": _floors,
        "sums.groups": _groups,
        "sums.max_small_changes": _small_changes,
        "sums.min_cell": _optional(
            "Statistics show no count of fewer than {}.",
            "Statistics show no count of people.",
            lambda value: counted(value, "person", "people"),
        ),
        "differential_privacy.required": _truth(
            "Noise is required: results must be differentially private.",
            "Noise is not required: results need not be differentially private.",
        ),
        "differential_privacy.unit": _choice(
            record="Privacy is counted record by record; somebody with many records is protected less.",
            person="Privacy is counted person by person, all records of a person together.",
            party="Privacy is counted party by party, all data of a party together.",
        ),
        "differential_privacy.adjacency": _choice(
            add_or_remove_one="Outcomes are compared with one of them more or less.",
            replace_one="Outcomes are compared with one of them replaced by another.",
        ),
        "differential_privacy.per_study": _study_loss,
        "differential_privacy.lifetime": _lifetime,
        "differential_privacy.noise_trust": _choice(
            self="Our own noise must be enough, even if no other party adds any.",
            cohort="The noise of all parties summed together must be enough; we rely on theirs.",
        ),
        "sharing.segments": _segments,
        "sharing.clip_bound": _clip_range,
        "sharing.weight_cap": lambda value: f"Of a weighted sum {_most(value)} may be ours.",
        "sharing.weight_cap_of_others": lambda value: f"Of a weighted sum {_most(value)} may be any one other party's.",
        "sharing.max_weight_ratio": _ratio,
        "sharing.record_count": _records,
        "sharing.mib_a_round": _upload,
        "sharing.fraction_a_round": _fraction,
        "disclosure.own_metrics": _metrics,
        "disclosure.opened_sums_readable_by": _choice(
            parties="Readable results of the addition are for the parties alone; the gateway reads none.",
            gateway="Readable results of the addition are read by the parties and by the gateway.",
        ),
        "disclosure.contribution_record": _readers,
        "model_use.allowed": _list("The result may be used for {}, and for nothing else.", "The result may be used for nothing."),
        "model_use.forbidden": _list("It must not be used for {}.", "No use of it is forbidden by name.", joined="or"),
        "model_use.publication": _choice(
            never="It is never published.", after_approval="It is published only after approval.", free="It may be published."
        ),
        "model_use.benefit_least": _choice(
            equal="We get the same model as every other party, and no less.",
            model_quality="We accept a model whose quality depends on what we contributed.",
            settlement="We accept a settlement instead of a model.",
        ),
        "limits.rounds_a_study": _count(
            "A study has at most {}, all its steps together.", "A study may have no round (0), so none can run.", "round"
        ),
        "limits.studies_at_once": _optional(
            "At most {} at once.", "Any number of studies may run at once.", lambda value: counted(value, "study runs", "studies run")
        ),
        "limits.rounds_a_day": _optional(
            "In 24 hours at most {}, all studies together.",
            "Any number of rounds may begin in a day.",
            lambda value: counted(value, "round begins", "rounds begin"),
        ),
        "limits.hours": _hours,
        "limits.cpu_seconds_a_round": _optional(
            "Training for one round takes at most {} of processor time.",
            "The processor time of a round is not limited.",
            lambda value: counted(value, "second"),
        ),
        "code.workloads": _list("Only these computations may run, by name and version: {}.", "No computation may run on our data."),
        "code.custom": _list("Custom code may run if it has this digest ({}).", "No custom code may run.", short, "or"),
        "robustness.least": _choice(
            R0="Against parties that send bad contributions it is enough to cap their influence (level R0).",
            R1="Against parties that send bad contributions, beside the cap, each model is tested here and voted on (level R1).",
            R2="Against parties that send bad contributions, beside cap, test and vote, medians of groups are taken (level R2).",
        ),
        "retention.sealed_updates": _choice(
            until_round_closes="The gateway must delete our encrypted contributions once the next round of the study has closed, and those "
            "of the last round within a day of the study's end; until then a member may have their sum recomputed.",
            until_study_closes="The gateway must delete our encrypted contributions within a day of the study's end.",
        ),
        "retention.model_versions_days": lambda value: (
            f"We keep model versions for at most {days(value)} after a study has closed."
            if value
            else "We keep no model version once a study has closed."
        ),
        "retention.evidence_days": _optional(
            "We keep agreements, receipts and the log of what left for at least {}.",
            "We keep agreements, receipts and the log of what left without end.",
            days,
        ),
        "retention.legal_hold": _truth("A legal hold is on: nothing expires here.", "No legal hold is on."),
        "retention.withdrawal_notice_days": _count("We give notice of {} before we leave a study.", "We may leave a study at once.", "day"),
        "approval.policy": _signers(
            "A version of this policy is in force only once {} signed it.",
            "Nobody has to sign this policy: the operator of our service puts it in force.",
        ),
        "approval.agreement": _signers(
            "We accept a technical agreement only once {} signed it.",
            "Nobody has to sign a technical agreement: our service accepts what fits this policy.",
        ),
        "approval.loosening_needs_all": _truth(
            "All roles named above must sign what loosens this policy, and any one of them what tightens it.",
            "Any one role named above may sign, even what loosens this policy.",
        ),
    }
)


def sentence(clause: str, value: Any) -> str:  # noqa: ANN401 - a value of any clause
    """Return what a clause with this value says; KeyError for a clause without a sentence."""
    return SENTENCES[clause](value)
