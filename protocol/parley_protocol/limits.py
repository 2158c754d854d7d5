"""Every bound on size, count and time that the protocol sets, each with its unit in its name or beside it.

What an operator may lower or raise stands in gateway.toml and party.toml (their defaults and outer bounds are here). What a study may
settle for itself stands in its terms. A bound that only one primitive knows stays with that primitive.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# --- versions
PROTOCOL_MIN: Final = 1
PROTOCOL_MAX: Final = 1

# --- names and texts, in characters
NAME_CHARACTERS: Final = 63  # party, study, objective, dataset, column: as long as a DNS label
GATEWAY_ID_CHARACTERS: Final = 253  # as long as a DNS name
LEGAL_NAME_CHARACTERS: Final = 200
TEXT_CHARACTERS: Final = 2_000  # a reason, a summary
PROBLEM_TEXT_CHARACTERS: Final = 2_000  # each text of a problem that arrives
URL_CHARACTERS: Final = 2_000

# --- tokens and clocks
TOKEN_SECONDS: Final = 60  # longest life of a request token
TOKEN_BYTES: Final = 4 * KIB  # longest Authorization header
TOKEN_ID_BYTES: Final = 16  # jti, random
INSTANCE_ID_BYTES: Final = 16  # random at each start of a gateway
CLOCK_SKEW_SECONDS: Final = 30  # most that a party's clock may be ahead of the gateway's
TOKENS_REMEMBERED_PER_PARTY: Final = 20_000  # replay cache; full means 429, never forgetting one that is still valid

# --- invites
INVITE_TOKEN_BYTES: Final = 32  # random
INVITE_HOURS: Final = 72  # default life of an invite
INVITE_HOURS_MAX: Final = 24 * 30
INVITE_BYTES: Final = 8 * KIB  # an invite file

# --- messages and the inbox
MESSAGE_BYTES: Final = 4 * MIB  # one message with its envelope, as JSON
PROBLEM_BYTES: Final = 64 * KIB
INBOX_MESSAGES: Final = 64  # in one answer
INBOX_ANSWER_BYTES: Final = 16 * MIB
LONG_POLL_SECONDS: Final = 25  # default: below the idle time-out of proxies, often 60 s, some 30 s
LONG_POLL_SECONDS_MAX: Final = 55

# --- uploads and sums
INLINE_BYTES: Final = 32 * KIB  # sums up to this size travel inside the message that announces them
CHUNK_BYTES: Final = 4 * MIB  # default; below the body limit of proxies
CHUNK_BYTES_MIN: Final = 64 * KIB
CHUNK_BYTES_MAX: Final = 64 * MIB
UPLOAD_BYTES: Final = 512 * MIB  # default for one sealed update
UPLOAD_BYTES_MAX: Final = 8 * 1024 * MIB
UPLOADS_OPEN_PER_PARTY: Final = 4
KEPT_SECONDS: Final = 24 * 3_600  # sealed updates of a study's last round, after its end: to have its sum recomputed
UNMASKING_BYTES: Final = 16 * MIB  # what takes the masks off one round
DOWNLOAD_BYTES_MAX: Final = UPLOAD_BYTES_MAX

# --- counts
PARTIES: Final = 200  # default of a gateway
PARTIES_MAX: Final = 1_000
GATEWAYS_PER_PARTY: Final = 16
STUDIES_PER_PARTY: Final = 64  # alive at once
SEGMENTS: Final = 64  # in one step
OBJECTIVES: Final = 32
COLUMNS: Final = 10_000
ROUNDS: Final = 100_000  # in one step

# --- proposals: each one asks every invited party's policy a question (`pacing`)
PROPOSALS_A_DAY: Final = 10  # of one sponsor, in 24 hours
PROPOSALS_A_MONTH: Final = 40  # of one sponsor, in 30 days
PROPOSALS_A_DAY_MAX: Final = 1_000  # what an operator may raise a gateway's limits to; parties keep to their own
PROPOSALS_A_MONTH_MAX: Final = 10_000
ANSWERS_A_DAY: Final = 30  # of one party to all sponsors of a federation together, in 24 hours
ANSWERS_A_MONTH: Final = 120  # the same, in 30 days

# --- requests
REQUESTS_PER_SECOND_PER_PARTY: Final = 20  # default
REQUEST_SECONDS: Final = 60  # whole request, but for a long poll
CONNECT_SECONDS: Final = 10
STOP_SECONDS: Final = 10  # graceful stop: open requests get this long

# --- the log
LOG_ENTRIES: Final = 256  # in one answer
LEAF_BYTES: Final = 4 * MIB

# --- the control socket
CONTROL_LINE_BYTES: Final = 4 * MIB  # a request
CONTROL_ANSWER_BYTES: Final = 64 * MIB  # one line of an answer
CONTROL_SECONDS: Final = 30  # default wait for an answer; a stream waits as long as it lasts
CONTROL_CONNECTIONS: Final = 32

# --- files that people write
CONFIG_BYTES: Final = 1 * MIB
SECRET_FILE_BYTES: Final = 64 * KIB
