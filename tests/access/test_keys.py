"""Keys: their format, storage, lookup, rotation and revocation."""

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from commands import cli
from pipeline.errors import ConfigError
from pipeline.settings import Settings
from server.access import Permission
from server.access.access import check_exposure
from server.access.callers import ALL
from server.access.keys import KeyRing, hashed, keys_of_setting, weak
from tests import forked
from tests.server_process import environment


class Clock:
    """Seconds that pass only when a test sets them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def command(*arguments: str, **settings: str) -> Result:
    return CliRunner().invoke(cli, ["keys", *arguments], env=settings)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "private" / "keys"


def add(file: Path, name: str, scopes: str = "talk") -> str:
    made = command("add", name, "--scopes", scopes, API_KEYS_FILE=str(file))
    assert made.exit_code == 0, made.output
    return made.stdout.strip()


def test_a_key_is_printed_once_and_only_its_hash_is_stored(file: Path) -> None:
    key = add(file, "anna", "talk+transcribe")
    assert len(key) > 43
    text = file.read_text()
    assert key not in text
    assert f"anna:talk+transcribe:{hashlib.sha256(key.encode()).hexdigest()}" in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert add(file, "ben") != key
    listed = command("list", API_KEYS_FILE=str(file)).stdout
    assert "anna" in listed
    assert "talk+transcribe" in listed
    assert hashed(key) not in listed


def test_a_running_service_picks_up_added_and_removed_keys(file: Path) -> None:
    first, clock = add(file, "anna"), Clock()
    ring = KeyRing("", file, clock)
    caller = ring.find(first)
    assert caller is not None
    assert (caller.name, caller.permissions) == ("anna", {Permission.TALK})
    second = add(file, "ben", "admin")
    assert ring.find(second) is None, "the file is checked once a second"
    clock.now += 1.1
    assert ring.find(second) is not None
    assert command("remove", "anna", API_KEYS_FILE=str(file)).exit_code == 0
    clock.now += 1.1
    assert ring.find(first) is None
    assert ring.find(second) is not None
    assert not ring.named("anna")


def test_a_broken_key_file_does_not_open_the_service(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    key, clock = add(file, "anna"), Clock()
    ring = KeyRing("", file, clock)
    file.write_text(file.read_text() + "carl:talk:5ecret-typed-by-hand\n")
    clock.now += 2
    assert ring.find(key) is not None
    assert "line 3" in caplog.text
    assert "5ecret" not in caplog.text
    with pytest.raises(ConfigError, match="line 3"):
        KeyRing("", file)
    file.unlink()
    clock.now += 2
    assert ring.find(key) is None
    assert ring, "keys are still required"
    with pytest.raises(ConfigError, match="keys add"):
        KeyRing("", file)


def test_a_key_file_is_read_again_once_it_is_readable(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Removing and restoring the read permission changes neither the file's size nor its modification time."""
    key, clock = add(file, "anna"), Clock()
    ring = KeyRing("", file, clock)
    written = file.stat()
    unreadable = file.read_bytes().replace(b"#", b"\xff")  # the user who runs the tests may be able to read every file
    file.write_bytes(unreadable)
    os.utime(file, ns=(written.st_atime_ns, written.st_mtime_ns))
    clock.now += 2
    assert ring.find(key) is None
    assert "cannot be read" in caplog.text
    file.write_bytes(unreadable.replace(b"\xff", b"#"))
    os.utime(file, ns=(written.st_atime_ns, written.st_mtime_ns))
    clock.now += 2
    assert ring.find(key) is not None


def test_a_rotated_key_has_two_secrets_until_the_old_one_is_removed(file: Path) -> None:
    old, other, clock = add(file, "anna", "talk+transcribe"), add(file, "ben"), Clock()
    ring = KeyRing("", file, clock)
    rotated = command("rotate", "anna", API_KEYS_FILE=str(file))
    assert rotated.exit_code == 0, rotated.output
    new = rotated.stdout.strip()
    clock.now += 1.1
    found = [ring.find(key) for key in (old, new)]
    assert [(one.kind, one.name, one.permissions) for one in found if one] == [
        ("key", "anna", {Permission.TALK, Permission.TRANSCRIBE})
    ] * 2
    listed = command("list", API_KEYS_FILE=str(file)).stdout.splitlines()
    assert [line.split("\t") for line in listed] == [
        ["anna", "talk+transcribe", "old"], ["ben", "talk", ""], ["anna", "talk+transcribe", "new"]
    ]  # fmt: skip
    again = command("rotate", "anna", API_KEYS_FILE=str(file))
    assert again.exit_code == 2
    assert "--old" in again.output
    assert command("remove", "anna", "--old", API_KEYS_FILE=str(file)).exit_code == 0
    clock.now += 1.1
    assert [ring.find(key) is not None for key in (old, new, other)] == [False, True, True]
    assert command("remove", "anna", "--old", API_KEYS_FILE=str(file)).exit_code == 2, "the key is gone"
    assert command("rotate", "carl", API_KEYS_FILE=str(file)).exit_code == 2


