"""All errors, as classes with a code.

Raised where the problem is found, turned into a response in one place per protocol. `code` is for programs and never
changes; `message` is one sentence for a person.
"""

from typing import Self


class ParleyError(Exception):
    """Base of all errors that are shown to a user.

    `code` is stable snake_case, `message` one readable sentence without secrets or paths of the server.
    """

    code = "internal"
    remedy = ""
    """How to fix the problem, in a sentence; "" if the message says it."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    @property
    def full_message(self) -> str:
        """The message with the remedy."""
        return f"{self.message} {self.remedy}".rstrip()


class BadInput(ParleyError):
    """The client's input cannot be used. Codes: unsupported_message, empty_message, bad_audio, no_audio,
    audio_too_long, unknown_voice, unsupported_language, bad_parameter. `param` is the name of the field, if it is
    known."""

    code = "bad_input"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message, code=code)
        self.param = param


class EngineError(ParleyError):
    """One call of an engine failed (bad model output, server refused, crash). The turn reports its stage's code."""

    code = "engine_error"


class WorkerCrashed(EngineError):
    """The worker process of a local model died during a call. It is restarted for the next call."""

    code = "worker_crashed"


class HostLost(ParleyError):
    """This process has lost the machines of MODEL_HOST, and only a new process finds them again."""

    code = "models_lost"

    def __init__(self) -> None:
        super().__init__("The Ray node of this process is lost, so it ends. Restart the node, and then the service.")


class StageFailed(ParleyError):
    """A stage of the turn failed. Codes: stt_failed, llm_unavailable, tts_failed, timeout."""

    code = "stage_failed"

    @classmethod
    def of(cls, error: EngineError, *, code: str) -> Self:
        """Return an engine's error with the code of its stage; a timeout stays one."""
        return cls(error.message, code="timeout" if error.code == "timeout" else code)


class Overloaded(ParleyError):
    """A bounded queue is full. `retry_after_s` is the time after which a retry makes sense."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineUnavailable(ParleyError):
    """An engine cannot run here. `message` gives the reason in one sentence, `remedy` how to fix it."""

    code = "engine_unavailable"

    def __init__(self, reason: str, *, remedy: str, code: str | None = None) -> None:
        super().__init__(reason, code=code)
        self.remedy = remedy


class ConfigError(ParleyError):
    """A setting is invalid; start-up ends with this sentence."""

    code = "bad_setting"


class StorageError(ParleyError):
    """Data cannot be stored or read. `setting` names the place: UPLOAD_DIR, DATABASE_URL, TMPDIR."""

    code = "storage_failed"

    def __init__(self, message: str, *, setting: str) -> None:
        super().__init__(message)
        self.setting = setting


class StorageFull(StorageError):
    """The disk or its quota is full."""

    code = "storage_full"


class StorageFailed(StorageError):
    """A folder, a file or the database cannot be used: missing, read-only, damaged, or unreachable."""


def cause_of(error: BaseException) -> BaseException:
    """Return the first error in the nested groups of task groups: the others only follow from it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
