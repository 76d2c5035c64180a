"""Which secret logs in to the warehouse, and what is said when it cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from medallion.errors import SettingsError
from medallion.publish.snowflake_session import secret
from medallion.settings import Snowflake

PHRASE = "correct horse"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def written(path: Path, key: rsa.RSAPrivateKey, phrase: str | None) -> Path:
    encryption = serialization.BestAvailableEncryption(phrase.encode()) if phrase else serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    return path


@pytest.mark.parametrize("phrase", [None, PHRASE])
def test_a_key_pair_comes_before_a_password(tmp_path: Path, key: rsa.RSAPrivateKey, phrase: str | None) -> None:
    path = written(tmp_path / "key.p8", key, phrase)
    found = secret(
        Snowflake(private_key_path=path, private_key_passphrase=SecretStr(phrase) if phrase else None, password=SecretStr("x"))
    )
    assert set(found) == {"private_key"}
    loaded = serialization.load_der_private_key(found["private_key"], None)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    assert loaded.private_numbers() == key.private_numbers()


def test_a_password_alone_will_do() -> None:
    assert secret(Snowflake(password=SecretStr("open-sesame"))) == {"password": "open-sesame"}


@pytest.mark.parametrize("wrong", ["missing", "no key", "no passphrase", "wrong passphrase"])
def test_a_key_that_cannot_be_used_is_named(tmp_path: Path, key: rsa.RSAPrivateKey, wrong: str) -> None:
    path = tmp_path / "key.p8"
    if wrong == "no key":
        path.write_text("not a key")
    elif wrong != "missing":
        written(path, key, PHRASE)
    phrase = SecretStr("battery staple") if wrong == "wrong passphrase" else None
    with pytest.raises(SettingsError) as refused:
        secret(Snowflake(private_key_path=path, private_key_passphrase=phrase))
    assert str(path) in refused.value.message
    assert "SNOWFLAKE_PRIVATE_KEY_PATH" in (refused.value.hint or "")
    assert "battery" not in str(refused.value)


def test_no_secret_at_all_is_a_setting_that_is_missing() -> None:
    with pytest.raises(SettingsError, match="no secret") as refused:
        secret(Snowflake(password=None))
    assert refused.value.exit_code == 2
