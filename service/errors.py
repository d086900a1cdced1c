"""Errors of the shared service layer.

MillraceError                     (schemas.errors)
├── RetryableError                (schemas.errors)
│   ├── ClusterUnavailable        Kafka did not answer in time
│   └── RegistryUnavailable       the schema registry did not answer in time
└── PermanentError                (schemas.errors)
    ├── TopicMissing              a topic this process needs does not exist
    ├── TopicMismatch             a topic exists with another number of partitions
    ├── TopicRefused              Kafka refuses to create a topic
    ├── ChangeRefused             a change of the control plane that cannot be made, or not any more
    ├── SchemaMissing             the schema registry does not have a schema that this process writes
    └── RegistryRefused           the schema registry refuses what it was asked
"""

from schemas.errors import PermanentError, RetryableError


class ClusterUnavailable(RetryableError):
    """Kafka did not answer.  bootstrap: the address that was tried.  cause: the client's own words."""

    def __init__(self, bootstrap: str, cause: str) -> None:
        super().__init__(f"Kafka at {bootstrap} does not answer: {cause}", retry_after_s=1.0)
        self.bootstrap = bootstrap
        self.cause = cause


class TopicMissing(PermanentError):
    """A topic is not there.  topic: its full name."""

    def __init__(self, topic: str) -> None:
        super().__init__(
            f"topic {topic} does not exist; create it with: millrace topics create", reason="topic_missing"
        )
        self.topic = topic


class TopicMismatch(PermanentError):
    """A topic has another number of partitions than the catalogue says; keys would land elsewhere."""

    def __init__(self, topic: str, *, expected: int, found: int) -> None:
        super().__init__(
            f"topic {topic} has {found} partitions, the catalogue says {expected}: "
            "choose the other profile or another prefix (a changed count is a new epoch, not an edit)",
            reason="topic_mismatch",
        )
        self.topic = topic
        self.expected = expected
        self.found = found


class TopicRefused(PermanentError):
    """Kafka refuses to create a topic.  topic: its full name.  cause: Kafka's words."""

    def __init__(self, topic: str, cause: str) -> None:
        super().__init__(f"Kafka refuses to create topic {topic}: {cause}", reason="topic_refused")
        self.topic = topic
        self.cause = cause


class ChangeRefused(PermanentError):
    """A change of keys, roles or policies that cannot be made.  cause: what is wrong.  cure: what to do."""

    def __init__(self, cause: str, cure: str) -> None:
        super().__init__(f"{cause}: {cure}", reason="change_refused")
        self.cause = cause
        self.cure = cure


class RegistryUnavailable(RetryableError):
    """The schema registry did not answer.  url: the address that was tried.  cause: in words."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(f"schema registry at {url} does not answer: {cause}", retry_after_s=1.0)
        self.url = url
        self.cause = cause


class SchemaMissing(PermanentError):
    """A schema that this process writes is not registered.  record, version: which.  subject: where it belongs."""

    def __init__(self, record: str, version: int, subject: str, url: str) -> None:
        super().__init__(
            f"schema {record} v{version} is not in the registry at {url} under {subject}; "
            "register it with: millrace topics register",
            reason="schema_missing",
        )
        self.record = record
        self.version = version
        self.subject = subject


class RegistryRefused(PermanentError):
    """The schema registry says no.  what: was asked, "" for a question.  cause: the registry's words, or ours."""

    def __init__(self, url: str, what: str, cause: str) -> None:
        super().__init__(f"schema registry at {url} refuses {what or 'to answer'}: {cause}", reason="registry_refused")
        self.url = url
        self.what = what
        self.cause = cause
