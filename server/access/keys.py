"""API keys: those of API_KEYS, and those of API_KEYS_FILE, which stores hashes.

A line of the file is `NAME:PERMISSIONS:SHA256`, made by `python main.py keys add`. During a rotation two lines have the
same name: the last line is the new key, and the one before it is valid until it is removed. The hash is a single
SHA-256, not a slow hash (argon2, scrypt). Slow hashes make guessing expensive when people choose the secret; `new_key`
has 256 random bits, which cannot be guessed at any speed. A slow hash would only let strangers burn our CPU with wrong
keys.
"""

import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.support.installing import COMMAND
from server.access.callers import ALL, Caller, Permission

log = logging.getLogger(__name__)

PREFIX = "parley_"
"""Prefix of keys made here, by which people and scanners for leaked secrets recognise them."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAMED_KEY = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63}):([a-z]+(?:\+[a-z]+)*):(.+)")
SHA256 = re.compile(r"[0-9a-f]{64}")
WORD = re.compile(r"[a-z]+")
UNNAMED = "key-"
"""Prefix of the name of an API_KEYS entry without a name; the entry's number follows."""
LOOK_EVERY_S = 1.0
"""Seconds between checks of the file for changes."""
GUESSABLE_CHARS = 20
"""Length below which a key may be a guessable word. `new_key` makes 50 characters."""
MAX_KEY_CHARS = 8192
"""Maximum length of a key or JWT."""


@dataclass(frozen=True, slots=True)
class Key:
    """A stored key."""

    name: str
    permissions: frozenset[Permission]
    sha256: str

    @property
    def line(self) -> str:
        """The key's line in the file."""
        return f"{self.name}:{'+'.join(sorted(self.permissions))}:{self.sha256}"


def new_key() -> str:
    """Return a new key with 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def hashed(key: str) -> str:
    """Return the hash that is stored for a key. Any characters are accepted; a key with characters that HTTP cannot
    carry never matches."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def parse_permissions(text: str) -> frozenset[Permission]:
    """Parse "talk+transcribe" or "talk,transcribe". Raises ConfigError, which does not quote the text: it could be a
    key."""
    names = [name for name in re.split(r"[+,\s]+", text) if name]
    if not names or any(name not in set(Permission) for name in names):
        raise ConfigError(f"The permissions of a key are {', '.join(Permission)}; join several by +.")
    return frozenset(Permission(name) for name in names)


