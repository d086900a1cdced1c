"""Privacy: what of a tenant's data is kept, dropped or hashed, and what is never stored.

policy      the typed policy, and what it says of a field or an attribute
secrets     secrets in texts, by the rules of gitleaks.toml and rules.toml
thinking    what a model thought, taken out of texts

schemas.otlp.guard applies all three to the records of a request, before Kafka.
"""

from schemas.policy.policy import (
    ACTIONS,
    CONTROL_KIND,
    EVERY_TENANT,
    IDENTITY_KEY,
    INDISPENSABLE,
    NONE,
    Action,
    HashKeys,
    Policy,
    PolicyError,
    control_value,
    hashed,
    known_fields,
    parse,
)

__all__ = [
    "ACTIONS",
    "CONTROL_KIND",
    "EVERY_TENANT",
    "IDENTITY_KEY",
    "INDISPENSABLE",
    "NONE",
    "Action",
    "HashKeys",
    "Policy",
    "PolicyError",
    "control_value",
    "hashed",
    "known_fields",
    "parse",
]
