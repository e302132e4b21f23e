"""Everything that can go wrong, as classes with a code.

Raised where it is found, turned into a reply in one place a protocol. `code` is for programs and never changes;
`message` is one sentence for a person.
"""


class ParleyError(Exception):
    """Base of all errors that are meant for a user.

    `code` is stable snake_case, `message` one readable sentence without secrets or paths of the server.
    """

    code = "internal"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class BadInput(ParleyError):
    """What the client sent cannot be used. Codes: unsupported_message, empty_message, bad_audio, no_audio,
    audio_too_long, unknown_voice, unsupported_language, bad_parameter. `param` is what it was sent in, where that is
    known."""

    code = "bad_input"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message, code=code)
        self.param = param


class StageFailed(ParleyError):
    """A stage of the turn gave up. Codes: stt_failed, llm_unavailable, tts_failed, timeout."""

    code = "stage_failed"


class EngineError(ParleyError):
    """An engine could not do one call (bad model answer, server refused, crash). The turn gives it its stage's code."""

    code = "engine_error"


class WorkerCrashed(EngineError):
    """The process of a local model ended in mid-call. It is started again for the next call."""

    code = "worker_crashed"


class Overloaded(ParleyError):
    """A bounded queue is full. `retry_after_s` says when it is worth another try."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineUnavailable(ParleyError):
    """An engine cannot run here. `message` says why in one sentence, `remedy` the one thing that mends it."""

    code = "engine_unavailable"

    def __init__(self, reason: str, *, remedy: str, code: str | None = None) -> None:
        super().__init__(reason, code=code)
        self.remedy = remedy


class ConfigError(ParleyError):
    """A setting makes no sense; start-up ends with this sentence."""

    code = "bad_setting"


class StorageError(ParleyError):
    """Something cannot be stored or read here. `setting` names the place: UPLOAD_DIR, DATABASE_URL, TMPDIR."""

    code = "storage_failed"

    def __init__(self, message: str, *, setting: str) -> None:
        super().__init__(message)
        self.setting = setting


class StorageFull(StorageError):
    """The disk or a quota of it is full."""

    code = "storage_full"


class StorageFailed(StorageError):
    """A folder, a file or the database cannot be used: gone, read-only, damaged, or out of reach."""
