"""The privacy policy of each tenant, as the control topic has it now."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ingest_gateway.errors import Busy
from schemas.policy import CONTROL_KIND, EVERY_TENANT, NONE, HashKeys, Policy, PolicyError, parse

logger = logging.getLogger(__name__)

Record = dict[str, Any]


class Policies:
    """Fails closed: a policy that cannot be read, or whose hash key is not in the ring, changes nothing, the last good
    one holds. Where there is none, because this process never saw one, nothing of the tenant is taken.

    Args:    record: the control record of (kind, id), as ControlView.record.  on_fault: told of each fault once.
    """

    def __init__(
        self,
        record: Callable[[str, str], Record | None],
        keys: HashKeys,
        *,
        retry_after_s: float,
        on_fault: Callable[[PolicyError], None],
    ) -> None:
        self._record = record
        self._keys = keys
        self._retry_after_s = retry_after_s
        self._on_fault = on_fault
        self._good: dict[str, Policy] = {}
        self._seen: dict[str, Record] = {}
        self._hash_keys: dict[tuple[str, str], bytes] = {}

    def of(self, tenant: str) -> tuple[Policy, bytes]:
        """The policy of a tenant and the key of its hashes. Raises: Busy when there is one, and no good one."""
        for id_ in (tenant, EVERY_TENANT):
            if self._look(id_):
                policy = self._good.get(id_)
                if policy is None:
                    error = f"the privacy policy of {id_} cannot be read; send it again"
                    raise Busy(error, retry_after_s=self._retry_after_s)
                return policy, self._key(policy, tenant)
        return NONE, b""

    def fault(self) -> str:
        """Why nothing can be taken of any tenant that has no policy of its own; "" when it can."""
        if self._look(EVERY_TENANT) and EVERY_TENANT not in self._good:
            return "the privacy policy of * cannot be read, and there is no older one"
        return ""

    def _look(self, id_: str) -> bool:
        """Whether there is a policy of this id. What is new is read."""
        record = self._record(CONTROL_KIND, id_)
        if record is None or record["deleted"]:
            self._seen.pop(id_, None)
            self._good.pop(id_, None)
            return False
        if self._seen.get(id_) is not record:
            self._seen[id_] = record
            try:
                policy = parse(record["body"], policy=id_)
                if policy.hashes:
                    self._keys.key(policy.hash_key, id_)
                self._good[id_] = policy
                logger.info("privacy policy of %s: version %d", id_, policy.version)
            except PolicyError as error:
                logger.error("%s; %s", error, "the older one holds" if id_ in self._good else "nothing is taken")
                self._on_fault(error)
        return True

    def _key(self, policy: Policy, tenant: str) -> bytes:
        if not policy.hashes:
            return b""
        found = self._hash_keys.get((policy.hash_key, tenant))
        if found is None:
            found = self._hash_keys[policy.hash_key, tenant] = self._keys.key(policy.hash_key, tenant)
        return found
