"""API keys: those of API_KEYS, and those of API_KEYS_FILE, which are kept there as hashes.

A line of the file is `NAME:RIGHTS:SHA256`, made by `python main.py keys add`. While a key is rotated its name has two:
the last line is the new one, the one before it is good until it is removed. The hash is one SHA-256 and no slow one
(argon2, scrypt): those make guessing expensive where people choose the secret, and `new_key` has 256 random bits, which
nobody guesses at any speed. A slow hash would only let strangers burn our CPU with wrong keys.
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
from server.access.callers import ALL, Caller, Right

log = logging.getLogger(__name__)

PREFIX = "parley_"
"""Of keys made here: scanners for leaked secrets know it by this, and so do people."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAMED_KEY = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63}):([a-z]+(?:\+[a-z]+)*):(.+)")
SHA256 = re.compile(r"[0-9a-f]{64}")
WORD = re.compile(r"[a-z]+")
UNNAMED = "key-"
"""The name of an entry of API_KEYS without one: this, and its number."""
LOOK_EVERY_S = 1.0
"""A change of the file is seen this soon."""
GUESSABLE_CHARS = 20
"""A shorter key may be a word. `new_key` makes 50 characters."""
MAX_KEY_CHARS = 8192
"""Nothing longer is a key, or a JWT."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept."""

    name: str
    rights: frozenset[Right]
    sha256: str

    @property
    def line(self) -> str:
        """As the file has it."""
        return f"{self.name}:{'+'.join(sorted(self.rights))}:{self.sha256}"


def new_key() -> str:
    """A key that nobody has had before, with 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def hashed(key: str) -> str:
    """What is kept of a key. It may have any characters; what HTTP cannot carry never matches."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def parse_rights(text: str) -> frozenset[Right]:
    """Of "talk+transcribe" or "talk,transcribe". Raises ConfigError, which quotes nothing: it could be a key."""
    names = [name for name in re.split(r"[+,\s]+", text) if name]
    if not names or any(name not in set(Right) for name in names):
        raise ConfigError(f"The rights of a key are {', '.join(Right)}; several are joined by +.")
    return frozenset(Right(name) for name in names)


def entries_of_setting(api_keys: str) -> Iterator[tuple[str, str, str]]:
    """Name, rights ("" for all) and key of each entry of API_KEYS."""
    for number, entry in enumerate((entry.strip() for entry in api_keys.split(",") if entry.strip()), start=1):
        match = NAMED_KEY.fullmatch(entry)
        name, rights, key = match.groups() if match else (f"{UNNAMED}{number}", "", entry)
        yield name, rights, key


def _slipped(entry: str) -> bool:
    """Whether this is a NAME:RIGHTS:KEY that somebody has mistyped, and no key with a colon in it. Taken for a key, a
    name with its rights would open everything to whoever guesses them."""
    name, colon, rest = entry.partition(":")
    rights = WORD.findall(rest.partition(":")[0].lower())
    return bool(colon) and (NAME.fullmatch(name.strip()) is not None or not set(Right).isdisjoint(rights))


def weak(api_keys: str) -> list[str]:
    """Names of the keys of API_KEYS that are short enough to be guessed."""
    return [name for name, _, key in entries_of_setting(api_keys) if len(key) < GUESSABLE_CHARS]


def keys_of_setting(api_keys: str) -> list[Key]:
    """The keys of API_KEYS, each `KEY` (it may do everything) or `NAME:RIGHTS:KEY`. Raises ConfigError for what looks
    like the second and is not, and for a setting with nothing but empty entries: whoever writes it wants keys."""
    found: list[Key] = []
    for number, (name, rights, key) in enumerate(entries_of_setting(api_keys), start=1):
        try:
            if not rights and _slipped(key):
                raise ConfigError(
                    "it begins like NAME:RIGHTS:KEY and is none. Join rights by + (NAME:talk+transcribe:KEY); a key "
                    "that begins so itself is written NAME:admin:KEY."
                )
            found.append(Key(name, parse_rights(rights) if rights else ALL, hashed(key)))
        except ConfigError as error:
            raise ConfigError(f"API_KEYS, entry {number}: {error.message}") from None
    unnamed = {name for name, rights, _ in entries_of_setting(api_keys) if not rights}
    for name, rights, _ in entries_of_setting(api_keys):
        if rights and name in unnamed:
            raise ConfigError(f"API_KEYS: {name} is the name of an entry that has none; give that one or this another.")
    if api_keys and not found:
        raise ConfigError("API_KEYS is set, and all its entries are empty. Give it a key, or leave it away.")
    return found


