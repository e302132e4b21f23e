"""Requests and responses of the library."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, field_validator
from pydantic_core import PydanticCustomError

from jobs.names import MAX_CHARS, safe_name
from server.jobs.schemas import ID, LISTED, JobResponse
from server.openapi import ResponseModel, like
from server.parameters import NullIsAbsent

MAX_TAGS = 20
MAX_TAG_CHARS = 50
MAX_JOBS = 500
"""Jobs in one request."""
FORMATS = Literal["txt", "json", "srt", "vtt", "ttml", "md", "docx", "pdf"]


def _tidy(tags: list[str]) -> list[str]:
    """Return tags without extra spaces, empty ones and repetitions in another case."""
    tidy = (" ".join(tag.split()) for tag in tags)
    return list({tag.casefold(): tag for tag in tidy if tag}.values())


Tag = Annotated[str, StringConstraints(max_length=MAX_TAG_CHARS, pattern=r'^[^\x00-\x1f"\\]*$')]
Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS), AfterValidator(_tidy)]
JobIds = Annotated[
    list[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]], Field(min_length=1, max_length=MAX_JOBS)
]


class Arrangement(NullIsAbsent):
    """Changes of a job; a field that is missing or null stays as it is."""

    model_config = like({"filename": "Interview with Ana.mp3", "tags": ["interviews"], "pinned": True})

    filename: str | None = Field(default=None, max_length=MAX_CHARS, description="The new name.")
    tags: Tags | None = Field(default=None, description="All tags of the job.")
    pinned: bool | None = Field(default=None, description="Whether to keep the job regardless of JOB_KEEP_HOURS.")

    @field_validator("filename")
    @classmethod
    def _usable(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not (name := safe_name(value.replace("/", "-").replace("\\", "-"))):
            raise PydanticCustomError("empty_name", "The name is empty")
        return name


class Chosen(NullIsAbsent):
    """Jobs by their ids."""

    model_config = like({"ids": [ID]})

    ids: JobIds


class Download(Chosen):
    """Transcripts to download."""

    model_config = like({"ids": [ID], "format": "docx"})

    format: FORMATS = "txt"


class Deleted(ResponseModel):
    """The outcome of a deletion of several jobs."""

    model_config = like({"deleted": [ID], "not_found": []})

    deleted: list[str]
    not_found: list[str]
    """Ids without a job of the caller."""


class FoundSnippet(ResponseModel):
    """A place with the words of the search."""

    start: float
    """Seconds into the recording."""
    text: str
    marks: list[list[int]]
    """Start and end of each match in the text, in characters (Unicode code points)."""


class FoundJob(ResponseModel):
    job: JobResponse
    snippets: list[FoundSnippet]


class SearchResponse(ResponseModel):
    """Jobs whose transcripts have the words of the search, the newest transcripts first."""

    model_config = like(
        {
            "items": [
                {
                    "job": LISTED,
                    "snippets": [{"start": 0.3, "text": "Good morning. What can I do for you?", "marks": [[5, 12]]}],
                }
            ],
            "next_cursor": None,
            "indexed": None,
        }
    )

    items: list[FoundJob]
    next_cursor: str | None
    """Cursor of the next page; null on the last page. A page can be short and still have a next one."""
    indexed: float | None
    """Percentage of the transcripts from before the search that can be found; null: all."""


class LibraryResponse(ResponseModel):
    """The caller's tags, and how long this deployment keeps jobs."""

    model_config = like(
        {
            "tags": {"interviews": 3}, "keep_hours": None, "delete_audio_after": None, "language_model": True,
            "prompts": {"title": "Write a title of at most eight words."},
        }
    )  # fmt: skip

    tags: dict[str, int]
    """Number of jobs with each tag."""
    keep_hours: float | None
    """Hours after their end for which jobs are kept, unless they are pinned; null: for ever."""
    delete_audio_after: float | None
    """Hours after the end of a job after which its recording is removed, unless it is pinned; null: never."""
    language_model: bool
    """Whether a language model can write insights."""
    prompts: dict[str, str]
    """The instruction for each kind of insight."""
