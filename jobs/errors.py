"""What can go wrong with a job, beside what its recogniser says (`pipeline.errors`)."""

from pipeline.errors import BadInput, ParleyError


class Refused(BadInput):
    """Something that is not taken in. Codes: bad_url, forbidden_address, bad_archive, bad_parameter, no_files,
    file_too_large."""


class TooLarge(Refused):
    """More bytes than MAX_FILE_SIZE, or than the limits of an archive."""

    code = "file_too_large"


class FetchFailed(ParleyError):
    """An address did not give its file this time; another attempt may."""

    code = "fetch_failed"


class JobNotFound(ParleyError):
    """There is no job, or no delivery, of this id."""

    code = "job_not_found"


class NotPossible(ParleyError):
    """The job is in a state in which this cannot be done. Codes: job_finished, no_result."""

    code = "job_finished"


class KeyReused(ParleyError):
    """An Idempotency-Key that came with another request before."""

    code = "idempotency_key_reused"
