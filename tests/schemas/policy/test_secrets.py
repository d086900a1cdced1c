"""Secrets are found in texts like ours, replaced by a mark and counted; nothing else is."""

from __future__ import annotations

import json

import pytest

from schemas.policy import secrets

KEY = "sk-ant-api03-" + "aB3-" * 23 + "xAA"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA1234567890abcdef\nGHIJ\n-----END RSA PRIVATE KEY-----"

# (text, secret that must be gone)
FOUND = [
    (f"export ANTHROPIC_API_KEY={KEY} && claude", KEY),
    ("why does AKIAIOSFODNN7EXAMPLE fail?", "AKIAIOSFODNN7EXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY aws s3 ls", "wJalrXUtnFEMI"),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI"),
    ("OPENAI_API_KEY=sk-proj-abcdefghijklmnopqrstuvwxyz1234", "sk-proj"),
    ("git clone https://x:ghp_" + "a1B2" * 9 + "@github.com/a/b", "ghp_"),
    ("github_pat_" + "a1B2_c" * 13 + "abcd", "github_pat_a"),
    ("psql postgresql://app:s3cr3t@db:5432/app", "s3cr3t"),
    ("mongodb+srv://u:p@ss:word@cluster0/x", "p@ss:word"),
    ("Server=db;User Id=sa;Password=hunter2;Encrypt=true", "hunter2"),
    ("DefaultEndpointsProtocol=https;AccountKey=abc/def+ghi==;EndpointSuffix=x", "abc/def"),
    ("host=db password=hunter2 user=app", "hunter2"),
    ("curl -H 'Authorization: Bearer abcdefgh1' https://x", "abcdefgh1"),
    ("curl -H 'Authorization: Basic dXNlcjpwYXNz' https://x", "dXNlcjpwYXNz"),
    ("curl -u bob:hunter2 https://x", "hunter2"),
    ("curl -s -H 'x-api-key: abcd1234efgh' https://x", "abcd1234efgh"),
    ("https://h/x?access_token=abcd1234&x=1", "abcd1234"),
    ("PASSWORD=hunter2 ./deploy", "hunter2"),
    ("MY_DB_PASSWORD='two words' ./deploy", "two words"),
    ("deploy --token hunter22 --force", "hunter22"),
    ("mysqldump -uroot -phunter2 db", "hunter2"),
    ("password: 'hunter2'", "hunter2"),
    ("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9Plx", "dozjgNry"),
    ("xoxb-1234567890123-1234567890123-abcdefghijklmnopqrstuvwx", "xoxb"),
    ("mlr_ingest_0123456789abcdef_" + "0123456789abcdef" * 4, "mlr_ingest"),
    ("aws configure set aws_secret_access_key wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI"),
    ("SSHPASS=hunter2 sshpass -e ssh x", "hunter2"),
    ("redis-cli -h cache -a hunter2 ping", "hunter2"),
    ("docker login -u bob -p hunter2 registry.io", "hunter2"),
    ("az login --service-principal -u app -p 'hunter2' --tenant t", "hunter2"),
    ("openssl rsa -in k.pem -passin pass:hunter2 -out k", "hunter2"),
    ("vault login -no-print s.8ab12cd3", "s.8ab12cd3"),
    ("sqlplus -s scott/hunter2@db @x.sql", "hunter2"),
    ("htpasswd -b -C 10 users bob hunter2", "hunter2"),
    ("htpasswd -nbB bob hunter2 > users", "hunter2"),
    ("http -a bob:hunter2 POST x.io/y", "hunter2"),
    ('{"db_pass":"hunter2"}', "hunter2"),
    ("machine x.io\n  login bob\n  password hunter2", "hunter2"),
    ("login bob password hunter2", "hunter2"),
    ("<server><password>hunter2</password></server>", "hunter2"),
    ("git clone https://a1B2a1B2a1B2a1B2a1B2@git.x.io/r", "a1B2a1B2"),
    ("mongodb://bob:hun/ter2@db.x.io/y", "hun/ter2"),
    ("get s3.x.io/o?X-Amz-Date=1&X-Amz-Signature=0a1b2c3d4e5f60718293a4b5c6d7e8f9", "0a1b2c3d"),
    ("curl -H 'Cookie: theme=dark; session=abcd1234' https://x", "abcd1234"),
    (PEM, "MIIEpAIBAAK"),
    (PEM[:70], "MIIEpAIBAAK"),
]

