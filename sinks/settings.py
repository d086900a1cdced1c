"""Settings of the sinks process."""

import json
import os
from functools import cached_property
from typing import ClassVar, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from service.settings import ProcessSettings


class SinksSettings(ProcessSettings):
    """What `python -m sinks` is told by its environment."""

    model_config = SettingsConfigDict(env_prefix="MILLRACE_SINKS_")
    process: ClassVar[str] = "sinks"

    health_port: int = Field(9466, ge=0, le=65535, description="port of /healthz, /readyz and /metrics")
    topics_timeout_s: float = Field(60.0, ge=0, description="seconds to wait for the topics to be created")
    stop_timeout_s: float = Field(8.0, gt=0, description="seconds that the last writes may take at the end")
    allow_gaps: bool = Field(
        False, description="go on, and count, where records expired in Kafka before they were stored; else refuse"
    )
    dedup_horizon_s: int = Field(
        3600,
        ge=60,
        le=86_400,
        validation_alias="MILLRACE_DEDUP_HORIZON_S",
        description="seconds of received time within which a client's re-send is recognised",
    )

    lake: bool = Field(True, validation_alias="MILLRACE_LAKE", description="whether the lake is written")
    lake_catalog_uri: str | None = Field(
        None,
        validation_alias="MILLRACE_LAKE_CATALOG_URI",
        description="Iceberg catalog: sqlite:///, postgresql:// or http(s):// (REST); none: data/lake/catalog.db",
    )
    lake_warehouse: str | None = Field(
        None,
        validation_alias="MILLRACE_LAKE_WAREHOUSE",
        description="where the tables lie: file:// or an object store; none: data/lake/warehouse",
    )
    lake_namespace: str = Field(
        "millrace",
        pattern=r"^[A-Za-z0-9_]{1,100}$",
        validation_alias="MILLRACE_LAKE_NAMESPACE",
        description="namespace of the tables in the catalog",
    )
    lake_properties: SecretStr | None = Field(
        None,
        validation_alias="MILLRACE_LAKE_PROPERTIES",
        description='more properties of catalog and file access as JSON, {"s3.endpoint": "..."}; may hold secrets',
    )
    lake_commit_interval_s: float = Field(
        60.0,
        ge=0.1,
        le=3600,
        validation_alias="MILLRACE_LAKE_COMMIT_INTERVAL_S",
        description="seconds within which a record that waits is committed",
    )
    lake_commit_records: int = Field(
        100_000,
        ge=1,
        le=1_000_000,
        validation_alias="MILLRACE_LAKE_COMMIT_RECORDS",
        description="records that wait at most: commits come earlier in a flood",
    )
    lake_commit_mb: int = Field(
        64,
        ge=1,
        le=1024,
        validation_alias="MILLRACE_LAKE_COMMIT_MB",
        description="bytes of records that wait at most, in MB; a commit takes several times as much memory",
    )
    lake_dedup_ids_max: int = Field(
        4_000_000,
        ge=1000,
        validation_alias="MILLRACE_LAKE_DEDUP_IDS_MAX",
        description="ids remembered per topic, 50 bytes each; beyond it the oldest are forgotten before the horizon",
    )

    query_batch_records: int = Field(
        5000,
        ge=1,
        le=100_000,
        validation_alias="MILLRACE_QUERY_BATCH_RECORDS",
        description="records of one transaction into the query tables at most",
    )
    query_batch_interval_s: float = Field(
        0.25,
        ge=0,
        le=60,
        validation_alias="MILLRACE_QUERY_BATCH_INTERVAL_S",
        description="least seconds between two transactions; what comes after a quiet time is written at once",
    )
    query_memory_mb: int = Field(
        1024,
        ge=128,
        validation_alias="MILLRACE_QUERY_MEMORY_MB",
        description="DuckDB's memory, writer and queries together",
    )
    query_temp_mb: int = Field(
        4096, ge=0, validation_alias="MILLRACE_QUERY_TEMP_MB", description="disk that queries may spill to, in MB"
    )
    query_threads: int = Field(
        max(1, min(4, os.cpu_count() or 1)),
        ge=1,
        validation_alias="MILLRACE_QUERY_THREADS",
        description="threads of one query or write",
    )

    sql_host: str = Field("127.0.0.1", validation_alias="MILLRACE_SQL_HOST", description="address of SQL over HTTP")
    sql_port: int = Field(
        8081, ge=0, le=65535, validation_alias="MILLRACE_SQL_PORT", description="port of SQL over HTTP"
    )
    sql_timeout_s: float = Field(
        30.0,
        gt=0,
        validation_alias="MILLRACE_SQL_TIMEOUT_S",
        description="seconds that a query may take, its wait included",
    )
    sql_rows: int = Field(
        10_000, ge=1, validation_alias="MILLRACE_SQL_ROWS", description="rows of an answer when the asker sets no limit"
    )
    sql_rows_max: int = Field(
        1_000_000,
        ge=1,
        validation_alias="MILLRACE_SQL_ROWS_MAX",
        description="rows of an answer whatever the asker says",
    )
    sql_running: int = Field(
        4,
        ge=1,
        validation_alias="MILLRACE_SQL_RUNNING",
        description="queries that run at once, of one asker one less; others wait",
    )

    @model_validator(mode="after")
    def _lake_properties_are_json(self) -> Self:
        try:
            _properties(self.lake_properties)
        except ValueError:
            # Without its text, which may hold secrets.
            raise ValueError(
                "MILLRACE_LAKE_PROPERTIES must be a JSON object of texts, numbers or true and false"
            ) from None
        return self

    @cached_property
    def catalog(self) -> dict[str, str]:
        """The properties of the lake's catalog, as PyIceberg takes them."""
        folder = self.data.absolute() / "lake"
        return {
            "uri": self.lake_catalog_uri or f"sqlite:///{folder / 'catalog.db'}",
            "warehouse": self.lake_warehouse or f"file://{folder / 'warehouse'}",
            **_properties(self.lake_properties),
        }


def _properties(secret: SecretStr | None) -> dict[str, str]:
    found = json.loads(secret.get_secret_value()) if secret is not None else {}
    if not isinstance(found, dict) or not all(isinstance(value, str | int | float | bool) for value in found.values()):
        raise ValueError("no object of plain values")
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in found.items()}
