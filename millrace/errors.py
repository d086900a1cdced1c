"""Errors of the command line and the one-machine stack.

MillraceError                     (schemas.errors)
└── PermanentError                (schemas.errors)
    └── Fault                     one line: the cause, then the cure
        ├── JarFault              a jar cannot be had or is damaged
        ├── KafkaFault            the broker does not start
        ├── PortTaken             another process listens there
        ├── PortTwice             two of our own settings name the same port
        ├── FolderFault           the data folder is locked, read-only or full
        ├── ProcessFault          a process of the stack does not come up
        ├── KeyFault              a key is missing or unknown
        ├── PolicyFault           a change of a privacy policy that makes no sense
        ├── QueryFault            the SQL service refuses or cannot be reached
        ├── RulesFault            routing rules that cannot be read, or are made from older ones
        └── RecordingFault        a file that is no recorded request
"""

from pathlib import Path

from schemas.errors import PermanentError


class Fault(PermanentError):
    """Something the person at the terminal can mend.  cause: what is wrong.  cure: what to do."""

    word = "fault"

    def __init__(self, cause: str, cure: str) -> None:
        super().__init__(f"{cause}: {cure}" if cure else cause, reason=self.word)
        self.cause = cause
        self.cure = cure


class PolicyFault(Fault):
    word = "policy"


class JarFault(Fault):
    word = "jar"


class KafkaFault(Fault):
    word = "kafka"


class PortTaken(Fault):
    word = "port_taken"

    def __init__(self, what: str, port: int, variable: str) -> None:
        super().__init__(
            f"port {port} for {what} is taken by another process",
            f"stop that process, or set {variable} to a free port",
        )
        self.port = port
        self.variable = variable


class PortTwice(Fault):
    word = "port_twice"

    def __init__(self, port: int, first: tuple[str, str], second: tuple[str, str]) -> None:
        """Args: first, second: (what would listen there, the variable that says so)."""
        super().__init__(
            f"port {port} is set for {first[0]} ({first[1]}) and for {second[0]} ({second[1]})",
            "set one of them to another port",
        )
        self.port = port
        self.variables = (first[1], second[1])


class FolderFault(Fault):
    word = "data_folder"

    def __init__(self, folder: Path, cause: str, cure: str) -> None:
        super().__init__(f"data folder {folder} {cause}", cure)
        self.folder = folder


class ProcessFault(Fault):
    word = "process"


class KeyFault(Fault):
    word = "key"


class QueryFault(Fault):
    word = "query"


class RulesFault(Fault):
    word = "rules"


class RecordingFault(Fault):
    word = "recording"