KEPT = [
    "git commit -m 'mend the token counting' && pytest -q tests/schemas",
    "please write the password reset page and handle the key press",
    "PASSWORD=$DB_PASSWORD ./deploy --token $TOKEN",
    "password: ${{ secrets.DB }}",
    "input_tokens: 1234567, output_tokens=123",
    'max_tokens":4096,"model":"claude-opus-4-6"',
    "/home/dev/project/5241f211-d738-4804-9500-d7af0d6ab2b7/tests/test_main_window_of_it.py",
    "commit 0123456789abcdef0123456789abcdef01234567",
    "https://github.com/anthropics/claude-code/issues/1234?page=2",
    "docker run -u 1000:1000 image",
    "docker login -u bob --password-stdin < file",
    "docker compose -p project up && az login",
    "redis-cli -h cache -a $REDIS_PASSWORD ping",
    "vault login -method=oidc && vault login instructions",
    "openssl rsa -passin file:/run/x -passout env:X",
    "sqlplus /nolog @path/to/x.sql",
    "htpasswd -c users bob",
    "the http -a flag, or https -A: x",
    '{"first_pass":"done well","pass":"all of it"}',
    "the login form password reset works, login and password fields.",
    "<password></password><password>${env.PASSWORD}</password>",
    "git clone https://git@github.com/a/b && curl https://bob@h/x",
    "git clone ssh://deploy-service-user@host/x",
    "http://localhost:4873/@scope/package-with-name-1",
    "mongodb://db:27017/x?authSource=admin",
    "cookie: accept it, or set document.cookie = 'a=bcdef'",
    '{"password":"<REDACTED>"}',
    "<MASKED:github-pat>",
]


@pytest.mark.parametrize(("text", "secret"), FOUND)
def test_a_secret_is_masked_and_counted(text: str, secret: str) -> None:
    found: dict[str, int] = {}
    masked, count = secrets.mask(text, found)
    assert secret not in masked
    assert masked.count(secrets.MARK) == count == sum(found.values()) == 1
    assert f"<MASKED:{next(iter(found))}>" in masked


@pytest.mark.parametrize(("text", "secret"), FOUND)
@pytest.mark.parametrize("depth", [1, 2])
def test_a_secret_in_json_and_in_json_within_json_is_masked_and_the_json_stays_whole(
    text: str, secret: str, depth: int
) -> None:
    tree: object = {"command": f"true\n{text}\n"}
    for _ in range(depth):
        tree = {"input": json.dumps(tree)}
    masked, count = secrets.mask(json.dumps(tree), {})
    assert secret not in masked
    assert count
    json.loads(masked)


@pytest.mark.parametrize("text", KEPT)
def test_what_is_no_secret_stays(text: str) -> None:
    assert secrets.mask(text, {}) == (text, 0)


@pytest.mark.parametrize(("text", "_secret"), FOUND)
def test_masking_again_changes_nothing(text: str, _secret: str) -> None:
    once, _ = secrets.mask(text, {})
    assert secrets.mask(once, {}) == (once, 0)


def test_every_rule_has_a_name_of_its_own_and_compiles() -> None:
    names = [rule.id for rule in secrets.rules()]
    assert len(set(names)) == len(names) > 200
    assert all(rule.pattern.groups >= 0 and rule.keywords for rule in secrets.rules())


def test_every_rule_that_looks_at_any_text_is_reached_by_a_root() -> None:
    short = [word for rule in secrets.rules() if not rule.long for word in rule.keywords]
    assert [word for word in short if not any(root in word for root in secrets.ROOTS)] == []


HOSTILE = [
    "a" * 200_000,
    "key" * 60_000,
    "password" * 25_000,
    "--token-" * 25_000,
    "-----BEGIN " * 20_000,
    "-----BEGIN PRIVATE KEY-----" * 8_000,
    "://a:" * 40_000,
    "curl " * 40_000,
    "mysql " * 40_000,
    "authorization:" * 15_000,
    "ey" * 100_000,
    "adafruit" * 25_000 + "=" * 100_000,
    '"\\' * 100_000 + "token",
    "token" + " " * 200_000,
    "sourcegraph " + "a" * 200_000,
    "xoxe-" * 40_000,
    "bearer " * 30_000,
    "docker login " * 15_000,
    "redis-cli " * 20_000,
    "vault login -a " * 13_000,
    "sqlplus -a " * 18_000,
    "htpasswd -b " * 16_000,
    "htpasswd -b" + " a" * 100_000,
    "http " * 40_000,
    "machine a login b password " * 7_000,
    "login " * 33_000 + "password",
    "<password " * 20_000,
    "<password>" * 20_000,
    "cookie: a=" * 20_000,
    "mysql://a:" * 20_000,
    "mongodb://a:" + "a/" * 100_000,
    "://" + "a1" * 100_000,
    "db_pass" * 28_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:20])
def test_a_hostile_text_is_searched_to_its_end(text: str) -> None:
    """A pattern that takes more than linear time would not come back from 200,000 characters."""
    masked, count = secrets.mask(text, {})
    assert masked.count(secrets.MARK) == count
    assert (masked == text) == (count == 0)