class KeyFile:
    """API_KEYS_FILE, for whoever reads it and for whoever changes it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def signature(self) -> tuple[int, int, int] | None:
        """Another one when the file has changed, or who may read it; None when there is none."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_ctime_ns, found.st_size, found.st_ino)

    def read(self) -> tuple[list[Key], list[int]]:
        """Its keys, and the numbers of lines that are none. Raises ConfigError when it cannot be read."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ConfigError(f"API_KEYS_FILE={self._path} is not there. Make a key: {ADD}") from None
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

    def add(self, name: str, rights: frozenset[Right]) -> str:
        """Make a key; it is returned here and kept nowhere. Raises ConfigError when the name is taken or cannot be
        one."""
        if not NAME.fullmatch(name):
            raise ConfigError("The name of a key has at most 64 letters, digits, dots, dashes and underscores.")
        with self._changing() as keys:
            if any(key.name == name for key in keys):
                raise ConfigError(f"There is a key {name!r} already. Rotate it, or make one with another name.")
            made = new_key()
            keys.append(Key(name, rights, hashed(made)))
        return made

    def rotate(self, name: str) -> str:
        """Make another secret for a key, with its rights and, as its name stays, its jobs; it is returned here and kept
        nowhere. The one before is good until `remove_old`. Raises ConfigError when there is no such key, or when it has
        two already: a third would leave nobody knowing which is in use."""
        with self._changing() as keys:
            having = _having(keys, name)
            if len(having) > 1:
                raise ConfigError(f"{name!r} is being rotated already: python main.py keys remove {name} --old first.")
            made = new_key()
            keys.append(Key(name, having[-1].rights, hashed(made)))
        return made

    def remove(self, name: str) -> None:
        """All secrets of a key. Raises ConfigError when there is none of this name."""
        with self._changing() as keys:
            having = _having(keys, name)
            keys[:] = [key for key in keys if key not in having]

    def remove_old(self, name: str) -> None:
        """The secret that a key had before it was rotated. Raises ConfigError when it has but one."""
        with self._changing() as keys:
            *old, _ = _having(keys, name)
            if not old:
                raise ConfigError(f"The key {name!r} has no old secret: it was not rotated.")
            keys[:] = [key for key in keys if key not in old]

    @contextmanager
    def _changing(self) -> Iterator[list[Key]]:
        """The keys, to change them; written in one step when the block is done, so that a reader sees the old file or
        the new one. One at a time, by a lock beside the file. Raises ConfigError."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path.with_name(self._path.name + ".lock"), "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                keys, bad = self.read() if self._path.exists() else ([], [])
                if bad:
                    raise ConfigError(f"{self._path}: line {bad[0]} is no key; mend or delete it first.")
                yield keys
                self._write(keys)
        except OSError as error:
            raise ConfigError(f"API_KEYS_FILE={self._path} cannot be changed: {error.strerror}.") from None

    def _write(self, keys: list[Key]) -> None:
        header = "# NAME:RIGHTS:SHA256 of each key; python main.py keys add, list, rotate, remove\n"
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


ADD = "python main.py keys add NAME"


def _having(keys: list[Key], name: str) -> list[Key]:
    """The secrets of a key, the newest last. Raises ConfigError when there is none."""
    found = [key for key in keys if key.name == name]
    if not found:
        raise ConfigError(f"There is no key {name!r}.")
    return found


def _parse(line: str) -> Key:
    """Raises ValueError, ConfigError."""
    name, rights, sha256 = line.split(":")
    if not NAME.fullmatch(name) or not SHA256.fullmatch(sha256):
        raise ValueError
    return Key(name, parse_rights(rights), sha256)


class KeyRing:
    """All keys of a deployment. The file is looked at again when it has changed; what it had and has no more is
    refused from then on."""

    def __init__(self, api_keys: str, file: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises ConfigError for keys that make no sense."""
        self._fixed = keys_of_setting(api_keys)
        self._file = KeyFile(file) if file else None
        self._clock = clock
        self._looked_at = clock()
        self._signature = self._file.signature() if self._file else None
        self._filed: list[Key] = []
        if self._file:
            self._filed, bad = self._file.read()
            if bad:
                raise ConfigError(f"API_KEYS_FILE={file}: line {bad[0]} is no NAME:RIGHTS:SHA256.")

    def __bool__(self) -> bool:
        """Whether keys are asked for: with a file, also while it is empty."""
        return bool(self._fixed) or self._file is not None

    def find(self, sent: str) -> Caller | None:
        """Whose key this is. All are compared, each in constant time: how long it takes says nothing."""
        self._look()
        if not sent or len(sent) > MAX_KEY_CHARS:
            return None
        digest = hashed(sent)
        found: Key | None = None
        for key in (*self._fixed, *self._filed):
            if hmac.compare_digest(digest, key.sha256):
                found = key
        return Caller(found.name, found.rights, proof=found.sha256) if found else None

    def named(self, name: str) -> list[Key]:
        """The keys of this name that are (still) good."""
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
        except ConfigError as error:  # gone or unreadable: nobody comes in by it
            self._filed = []
            log.error("%s No key of it is good now.", error.message)
            return
        for number in bad:
            log.error("API_KEYS_FILE: line %d is no key, and is left out", number)
        log.info("API_KEYS_FILE has changed: %d keys", len(self._filed))
