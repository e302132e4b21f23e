"""Consents of speakers to a voice made from their recordings: each with its date, its language and its recording.

`VOICES_DIR/.consents/ID/` has `consent.json` and `recording.wav`. The folder is hidden from the catalogue of voices,
and private, because it contains what people said.
"""

import json
import logging
import re
import secrets
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipeline.audio.clip import Clip, encode_wav
from pipeline.errors import BadInput, ParleyError
from pipeline.listening.vad import has_speech
from pipeline.support.private_files import opener, private_folder
from pipeline.support.storage_errors import storing
from pipeline.voices.catalogue import Voices

log = logging.getLogger(__name__)

FOLDER = ".consents"
PREFIX = "cons_"
"""Beginning of each id."""
MIN_S, MAX_S = 1.0, 60.0
"""Limits for the recording."""
MAX_CONSENTS = 1000
_ID = re.compile(r"cons_[0-9a-f]{32}")
_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,4}")
"""A BCP 47 tag."""


@dataclass(frozen=True, slots=True)
class Consent:
    """A speaker's consent."""

    id: str
    name: str
    """Label, usually the speaker's name."""
    language: str
    """BCP 47 tag of what the speaker says."""
    created_at: int
    """Unix time."""


class Consents:
    """The consents of a deployment. All methods block."""

    def __init__(self, voices_dir: Path) -> None:
        self._voices_dir = voices_dir
        self._folder = voices_dir / FOLDER

    def add(self, name: str, language: str, recording: Clip) -> Consent:
        """Keep a new consent. Raises BadInput: bad_parameter, bad_audio; StorageError."""
        if not _TAG.fullmatch(language):
            raise BadInput("Send a language tag like en-US.", code="bad_parameter", param="language")
        if not MIN_S <= recording.seconds <= MAX_S or not has_speech(recording):
            raise BadInput(f"Send {MIN_S:g} to {MAX_S:g} s of speech.", code="bad_audio", param="recording")
        consent = Consent(PREFIX + secrets.token_hex(16), _label(name), language, int(time.time()))
        with storing("VOICES_DIR"):
            if len(self._ids()) >= MAX_CONSENTS:
                raise BadInput(f"There are {MAX_CONSENTS} consents already.", code="bad_parameter")
            self._voices_dir.mkdir(parents=True, exist_ok=True)
            # Hidden until it is complete.
            part = self._folder / f".new-{consent.id}"
            private_folder(part)
            try:
                with open(part / "recording.wav", "xb", opener=opener) as file:
                    file.write(encode_wav(recording))
                _write(part, consent)
                part.rename(self._folder / consent.id)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
        return consent

    def get(self, consent_id: str) -> Consent:
        """Return a consent. Raises BadInput (consent_not_found); StorageError."""
        with storing("VOICES_DIR"):
            try:
                if _ID.fullmatch(consent_id):  # it becomes a path
                    return Consent(**json.loads((self._folder / consent_id / "consent.json").read_text("utf-8")))
            except FileNotFoundError:
                pass
            except (ValueError, TypeError):
                log.warning("the consent %s cannot be read: consent.json is damaged", consent_id)
        raise _missing(consent_id)

    def newest(self) -> list[Consent]:
        """Return all consents, the newest first. Raises StorageError."""
        found = []
        for consent_id in self._ids():
            try:
                found.append(self.get(consent_id))
            except BadInput:  # deleted after the listing
                continue
        return sorted(found, key=lambda one: (one.created_at, one.id), reverse=True)

    def rename(self, consent_id: str, name: str) -> Consent:
        """Change the label of a consent. Raises BadInput: consent_not_found, bad_parameter; StorageError."""
        consent = replace(self.get(consent_id), name=_label(name))
        with storing("VOICES_DIR"):
            _write(self._folder / consent_id, consent)
        return consent

    def delete(self, consent_id: str, voices: Voices) -> None:
        """Delete a consent and its recording. Raises BadInput (consent_not_found); ParleyError (consent_in_use) while a
        voice depends on it; StorageError."""
        self.get(consent_id)
        if users := [voice.name for voice in voices if voice.consent == consent_id]:
            raise ParleyError(
                f"The voice {users[0]!r} depends on this consent; delete the voice first.", code="consent_in_use"
            )
        with storing("VOICES_DIR"):
            gone = self._folder / f".gone-{consent_id}"
            try:
                (self._folder / consent_id).rename(gone)
            except FileNotFoundError:  # another caller was faster
                raise _missing(consent_id) from None
            shutil.rmtree(gone)

    def _ids(self) -> list[str]:
        with storing("VOICES_DIR"):
            return [path.name for path in self._folder.glob(f"{PREFIX}*")] if self._folder.is_dir() else []


def _missing(consent_id: str) -> BadInput:
    return BadInput(f"There is no consent {consent_id[:60]!r}.", code="consent_not_found", param="consent")


def _label(name: str) -> str:
    plain = " ".join("".join(char if char.isprintable() else " " for char in name).split())
    if not plain:
        raise BadInput("Send a name for the consent.", code="bad_parameter", param="name")
    return plain


def _write(folder: Path, consent: Consent) -> None:
    """Write the description; a reader sees the old or the new one. Raises OSError."""
    part = folder / f".{secrets.token_hex(4)}.json"
    with open(part, "x", encoding="utf-8", opener=opener) as file:
        json.dump(asdict(consent), file, ensure_ascii=False)
    part.rename(folder / "consent.json")
