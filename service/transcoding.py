"""Settings of what a request becomes: the gateway's, and of whoever shows what the gateway would do."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from schemas.otlp import Context, Limits
from service.settings import ProcessSettings


class TranscoderSettings(ProcessSettings):
    """Names and limits that the transcoder is told."""

    model_config = SettingsConfigDict(env_prefix="MILLRACE_GATEWAY_")

    team_attribute: str = Field("team.id", description="attribute that says the team")
    department_attribute: str = Field("department", description="attribute that says the department")
    cost_center_attribute: str = Field("cost_center", description="attribute that says the cost center")
    records_max: int = Field(10_000, ge=1, description="log records, data points or spans of one request")
    attributes_max: int = Field(
        256, ge=1, le=4096, description="attributes of one record; more are dropped and counted"
    )
    depth_max: int = Field(32, ge=1, le=64, description="levels of nesting in an attribute's value")

    @property
    def limits(self) -> Limits:
        """As schemas.otlp takes them."""
        return Limits(self.records_max, self.attributes_max, self.depth_max)

    @property
    def attribute_names(self) -> tuple[str, str, str]:
        """Of team, department and cost center, in the order of schemas.otlp.Context."""
        return self.team_attribute, self.department_attribute, self.cost_center_attribute

    def context(self, tenant: str, received_us: int, identity_key: bytes) -> Context:
        """For a tenant without policy and routing rules."""
        return Context(tenant, received_us, identity_key, self.limits, *self.attribute_names)
