"""Secrets are hidden in addresses, connection strings, headers, errors and values of the environment."""

import base64
import string
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lycoris.errors import InputError
from lycoris.safety.redaction import has_secret, redact, redact_error, redact_values

ROOT = Path(__file__).parents[2]
HARMLESS = [
    "s3://bucket/key", "http://127.0.0.1:5050/a@b", "models:/grumble@champion", "file:///mnt/share/a@b",
    "https://huggingface.co/model@main", "tcp://10.0.0.1:8786", "https://example.org/x?page=2&sort=key",
    "a token limit of 77 tokens", "the password: set it", "me@example.org", "C:/Users/me@home", "12:30:15",
    'export PREFECT_API_AUTH_STRING="$(cat runs/server/prefect-auth)"', "Basic training", "--set seeds=0,1",
    "sqlite:////srv/mlflow.db", "image:tag@sha256:abc", "concept_tag=red, max_tokens=75", "git@github.com:me/x.git",
]  # fmt: skip
SECRETS = st.text(string.ascii_letters + string.digits + string.punctuation, min_size=8, max_size=30).filter(
    lambda text: text.isprintable() and len(set(text) - set(string.punctuation)) > 3
)
"""Passwords with every character of a keyboard, escaped or not."""
NAMES = st.sampled_from(
    ["password", "token", "sig", "access_token", "X-Amz-Signature", "X-Amz-Security-Token", "api_key", "apikey", "key",
     "secret", "AWSAccessKeyId", "Signature", "client_secret", "auth", "private_token", "x%2Damz%2Dcredential"]
)  # fmt: skip
SCHEMES = st.sampled_from(["https", "http", "postgresql+asyncpg", "s3", "sftp", "mysql", "redis", "ssh", "webdav"])
USERS = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=12)


@pytest.mark.parametrize("text", HARMLESS)
def test_texts_without_secrets_are_unchanged(text):
    assert redact(text) == text
    assert not has_secret(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ann:pass@host/x", "https://***@host/x"),
        ("https://ann:pa/ss@host/x", "https://***@host/x"),
        ("https://ann:p@ss@host/x", "https://***@host/x"),
        ("https://hf_token@host/x", "https://***@host/x"),
        ("https:/ann:pass@host/x", "https:/***@host/x"),
        ("https://:pass@host", "https://***@host"),
        ("http://127.0.0.1:80@host", "http://***@host"),
        ("`https://host/?password=a&page=2`", "`https://host/?password=***&page=2`"),
        ("https://host/?page=2&sig=a%2Fb.", "https://host/?page=2&sig=***."),
        ("https://host/#access_token=abc", "https://host/#access_token=***"),
        ("https://host/a,https://ann:pass@host", "https://host/a,https://***@host"),
        ("proxy ann:pass@host:80", "proxy ***@host:80"),
        ("host=db password=hunter2 user=ann", "host=db password=*** user=ann"),
        ("AccountName=a;AccountKey=abc==;x", "AccountName=a;AccountKey=***"),
        ('{"password": "a b", "x": 1}', '{"password": ***, "x": 1}'),
        ("{'access_token': 'abc'}", "{'access_token': ***}"),
        ("Authorization: Basic dXNlcjpw", "Authorization: Basic ***"),
        ("got Bearer abcdefgh.x-y", "got Bearer ***"),
        ("hf_0123456789 ghp_0123456789 AKIA0123456789ABCDEF", "*** *** ***"),
    ],
)
def test_secrets_are_replaced_and_the_rest_is_kept(text, shown):
    assert redact(text) == shown
    assert redact(shown) == shown


@settings(max_examples=300, deadline=None, derandomize=True)
@given(SCHEMES, USERS, SECRETS, st.booleans())
def test_no_password_of_an_address_is_shown(scheme, user, secret, escaped):
    written = quote(secret, safe="") if escaped else secret
    shown = redact(f"cannot open `{scheme}://{user}:{written}@host.example/path`: refused")
    assert secret not in shown
    assert written not in shown
    assert shown == f"cannot open `{scheme}://***@host.example/path`: refused"


@settings(max_examples=300, deadline=None, derandomize=True)
@given(SCHEMES, SECRETS.map(lambda text: quote(text, safe="")))
def test_no_token_in_place_of_a_user_is_shown(scheme, secret):
    assert redact(f"{scheme}://{secret}@host/x {scheme}:/{secret}@host") == f"{scheme}://***@host/x {scheme}:/***@host"


@settings(max_examples=300, deadline=None, derandomize=True)
@given(NAMES, SECRETS, st.sampled_from([quote, quote_plus]), st.sampled_from(["?", "?page=1&", "#", "?x;"]))
def test_no_secret_parameter_is_shown(name, secret, escape, before):
    written = escape(secret, safe="")
    shown = redact(f"GET https://host/x{before}{name}={written}&more=1 failed")
    assert written not in shown
    assert shown.startswith(f"GET https://host/x{before}{name}=***")
    assert shown.endswith("&more=1 failed")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(SECRETS, st.sampled_from(["HF_TOKEN", "DB_PASSWORD", "MY_API_KEY", "AZURE_STORAGE_CONNECTION_STRING", "X_PAT"]))
def test_no_secret_of_the_environment_is_shown_in_any_form(secret, name):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, secret)
        for form in (secret, quote(secret, safe=""), quote_plus(secret), base64.b64encode(secret.encode()).decode()):
            shown = redact(f"it was {form} there")
            assert form not in shown
            assert shown.startswith("it was ***")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(SECRETS, USERS)
def test_passwords_of_addresses_and_auth_strings_in_the_environment_are_secrets(secret, user):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"http://{user}:{quote(secret, safe='')}@host:5050")
        assert secret not in redact(f"login {secret} failed")
        patch.setenv("MLFLOW_TRACKING_URI", "")
        patch.setenv("PREFECT_API_AUTH_STRING", f"{user}:{secret}")
        assert secret not in redact(f"login {secret} failed")
        token = base64.b64encode(f"{user}:{secret}".encode()).decode()
        assert token not in redact(f"sent {token}")


def test_nested_values_and_paths_are_redacted_and_images_are_not_searched():
    data = f"data:image/png;base64,{base64.b64encode(b'x' * 99).decode()}&token=1"
    value = {"a": ["https://u:p@h", 1, None], "b": {"c": Path("s3://u:p@h/x")}, "d": ("https://t@h",), "e": data}
    assert redact_values(value) == {
        "a": ["https://***@h", 1, None], "b": {"c": "s3:/***@h/x"}, "d": ["https://***@h"], "e": data,
    }  # fmt: skip


def test_errors_and_their_causes_are_redacted():
    cause = FileNotFoundError(2, "No such file", "/x/https://u:p@h")
    error = InputError("`https://ann:pass@host` is not there")
    error.__cause__ = cause
    cause.__context__ = error  # a circle ends
    redact_error(error)
    assert str(error) == "`https://***@host` is not there"
    assert "u:p" not in str(cause)
    assert "No such file" in str(cause)


def test_every_task_and_flow_redacts_the_errors_that_prefect_stores():
    found = 0
    for file in [*(ROOT / "tasks").rglob("*.py"), *(ROOT / "flows").rglob("*.py")]:
        lines = file.read_text().splitlines()
        for number, line in enumerate(lines):
            if line.startswith(("@task", "@flow")):
                assert lines[number + 1] == "@redacting_errors", f"{file}:{number + 1}"
                found += 1
    assert found >= 15
