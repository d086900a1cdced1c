"""What can go wrong behind a page.

MillraceError
└── PermanentError
    ├── AskFault            the SQL service refused, failed or did not answer
    └── SignInFault         a sign-in that did not succeed
"""

from __future__ import annotations

from schemas.errors import PermanentError


class AskFault(PermanentError):
    """A question to the SQL service that has no answer.

    reason: the service's own code, or `unavailable`: it could not be asked.  status: of HTTP; 503 then.
    line, column: where in the SQL, if known.  seconds: that the query ran.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        status: int,
        line: int | None = None,
        column: int | None = None,
        seconds: float = 0.0,
    ) -> None:
        super().__init__(message, reason=reason)
        self.status = status
        self.line = line
        self.column = column
        self.seconds = seconds

    def again(self) -> AskFault:
        """The same for somebody else."""
        where = {"line": self.line, "column": self.column}
        return AskFault(str(self), reason=self.reason, status=self.status, seconds=self.seconds, **where)

    @property
    def passing(self) -> bool:
        """Whether the same question may have an answer in a moment."""
        return self.status == 503


class SignInFault(PermanentError):
    """A sign-in that did not succeed, and what one can do; str(self) is for the page.

    Reasons: bad_link, not_begun, refused_by_provider, bad_token, no_group, no_tenant, several_tenants, provider_down,
    provider_misled.  status: of HTTP; from 500 on it is no fault of who tried.
    """

    def __init__(self, message: str, *, reason: str, status: int) -> None:
        super().__init__(message, reason=reason)
        self.status = status