def test_removing_a_key_removes_both_its_secrets(file: Path) -> None:
    old = add(file, "anna")
    new = command("rotate", "anna", API_KEYS_FILE=str(file)).stdout.strip()
    assert command("remove", "anna", API_KEYS_FILE=str(file)).exit_code == 0
    ring = KeyRing("", file)
    assert [ring.find(key) for key in (old, new)] == [None, None]


def test_invalid_key_commands_are_refused(file: Path) -> None:
    add(file, "anna")
    for arguments, words in (
        (("add", "anna"), "already"),
        (("add", "an:na"), "letters"),
        (("add", "../anna"), "letters"),
        (("add", "ben", "--scopes", "everything"), "talk, transcribe, admin"),
        (("remove", "ben"), "no key"),
        (("add", "ben", "--file", "/proc/nowhere/keys"), "cannot be changed"),
    ):
        refused = command(*arguments, API_KEYS_FILE=str(file))
        assert refused.exit_code == 2, arguments
        assert words in refused.output
    assert len(file.read_text().splitlines()) == 2


def test_the_setting_accepts_plain_and_named_keys() -> None:
    plain, named = keys_of_setting("some=thing:odd+/, ben:talk+transcribe:abc:def ,")
    assert (plain.name, plain.permissions, plain.sha256) == ("key-1", ALL, hashed("some=thing:odd+/"))
    assert (named.name, named.permissions) == ("ben", {Permission.TALK, Permission.TRANSCRIBE})
    assert named.sha256 == hashed("abc:def")
    with pytest.raises(ConfigError) as raised:
        keys_of_setting("good, ben:talks:abc-secret")
    assert "entry 2" in raised.value.message
    assert "abc-secret" not in raised.value.message


@pytest.mark.parametrize(
    "entry",
    [
        "anna:talk,transcribe:5ecret",
        "anna:talk;transcribe:5ecret",
        "anna:talk transcribe:5ecret",
        "anna:Talk:5ecret",
        "anna:talk",
        "anna:5ecret",
        "anna::5ecret",
        "bob:talk:",
        "bob:talk: ",
        "transcribe:5ecret",
        "anna schmidt:talk:5ecret",
        "-bob:talk+admin:5ecret",
    ],
)
def test_a_malformed_entry_in_the_setting_is_refused(entry: str) -> None:
    with pytest.raises(ConfigError, match="API_KEYS, entry 2") as raised:
        check_exposure(Settings(api_keys=f"{'k' * 20},{entry}"))
    assert "5ecret" not in raised.value.message


@pytest.mark.parametrize("value", [",", " , ,", " "])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("anonymous", [True, False])
def test_a_setting_with_only_empty_keys_is_refused(value: str, host: str, anonymous: bool) -> None:
    with pytest.raises(ConfigError, match="all its entries are empty"):
        check_exposure(Settings(host=host, api_keys=value, allow_anonymous=anonymous))


@pytest.mark.parametrize("sent", ["", "wrong", "ключ", "\udcff", "a" * 100_000, "right ", "Right"])
def test_malformed_keys_are_rejected(sent: str) -> None:
    assert KeyRing("right", None).find(sent) is None


def test_guessable_keys_are_reported_without_being_shown() -> None:
    assert weak(f"hunter2, ben:talk:letmein, {'k' * 20}, anna:talk:{'k' * 20}") == ["key-1", "ben"]


def test_a_key_can_contain_any_letters() -> None:
    assert KeyRing("ключ", None).find("ключ") is not None


def test_all_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Any] = []
    real = __import__("hmac").compare_digest

    def noted(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return bool(real(one, other))

    monkeypatch.setattr("server.access.keys.hmac.compare_digest", noted)
    ring = KeyRing("first,second,third", None)
    for sent in ("first", "third", "nothing"):
        ring.find(sent)
    assert compared == [(64, 64)] * 9


@pytest.mark.parametrize("setting", ["api_keys", "api_keys_file", "jwt_secret", "jwt_jwks_url"])
def test_any_kind_of_key_allows_a_public_address(setting: str, file: Path) -> None:
    add(file, "anna")
    values = {"jwt_secret": "x" * 32, "jwt_jwks_url": "https://login.example/keys", "api_keys_file": str(file)}
    value = values.get(setting, "right")
    check_exposure(Settings(host="0.0.0.0", **{setting: value}))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="ALLOW_ANONYMOUS"):
        check_exposure(Settings(host="0.0.0.0"))


def test_concurrent_additions_both_keep_their_key(file: Path) -> None:
    """The file is locked while it changes. Each `add` is a separate process."""
    env = environment(API_KEYS_FILE=str(file))
    running = [
        forked.start("keys", "add", f"key{number}", folder=file.parents[1], env=env, stdout=True) for number in range(3)
    ]
    keys = [process.communicate(timeout=60)[0].strip() for process in running]
    ring = KeyRing("", file)
    assert all(ring.find(key) for key in keys)


def test_a_name_cannot_equal_that_of_an_unnamed_entry() -> None:
    """Both would be one caller, with one set of jobs."""
    with pytest.raises(ConfigError, match="key-2"):
        keys_of_setting(f"key-2:talk:{'k' * 30}, {'l' * 30}")
    assert [key.name for key in keys_of_setting(f"{'k' * 30}, key-3:talk:{'l' * 30}")] == ["key-1", "key-3"]
