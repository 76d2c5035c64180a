"""Settings: which source wins, and what is refused before anything is started."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medallion import settings
from medallion.contract import Origin
from medallion.errors import SettingsError
from medallion.settings import ROOT, Settings, load
from medallion.sources.asking import endpoint
from tests.unit.operations_rows import CONTRACTS

AIRLINES = CONTRACTS["bronze.operations.airlines"]


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of profiles of our own, with one called `test`, which is chosen; and a home."""
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "test.toml").write_text('[nessie]\nuri = "http://of-the-file"\ntimeout_s = 3\n')
    (folder / "embedded.toml").write_text("")
    for name, value in {"CONF": folder, "PROFILE": "test", "HOME": tmp_path / "home"}.items():
        monkeypatch.setenv(f"MEDALLION_{name}", str(value))
    load.cache_clear()
    yield folder
    load.cache_clear()


def test_the_environment_wins_over_the_file_over_the_defaults(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (load().nessie.uri, load().nessie.timeout_s, load().s3.region) == ("http://of-the-file", 3, "us-east-1")
    monkeypatch.setenv("MEDALLION_NESSIE__URI", "http://of-the-environment")
    load.cache_clear()
    assert (load().nessie.uri, load().nessie.timeout_s) == ("http://of-the-environment", 3)


def test_the_running_stack_wins_over_the_file_and_the_environment_over_it(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = conf.parent / "home"
    home.mkdir()
    stack = {"nessie": {"uri": "http://of-the-stack"}, "s3": {"endpoint": "http://of-the-stack"}}
    (home / "stack.json").write_text(json.dumps({"settings": stack}))
    assert load().nessie.uri == "http://of-the-file", "only the profile 'embedded' has a stack"
    (conf / "embedded.toml").write_text('[nessie]\nuri = "http://of-the-file"\ntimeout_s = 3\n')
    monkeypatch.setenv("MEDALLION_PROFILE", "embedded")
    monkeypatch.setenv("MEDALLION_S3__ENDPOINT", "http://of-the-environment")
    load.cache_clear()
    assert (load().nessie.uri, load().nessie.timeout_s) == ("http://of-the-stack", 3)
    assert load().s3.endpoint == "http://of-the-environment"


SHOWN = {
    "nessie": {"uri": "http://of-the-stack"},
    "snowflake": {"host": "of-the-stack", "port": 1, "protocol": "http", "user": "medallion", "password": "of the stack"},
    "sources": {
        "weather_service": {"url": "http://of-the-stack", "user": "medallion", "password": "of the stack"},
        "shop": {"url": "/of/the/stack"},
    },
}
"""What a running stack writes down."""


def test_sources_come_from_the_file_the_stack_and_the_environment_over_both(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = conf.parent / "home"
    home.mkdir()
    (home / "stack.json").write_text(json.dumps({"settings": SHOWN}))
    (conf / "embedded.toml").write_text(
        '[sources.x]\nurl = "http://of-the-file"\ntries = 7\n[sources.shop]\nurl = "/of/the/file"\n'
    )
    monkeypatch.setenv("MEDALLION_PROFILE", "embedded")
    monkeypatch.setenv("MEDALLION_SOURCES__WEATHER_SERVICE__URL", "http://of-the-environment")
    monkeypatch.setenv("MEDALLION_SOURCES__X__TIMEOUT_S", "2")
    found = load().sources
    assert {name: source.url for name, source in found.items()} == {
        "x": "http://of-the-file", "weather_service": "http://of-the-environment", "shop": "/of/the/stack"
    }  # fmt: skip
    assert (found["x"].tries, found["x"].timeout_s) == (7, 2.0)
    assert found["weather_service"].password is None, "the stack's secret must not be sent elsewhere"
    origin = Origin("http", "x", "/{year}.json")
    assert endpoint(found, AIRLINES, origin) == found["x"]


def test_a_stack_that_was_just_started_is_below_the_environment(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load()
    monkeypatch.setenv("MEDALLION_SOURCES__WEATHER_SERVICE__URL", "http://of-the-environment")
    monkeypatch.setenv("MEDALLION_NESSIE__TIMEOUT_S", "4")
    monkeypatch.setenv("MEDALLION_HOME", "/of/the/environment")
    monkeypatch.setenv("SNOWFLAKE_ACCOUNT", "org-acct")
    found = settings.over(before, SHOWN)
    assert (found.sources["weather_service"].url, found.sources["weather_service"].user) == ("http://of-the-environment", None)
    assert (found.sources["shop"].url, found.nessie.uri, found.nessie.timeout_s) == ("/of/the/stack", "http://of-the-stack", 4.0)
    assert (found.snowflake.account, found.snowflake.host, found.snowflake.password) == ("org-acct", None, None)
    assert found.home == before.home, "what the stack does not have is as it was"


def test_kafka_s_client_is_told_more_by_the_file_and_by_the_environment(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (conf / "test.toml").write_text(
        '[lineage]\ntransport = "kafka"\nservers = "one:9092"\ntopic = "events"\n'
        '[lineage.properties]\n"security.protocol" = "SASL_SSL"\n"sasl.password" = "of the file"\n'
    )
    monkeypatch.setenv("MEDALLION_LINEAGE__PROPERTIES", '{"sasl.password": "of the environment"}')
    found = load().lineage.properties
    assert {name: value.get_secret_value() for name, value in found.items()} == {
        "security.protocol": "SASL_SSL", "sasl.password": "of the environment"
    }  # fmt: skip
    assert "of the" not in repr(load())


@pytest.mark.parametrize("value", ["false", "0"])
def test_a_false_value_is_a_value(conf: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MEDALLION_S3__PATH_STYLE", value)
    assert load().s3.path_style is False


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("colour = 'red'", "colour: "),
        ("[nessie]\nurl = 'http://x'", r"nessie\.url: "),
        ("[nessie]\ntimeout_s = 'soon'", r"nessie\.timeout_s: .*number"),
        ("warehouse = 'oracle'", "warehouse: .*snowflake"),
        ("nessie = 'http://x'", "nessie: "),
        ('[lineage]\ntransport = "kafka"\nservers = "one:9092"', r"lineage: .*kafka: set lineage\.topic"),
        ('[lineage.properties]\n"bootstrap.servers" = "one:9092"', r"lineage: .*bootstrap\.servers: set lineage\.servers"),
        ("[lineage.properties]\nacks = '0'", "lineage: .*acks: it is always as many as there are"),
        ("[nessie\nuri = 1", r"test\.toml is not valid TOML: .*line 1"),
    ],
)
def test_a_file_with_what_is_no_setting_is_refused_by_name(conf: Path, text: str, told: str) -> None:
    (conf / "test.toml").write_text(text)
    with pytest.raises(SettingsError, match=told) as refused:
        load()
    assert refused.value.exit_code == 2
    assert "test" in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MEDALLION_NESIE__URI", "http://x", "MEDALLION_NESIE__URI is no setting"),
        ("MEDALLION_NESSIE__URL", "http://x", "MEDALLION_NESSIE__URL is no setting"),
        ("MEDALLION_NESSIE_URI", "http://x", "MEDALLION_NESSIE_URI is no setting"),
        ("medallion_colour", "red", "medallion_colour is no setting"),
        ("MEDALLION_POSTGRES__PORT", "five", r"postgres\.port: .*integer"),
        ("MEDALLION_POSTGRES__PORT", "", r"postgres\.port: .*integer"),
        ("MEDALLION_SPARK__UI", "perhaps", r"spark\.ui: .*boolean"),
        ("MEDALLION_NESSIE", "http://x", 'field "nessie"'),
        ("MEDALLION_NESSIE", '{"url": "http://x"}', r"nessie\.url"),
        ("MEDALLION_PROFILE", "producton", r"profile 'producton' has no file .*producton\.toml"),
    ],
)
def test_an_environment_with_what_is_no_setting_is_refused_by_name(
    conf: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=told) as refused:
        load()
    assert refused.value.exit_code == 2
    assert refused.value.hint


def test_a_profile_that_does_not_exist_is_refused_with_those_that_do(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_PROFILE", "nowhere")
    with pytest.raises(SettingsError) as refused:
        load()
    assert "embedded, test" in (refused.value.hint or "")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_torn_record_of_the_stack_is_refused(conf: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    home = conf.parent / "home"
    home.mkdir()
    (home / "stack.json").write_text(text)
    monkeypatch.setenv("MEDALLION_PROFILE", "embedded")
    with pytest.raises(SettingsError, match=r"home/stack\.json"):
        load()


@pytest.mark.parametrize("account", ["org-acct", "org-acct.snowflakecomputing.com", "https://org-acct.snowflakecomputing.com/"])
def test_a_real_account_replaces_the_emulator_whole(conf: Path, monkeypatch: pytest.MonkeyPatch, account: str) -> None:
    (conf / "test.toml").write_text(
        '[snowflake]\nhost = "127.0.0.1"\nport = 1\nprotocol = "http"\npassword = "of the emulator"\n'
    )
    assert load().snowflake.emulated
    monkeypatch.setenv("SNOWFLAKE_ACCOUNT", account)
    monkeypatch.setenv("SNOWFLAKE_ROLE", "LOADER")
    load.cache_clear()
    found = load().snowflake
    assert (found.account, found.role, found.host, found.port, found.protocol) == ("org-acct", "LOADER", None, None, "https")
    assert found.password is None, "the emulator's secret must not be sent to a real account"


def test_secrets_are_hidden_wherever_settings_are_shown(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "POSTGRES__PASSWORD",
        "S3__SECRET_KEY",
        "NESSIE__TOKEN",
        "SNOWFLAKE__PASSWORD",
        "SNOWFLAKE__PRIVATE_KEY_PASSPHRASE",
    }
    for name in secrets:
        monkeypatch.setenv(f"MEDALLION_{name}", "open-sesame")
    found = load()
    assert found.postgres.password.get_secret_value() == "open-sesame"
    shown = [repr(found), str(found), str(found.model_dump()), found.model_dump_json(), repr(vars(found))]
    assert not any("open-sesame" in text for text in shown)
    assert all(text.count("**********") >= len(secrets) for text in shown[:1])


def test_a_broken_secret_is_not_shown_in_its_error(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_POSTGRES", '{"password": {"open-sesame": 1}}')
    with pytest.raises(SettingsError) as refused:
        load()
    assert "postgres.password" in refused.value.message
    assert "open-sesame" not in str(refused.value)


def test_every_setting_is_documented() -> None:
    rows = [line for line in (ROOT / "docs" / "settings.md").read_text("utf-8").splitlines() if line.startswith("| `")]
    documented = set()
    for row in rows:
        keys = [key.strip(" `") for key in row.split("|")[1].split(",")]
        documented |= {key if not key.startswith(".") else keys[0].split(".")[0] + key for key in keys}
    parts = {name: getattr(field.annotation, "model_fields", None) for name, field in Settings.model_fields.items()}
    assert documented == {
        key for name, inner in parts.items() for key in ([f"{name}.{each}" for each in inner] if inner else [name])
    }


def test_a_wrong_setting_is_told_in_two_lines_and_no_traceback() -> None:
    program = [sys.executable, "-c", "from medallion.cli import main; main()", "runs"]
    environment = {"PATH": "/usr/bin:/bin", "MEDALLION_COLOUR": "red"}
    told = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (2, "")
    lines = told.stderr.splitlines()
    assert lines[0] == "error: the environment variable MEDALLION_COLOUR is no setting of medallion"
    assert len(lines) == 2
    assert lines[1].startswith("  → ")


def test_the_log_s_place_can_be_told_even_if_settings_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    from medallion import terminal

    def broken() -> Settings:
        raise RuntimeError("no settings")

    monkeypatch.setattr(settings, "load", broken)
    assert terminal.guard(lambda: None) == 1