def entries_of_setting(api_keys: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, permissions ("" for all) and key of each entry of API_KEYS."""
    for number, entry in enumerate((entry.strip() for entry in api_keys.split(",") if entry.strip()), start=1):
        match = NAMED_KEY.fullmatch(entry)
        name, permissions, key = match.groups() if match else (f"{UNNAMED}{number}", "", entry)
        yield name, permissions, key


def _slipped(entry: str) -> bool:
    """Whether this is a mistyped NAME:PERMISSIONS:KEY, not a key that contains a colon. Accepting it as a key would
    grant every permission to a caller that guesses the name and its permissions."""
    name, colon, rest = entry.partition(":")
    permissions = WORD.findall(rest.partition(":")[0].lower())
    return bool(colon) and (NAME.fullmatch(name.strip()) is not None or not set(Permission).isdisjoint(permissions))


def weak(api_keys: str) -> list[str]:
    """Return the names of the keys of API_KEYS that are short enough to be guessed."""
    return [name for name, _, key in entries_of_setting(api_keys) if len(key) < GUESSABLE_CHARS]


def keys_of_setting(api_keys: str) -> list[Key]:
    """Parse API_KEYS, whose entries are `KEY` (with all permissions) or `NAME:PERMISSIONS:KEY`. Raises ConfigError for
    an entry that resembles the second form but is invalid, and for a setting with only empty entries, because an
    operator who sets it wants keys."""
    found: list[Key] = []
    for number, (name, permissions, key) in enumerate(entries_of_setting(api_keys), start=1):
        try:
            if not permissions and _slipped(key):
                raise ConfigError(
                    "it looks like NAME:PERMISSIONS:KEY but is invalid. Join permissions by + "
                    "(NAME:talk+transcribe:KEY). If the key itself begins like this, write NAME:admin:KEY."
                )
            found.append(Key(name, parse_permissions(permissions) if permissions else ALL, hashed(key)))
        except ConfigError as error:
            raise ConfigError(f"API_KEYS, entry {number}: {error.message}") from None
    unnamed = {name for name, permissions, _ in entries_of_setting(api_keys) if not permissions}
    for name, permissions, _ in entries_of_setting(api_keys):
        if permissions and name in unnamed:
            raise ConfigError(f"API_KEYS: {name} is also the default name of an unnamed entry; rename one of the two.")
    if api_keys and not found:
        raise ConfigError("API_KEYS is set, but all its entries are empty. Add a key, or remove the setting.")
    return found


class KeyFile:
    """Reads and changes API_KEYS_FILE."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def signature(self) -> tuple[int, int, int] | None:
        """Return a value that differs when the file's content or mode has changed; None without a file."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_ctime_ns, found.st_size, found.st_ino)

    def read(self) -> tuple[list[Key], list[int]]:
        """Return the keys and the numbers of invalid lines. Raises ConfigError when the file cannot be read."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ConfigError(f"API_KEYS_FILE={self._path} does not exist. Make a key: {ADD}") from None
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"API_KEYS_FILE={self._path} cannot be read.") from None
        keys: list[Key] = []
        bad: list[int] = []
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            try:
                keys.append(_parse(line.strip()))
            except (ConfigError, ValueError):
                bad.append(number)
        return keys, bad

    def add(self, name: str, permissions: frozenset[Permission]) -> str:
        """Make a key and return it; only its hash is stored. Raises ConfigError for a name that exists or is
        invalid."""
        if not NAME.fullmatch(name):
            raise ConfigError("The name of a key has at most 64 letters, digits, dots, dashes and underscores.")
        with self._changing() as keys:
            if any(key.name == name for key in keys):
                raise ConfigError(f"The key {name!r} exists already. Rotate it, or choose another name.")
            made = new_key()
            keys.append(Key(name, permissions, hashed(made)))
        return made

    def rotate(self, name: str) -> str:
        """Make a new secret for a key and return it; only its hash is stored. The key keeps its permissions and,
        because its name stays, its jobs. The old secret is valid until `remove_old`. Raises ConfigError if there is no
        such key, or if it has two secrets already: with a third, it would be unclear which one is in use."""
        with self._changing() as keys:
            having = _having(keys, name)
            if len(having) > 1:
                raise ConfigError(f"{name!r} is being rotated already: {COMMAND} keys remove {name} --old first.")
            made = new_key()
            keys.append(Key(name, having[-1].permissions, hashed(made)))
        return made

    def remove(self, name: str) -> None:
        """Remove all secrets of a key. Raises ConfigError if there is no key with this name."""
        with self._changing() as keys:
            having = _having(keys, name)
            keys[:] = [key for key in keys if key not in having]

    def remove_old(self, name: str) -> None:
        """Remove the secret that a key had before its rotation. Raises ConfigError if it has only one secret."""
        with self._changing() as keys:
            *old, _ = _having(keys, name)
            if not old:
                raise ConfigError(f"The key {name!r} has no old secret: it was not rotated.")
            keys[:] = [key for key in keys if key not in old]

    @contextmanager
    def _changing(self) -> Iterator[list[Key]]:
        """Yield the keys for changes and write them atomically after the block, so that a reader sees either the old or
        the new file. A lock file beside it serialises changes. Raises ConfigError."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path.with_name(self._path.name + ".lock"), "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                keys, bad = self.read() if self._path.exists() else ([], [])
                if bad:
                    raise ConfigError(f"{self._path}: line {bad[0]} is not a valid key; fix or delete it first.")
                yield keys
                self._write(keys)
        except OSError as error:
            raise ConfigError(f"API_KEYS_FILE={self._path} cannot be changed: {error.strerror}.") from None

    def _write(self, keys: list[Key]) -> None:
        header = f"# NAME:PERMISSIONS:SHA256 of each key; {COMMAND} keys add, list, rotate, remove\n"
        mode = self._path.stat().st_mode & 0o777 if self._path.exists() else 0o600
        with tempfile.NamedTemporaryFile("w", dir=self._path.parent, prefix=self._path.name, delete=False) as file:
            try:
                file.write(header + "".join(f"{key.line}\n" for key in keys))
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, mode)
                os.replace(file.name, self._path)
            except BaseException:
                os.unlink(file.name)
                raise


ADD = f"{COMMAND} keys add NAME"


def _having(keys: list[Key], name: str) -> list[Key]:
    """Return the secrets of a key, the newest last. Raises ConfigError if there are none."""
    found = [key for key in keys if key.name == name]
    if not found:
        raise ConfigError(f"There is no key {name!r}.")
    return found


def _parse(line: str) -> Key:
    """Raises ValueError, ConfigError."""
    name, permissions, sha256 = line.split(":")
    if not NAME.fullmatch(name) or not SHA256.fullmatch(sha256):
        raise ValueError
    return Key(name, parse_permissions(permissions), sha256)


class KeyRing:
    """All keys of a deployment. Reads the file again when it has changed; a key that was removed from it is rejected
    from then on."""

    def __init__(self, api_keys: str, file: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises ConfigError for invalid keys."""
        self._fixed = keys_of_setting(api_keys)
        self._file = KeyFile(file) if file else None
        self._clock = clock
        self._looked_at = clock()
        self._signature = self._file.signature() if self._file else None
        self._filed: list[Key] = []
        if self._file:
            self._filed, bad = self._file.read()
            if bad:
                raise ConfigError(f"API_KEYS_FILE={file}: line {bad[0]} is not NAME:PERMISSIONS:SHA256.")

    def __bool__(self) -> bool:
        """Whether callers must have a key: with a file, even while it is empty."""
        return bool(self._fixed) or self._file is not None

    def find(self, sent: str) -> Caller | None:
        """Return the caller with this key, or None. Compares all keys, each in constant time, so that the duration
        reveals nothing."""
        self._look()
        if not sent or len(sent) > MAX_KEY_CHARS:
            return None
        digest = hashed(sent)
        found: Key | None = None
        for key in (*self._fixed, *self._filed):
            if hmac.compare_digest(digest, key.sha256):
                found = key
        return Caller(found.name, found.permissions, proof=found.sha256) if found else None

    def named(self, name: str) -> list[Key]:
        """Return the valid keys with this name."""
        self._look()
        return [key for key in (*self._fixed, *self._filed) if key.name == name]

    def _look(self) -> None:
        if self._file is None or self._clock() - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = self._clock()
        signature = self._file.signature()
        if signature == self._signature:
            return
        self._signature = signature
        try:
            self._filed, bad = self._file.read()
        except ConfigError as error:  # missing or unreadable: reject its keys
            self._filed = []
            log.error("%s None of its keys is valid now.", error.message)
            return
        for number in bad:
            log.error("API_KEYS_FILE: line %d is not a valid key and is ignored", number)
        log.info("API_KEYS_FILE has changed: %d keys", len(self._filed))
