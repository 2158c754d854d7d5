"""The JSON Schema of a policy (draft 2020-12), with a sentence, a unit, `upheld` and `lattice` for every clause.

For editors and for those who write policies with other tools: dates are ISO texts there. Rules that span sections (floors against
conspirators, a floor for every shared segment) are the loader's alone; a file that fits the schema can still be refused.
"""

from __future__ import annotations

from typing import Any

from parley_policies.model.policy import SCHEMA, PrivacyPolicy


def policy_schema() -> dict[str, Any]:
    """Return the schema as plain data, ready for `json.dumps`."""
    schema = PrivacyPolicy.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{SCHEMA.replace('/', ':').replace('.', ':')}",
        **schema,
        "title": f"Privacy policy of a party, {SCHEMA}",
    }
