"""Errors of jobs, in addition to those of engines (`pipeline.errors`)."""

from pipeline.errors import BadInput, ParleyError


class Refused(BadInput):
    """Rejected input. Codes: bad_url, forbidden_address, bad_archive, bad_parameter, no_files, file_too_large."""


class TooLarge(Refused):
    """The input exceeds MAX_FILE_SIZE or the limits of an archive."""

    code = "file_too_large"


class FetchFailed(ParleyError):
    """Fetching a file failed; a retry may succeed."""

    code = "fetch_failed"


class JobNotFound(ParleyError):
    """There is no job or delivery with this ID."""

    code = "job_not_found"


class NotPossible(ParleyError):
    """The job's state does not allow the operation. Codes: job_finished, no_result."""

    code = "job_finished"


class KeyReused(ParleyError):
    """The Idempotency-Key was already used with another request."""

    code = "idempotency_key_reused"


class VersionConflict(ParleyError):
    """The transcript was changed since the version that an edit refers to."""

    code = "version_conflict"

    def __init__(self, version: int) -> None:
        super().__init__(f"The transcript has changed: its version is {version}. Load it and repeat the edit.")
        self.version = version


class VersionNotFound(ParleyError):
    """The transcript never had this version, or too many edits followed it."""

    code = "version_not_found"


class VoiceprintNotFound(ParleyError):
    """The caller has no voiceprint with this ID."""

    code = "voiceprint_not_found"
