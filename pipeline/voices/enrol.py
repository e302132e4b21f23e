"""Add a voice from a recording: write a folder in VOICES_DIR with the clip and a description, or nothing. And delete
such a voice."""

import contextlib
import json
import re
import shutil
import tempfile
import time
from pathlib import Path

from pipeline.audio.clip import Clip, encode_wav
from pipeline.errors import BadInput, ParleyError
from pipeline.listening.vad import has_speech
from pipeline.settings import Settings
from pipeline.support.storage_errors import storage_error, storing
from pipeline.voices.catalogue import Voice, Voices
from pipeline.voices.consents import Consent

MIN_S, MAX_S = 2.0, 60.0
"""Limits for the reference clip: cloning engines need some seconds and gain nothing from more than half a minute."""
MAX_VOICES = 1000
_NAME = re.compile(r"[^\W_][\w -]{0,59}")


def enrol(settings: Settings, voices: Voices, name: str, clip: Clip, consent: str | Consent) -> Voice:
    """Add a voice. Blocking. consent: the speaker's recorded one, or what the speaker has agreed to and where that is
    written; kept with the voice.

    Raises BadInput: bad_parameter, voice_exists, bad_audio; StorageError when the folder cannot be written.
    """
    name = " ".join(name.split())
    if not _NAME.fullmatch(name):
        raise BadInput(
            "A voice's name has up to 60 letters, digits, spaces and hyphens.", code="bad_parameter", param="name"
        )
    if isinstance(consent, str) and not " ".join(consent.split()):
        raise BadInput("State in `consent` how the speaker has agreed.", code="bad_parameter", param="consent")
    there = {other.casefold() for other in voices.names()}
    if name.casefold() in there:
        raise BadInput(f"There is a voice {name!r} already.", code="voice_exists", param="name")
    if len(there) >= MAX_VOICES:
        raise BadInput(f"There are {MAX_VOICES} voices already.", code="bad_parameter")
    if not MIN_S <= clip.seconds <= MAX_S or not has_speech(clip):
        raise BadInput(f"Send {MIN_S:g} to {MAX_S:g} s of speech.", code="bad_audio", param="audio_sample")
    target = settings.voices_dir / name
    try:
        settings.voices_dir.mkdir(parents=True, exist_ok=True)
        # Hidden until it is complete, because the folder can be read at any moment.
        part = Path(tempfile.mkdtemp(prefix=".new-", dir=settings.voices_dir))
        try:
            (part / "reference.wav").write_bytes(encode_wav(clip))
            (part / "voice.toml").write_text(_description(consent), "utf-8")
            part.chmod(0o755)
            part.rename(target)
        except BaseException:
            with contextlib.suppress(OSError):
                shutil.rmtree(part)
            raise
    except FileExistsError:
        raise BadInput(f"There is a voice {name!r} already.", code="voice_exists", param="name") from None
    except OSError as error:
        raise storage_error(error, "VOICES_DIR") from error
    return voices.get(name)


def remove(settings: Settings, voices: Voices, name: str) -> None:
    """Delete a voice that was added through the service, with its recording. Blocking.

    Raises BadInput (voice_not_found); ParleyError (voice_protected) for any other voice, and for the default one;
    StorageError.
    """
    voice = next((voice for voice in voices if voice.name == name), None)
    if voice is None:
        raise BadInput(f"There is no voice {name[:60]!r}.", code="voice_not_found", param="voice")
    if name == settings.voice_name:
        raise ParleyError("This is the default voice; change VOICE_NAME first.", code="voice_protected")
    folder = settings.voices_dir / name
    if not voice.created_at or not folder.is_dir():
        raise ParleyError("Only voices that were added through this API can be deleted.", code="voice_protected")
    with storing("VOICES_DIR"):
        gone = Path(tempfile.mkdtemp(prefix=".gone-", dir=settings.voices_dir))
        folder.rename(gone / name)
        shutil.rmtree(gone)
    voices.names()  # scans the folders, so that nothing speaks with it any more


def _description(consent: str | Consent) -> str:
    if isinstance(consent, Consent):
        day = time.strftime("%Y-%m-%d", time.gmtime(consent.created_at))
        told = f"{consent.id} of {day}: {consent.name} ({consent.language})"
    else:
        told = " ".join("".join(char if char.isprintable() else " " for char in consent).split())[:500]
    # A JSON string is a TOML string.
    fields = {
        "description": f"Added on {time.strftime('%Y-%m-%d', time.gmtime())}.",
        "licence": f"Consent: {told}",
        "created_at": int(time.time()),
        "consent": consent.id if isinstance(consent, Consent) else "",
    }
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in fields.items())
