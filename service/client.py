"""What a Claude client must be told to send here: the one list of its variables, and the files that carry them.

    choice (client, protocol, gates, team …) → environment → shell, PowerShell, managed settings, MDM profiles

Names and meanings of the variables are those of code.claude.com/docs/en/monitoring-usage; where managed settings lie,
the preference domain of macOS and the registry key of Windows those of code.claude.com/docs/en/managed-settings; what
Cowork asks for is that of claude.com/docs/cowork/monitoring. Nothing here knows a clock or a network.
"""

from __future__ import annotations

import json
import plistlib
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote

from schemas.otlp.bindings import DEFAULT_NAMES
from schemas.topics import CATALOGUE

Protocol = Literal["grpc", "http/protobuf", "http/json"]
PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http/protobuf", "http/json")
_HTTP: tuple[Protocol, ...] = ("http/protobuf", "http/json")
_DAY_MS = 86_400_000
# Where endpoint-managed settings are read from, each only writable by an administrator.
MANAGED_PATHS: Mapping[str, str] = MappingProxyType(
    {
        "macOS": "/Library/Application Support/ClaudeCode/managed-settings.json",
        "Linux and WSL": "/etc/claude-code/managed-settings.json",
        "Windows": r"C:\Program Files\ClaudeCode\managed-settings.json",
    }
)
DOMAIN = "com.anthropic.claudecode"
REGISTRY_KEY = r"HKEY_LOCAL_MACHINE\SOFTWARE\Policies\ClaudeCode"
REGISTRY_VALUE = "Settings"
# Resource attributes that the gateway reads by default as team, department and cost center.
TEAM, DEPARTMENT, COST_CENTER = DEFAULT_NAMES


@dataclass(frozen=True)
class Client:
    """A kind of client.

    protocols: that it speaks.  files: whether it reads settings files.  shell: whether the environment of the process
    that starts it reaches it.  how: where the settings go, a sentence or two.
    """

    name: str
    label: str
    protocols: tuple[Protocol, ...]
    files: bool
    shell: bool
    how: str


CLIENTS: Mapping[str, Client] = MappingProxyType(
    {
        one.name: one
        for one in (
            Client(
                "cli",
                "Claude Code CLI and IDE",
                PROTOCOLS,
                True,
                True,
                "Try it in one shell first: paste the block, then start claude there. For a fleet, deploy the managed "
                "settings: users cannot override them. The extensions for VS Code and JetBrains read the same files.",
            ),
            Client(
                "desktop",
                "Claude desktop app (Code)",
                PROTOCOLS,
                True,
                False,
                "The app is not started from a shell, so variables exported there do not reach it. It reads the same "
                "settings files as the CLI: ~/.claude/settings.json for one person, managed settings for a fleet. "
                "Telemetry is read at the start: quit the app and open it again.",
            ),
            Client(
                "cowork",
                "Cowork",
                _HTTP,
                False,
                False,
                "Cowork is set up in the admin settings of your Claude organization, under Cowork (Team and Enterprise "
                "plans), not on the machine. Its exporter runs in a virtual machine: the endpoint must be an address "
                "that this can reach, so not 127.0.0.1, and with restricted egress it must be on the allowlist.",
            ),
            Client(
                "sdk",
                "Agent SDK",
                PROTOCOLS,
                True,
                True,
                "Set the variables in the process that uses the SDK, before it starts a query; the SDK hands its "
                "environment on to the agent that it starts.",
            ),
            Client(
                "ci",
                "CI",
                PROTOCOLS,
                True,
                True,
                "Keep the key in the secret store of your CI and set the variables in the job that runs claude -p. "
                "One key for CI keeps its cost apart from that of people, and can be revoked alone.",
            ),
        )
    }
)


@dataclass(frozen=True)
class Gate:
    """Something that a client sends only when it is told to.

    name: in a URL.  variables: that open it.  sends: what then comes.  stored: where Millrace keeps it, how long, and
    who may read it.  since: client version, "" where the documentation names none.  needs: gate that must be open, too.
    sensitive: whether it sends what people or tools wrote.
    """

    name: str
    label: str
    variables: Mapping[str, str]
    sends: str
    stored: str
    since: str = ""
    needs: str | None = None
    sensitive: bool = True

    @property
    def variable(self) -> str:
        """The one that it is known by."""
        return next(iter(self.variables))


def _days(topic: str) -> int:
    return int(CATALOGUE[topic].config["retention.ms"]) // _DAY_MS


_CONTENT = (
    f"Topic content: {_days('content')} days in Kafka, and apart from everything else in tables and lake, there until "
    "you delete it. Admins read it; others only by a grant. Every read is audited."
)
_TRACES = {"CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "1", "OTEL_TRACES_EXPORTER": "otlp"}

GATES: Mapping[str, Gate] = MappingProxyType(
    {
        one.name: one
        for one in (
            Gate(
                "prompts",
                "What people ask",
                {"OTEL_LOG_USER_PROMPTS": "1"},
                "The text of every prompt. Closed, only its length is sent.",
                _CONTENT,
            ),
            Gate(
                "responses",
                "What Claude answers",
                {"OTEL_LOG_ASSISTANT_RESPONSES": "1"},
                "The text of every answer, on assistant_response. Where the variable is not set the client takes the "
                "word of OTEL_LOG_USER_PROMPTS; Millrace therefore sets it to 0 when only prompts are wanted.",
                _CONTENT,
                since="2.1.193",
            ),
            Gate(
                "details",
                "Commands, paths and names of tools",
                {"OTEL_LOG_TOOL_DETAILS": "1"},
                "Bash commands, file paths, URLs, search patterns, names of MCP servers, skills and plugins, error "
                "texts, and each tool's arguments as JSON (values cut at 512 characters, 4 K in all).",
                "What is taken out of the arguments (command_line, file_path, url, mcp_server …) stands on events with "
                f"the class detail: {_days('events')} days in Kafka, in tables and lake until you delete it; read by "
                f"the roles analyst, security and admin. The JSON itself is content: {_days('content')} days in Kafka, "
                "admins only.",
            ),
            Gate(
                "traces",
                "Traces (beta)",
                _TRACES,
                "Spans: what ran inside of what, and for how long; which subagent did it. Without the other gates they "
                "carry no text of prompts, tools or commands.",
                f"Topic spans: {_days('spans')} days in Kafka, in tables and lake until you delete it; class usage, so "
                "every role sees it.",
                sensitive=False,
            ),
            Gate(
                "tool_content",
                "What tools read and write",
                {"OTEL_LOG_TOOL_CONTENT": "1"},
                "Input and output of tools on spans, cut at 60 KB: files that were read, what commands printed.",
                _CONTENT,
                needs="traces",
            ),
            Gate(
                "bodies",
                "Whole API requests and responses",
                {"OTEL_LOG_RAW_API_BODIES": "1", "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "1"},
                "Each request and response as JSON, cut at 60 KB: the system prompt and the whole conversation, so all "
                "that the other gates would send. Thinking is never stored. (file:DIRECTORY instead of 1 leaves the "
                "bodies on the client's disk, uncut, and sends only where they are.)",
                _CONTENT,
            ),
            Gate(
                "managed_settings",
                "Managed settings in force",
                {"OTEL_LOG_MANAGED_SETTINGS": "1"},
                "Which managed settings a client found, redacted by it, with a digest: to see that a roll-out arrived.",
                f"On events, class detail: {_days('events')} days in Kafka, in tables and lake until you delete it; "
                "read by the roles analyst, security and admin.",
                since="2.1.274",
                sensitive=False,
            ),
        )
    }
)

# What to do about a reason for which the gateway rejects records; anything else: REJECTED_ELSE.
REJECTED: Mapping[str, str] = MappingProxyType(
    {
        "malformed_record": "the client, or a collector between, sends what is no OTLP record: read the error, update "
        "it, or take the processor out that changes it",
        "invalid_id": "a session id that is too long or has control characters: something between client and gateway "
        "rewrites it",
        "too_large": "larger than Kafka takes: with API bodies open, lower CLAUDE_CODE_OTEL_CONTENT_MAX_LENGTH at the "
        "client, or let the collector send fewer records a request",
    }
)
REJECTED_ELSE = "read the error; length and SHA-256 in the table rejected tell whether it is always the same record"


def with_needs(gates: Collection[str]) -> tuple[str, ...]:
    """These gates, known ones only, and those that they need, in the order of GATES."""
    wanted = {name for name in gates if name in GATES}
    wanted |= {need for name in wanted if (need := GATES[name].needs) is not None}
    return tuple(name for name in GATES if name in wanted)


def resource_attributes(values: Mapping[str, str]) -> str:
    """OTEL_RESOURCE_ATTRIBUTES of these attributes; empty ones are left out.

    The client takes no spaces, commas or quotes in a value; what OpenTelemetry decodes again stands for them.
    """
    return ",".join(f"{name}={quote(value.strip(), safe='@:/+')}" for name, value in values.items() if value.strip())


def environment(
    *,
    protocol: Protocol,
    endpoint: str,
    key: str,
    gates: Collection[str] = (),
    resource: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The variables that make a client send its telemetry to a gateway; no content but for the gates named.

    Args: endpoint: root URL of the gateway for this protocol.  key: an ingest key.  gates: of GATES.
          resource: attributes of everything that it sends, as TEAM.
    """
    said = {
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_HEADERS": headers(key),
    }
    opened = with_needs(gates)
    for name in opened:
        said |= GATES[name].variables
    if "prompts" in opened and "responses" not in opened:
        said |= dict.fromkeys(GATES["responses"].variables, "0")
    if attributes := resource_attributes(resource or {}):
        said["OTEL_RESOURCE_ATTRIBUTES"] = attributes
    return said


def headers(key: str) -> str:
    """The header that says whose the telemetry is, as OTLP exporters take it."""
    return f"Authorization=Bearer {key}"


def shell(variables: Mapping[str, str]) -> str:
    """A block to paste into sh, bash or zsh."""
    return "".join(f"export {name}={_sh(value)}\n" for name, value in variables.items())


def powershell(variables: Mapping[str, str]) -> str:
    """The same for PowerShell."""
    return "".join(f"$env:{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in variables.items())


def settings(variables: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What goes into settings.json or managed-settings.json."""
    return {"env": dict(variables)}


def settings_json(variables: Mapping[str, str]) -> str:
    """The same as text."""
    return json.dumps(settings(variables), indent=2) + "\n"


def plist(variables: Mapping[str, str]) -> bytes:
    """The preferences of DOMAIN, for an MDM's custom settings payload; its keys are those of managed settings."""
    return plistlib.dumps(settings(variables), sort_keys=False)


def mobileconfig(variables: Mapping[str, str], *, organization: str = "") -> bytes:
    """A configuration profile for macOS with the same preferences, unsigned.

    Its ids follow from where it sends: a profile with another key replaces the one before, another gateway's does not.
    """
    made_of = uuid.uuid5(uuid.NAMESPACE_URL, variables["OTEL_EXPORTER_OTLP_ENDPOINT"])
    identifier = f"{DOMAIN}.millrace.{str(made_of)[:8]}"
    payload = {
        "PayloadType": DOMAIN,
        "PayloadIdentifier": f"{identifier}.settings",
        "PayloadUUID": str(uuid.uuid5(made_of, "settings")).upper(),
        "PayloadVersion": 1,
        "PayloadDisplayName": "Claude Code telemetry",
        **settings(variables),
    }
    profile = {
        "PayloadType": "Configuration",
        "PayloadIdentifier": identifier,
        "PayloadUUID": str(made_of).upper(),
        "PayloadVersion": 1,
        "PayloadScope": "System",
        "PayloadDisplayName": "Claude Code telemetry to Millrace",
        **({"PayloadOrganization": organization} if organization else {}),
        "PayloadContent": [payload],
    }
    return plistlib.dumps(profile, sort_keys=False)


def registry(variables: Mapping[str, str]) -> bytes:
    """A .reg file for Windows with the managed settings as one line of JSON (REG_SZ), for Group Policy or Intune."""
    text = json.dumps(settings(variables), separators=(",", ":"))
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    lines = ["Windows Registry Editor Version 5.00", "", f"[{REGISTRY_KEY}]", f'"{REGISTRY_VALUE}"="{escaped}"', ""]
    return b"\xff\xfe" + "\r\n".join(lines).encode("utf-16-le")


@dataclass(frozen=True)
class File:
    """A file to hand to a machine or an MDM.  name: in a URL.  filename, type: of the download.  what: its use."""

    name: str
    filename: str
    type: str
    label: str
    what: str

    def content(self, variables: Mapping[str, str]) -> bytes:
        """Of these variables."""
        if self.name == "mobileconfig":
            return mobileconfig(variables)
        if self.name == "plist":
            return plist(variables)
        if self.name == "registry":
            return registry(variables)
        return settings_json(variables).encode()


FILES: Mapping[str, File] = MappingProxyType(
    {
        one.name: one
        for one in (
            File(
                "managed",
                "managed-settings.json",
                "application/json",
                "managed-settings.json",
                "For any tool that puts files on machines; the paths stand below.",
            ),
            File(
                "mobileconfig",
                f"{DOMAIN}.mobileconfig",
                "application/x-apple-aspen-config",
                "macOS profile (.mobileconfig)",
                "For an MDM that takes a whole profile, or to try on one Mac. It is not signed; your MDM can sign it.",
            ),
            File(
                "plist",
                f"{DOMAIN}.plist",
                "application/x-plist",
                "macOS preferences (.plist)",
                f"For the custom settings payload of Jamf or Iru, preference domain {DOMAIN}.",
            ),
            File(
                "registry",
                "claude-code-policy.reg",
                "text/x-ms-regedit",
                "Windows policy (.reg)",
                f"Sets {REGISTRY_VALUE} (REG_SZ) of {REGISTRY_KEY}, which Group Policy and Intune set the same way.",
            ),
        )
    }
)


def endpoint_of(protocol: Protocol, *, grpc_url: str, http_url: str) -> str:
    """The gateway's root URL for a protocol."""
    return grpc_url if protocol == "grpc" else http_url


def cowork(*, protocol: Protocol, endpoint: str, key: str) -> Sequence[tuple[str, str]]:
    """The fields of Cowork's admin settings, as (label, value)."""
    return (("OTLP endpoint", endpoint), ("OTLP protocol", protocol), ("OTLP headers", headers(key)))


def _sh(value: str) -> str:
    plain = all(char.isalnum() or char in "_-.,:/=+@%" for char in value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
    return value if plain else f'"{escaped}"'
