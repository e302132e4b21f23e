"""The watched folders that the settings name."""

from pathlib import Path

from jobs.folders.folder import Place, Wanted
from jobs.job import Options
from jobs.result import FORMATS
from pipeline.errors import ConfigError
from pipeline.settings import Settings


def configured(settings: Settings) -> list[Place]:
    """Return the watched folders, which need not exist yet. Raises ConfigError."""
    roots = [Path(one.strip()).absolute() for one in settings.watch_dir.split(",") if one.strip()]
    if not roots:
        return []
    wanted = _wanted(settings)
    _check_apart(roots, settings.upload_dir.absolute())
    output = None if settings.output_dir is None else settings.output_dir.absolute()
    names = [one.name for one in roots]
    if output is not None and len(set(names)) < len(names):
        raise ConfigError(
            "The folders of WATCH_DIR need different names if OUTPUT_DIR is set: it gets one of each name."
        )
    several = len(roots) > 1
    return [Place(one, output / one.name if output is not None and several else output, wanted) for one in roots]


def _wanted(settings: Settings) -> Wanted:
    formats = tuple(dict.fromkeys(one.strip().lower() for one in settings.watch_formats.split(",") if one.strip()))
    if not formats or not set(formats) <= FORMATS.keys():
        raise ConfigError(f"WATCH_FORMATS must have one or more of {', '.join(FORMATS)}.")
    options = Options(
        language=settings.speech_language or None, diarize=settings.watch_diarize, keywords=tuple(settings.keywords)
    )
    return Wanted(formats, options)


def _check_apart(roots: list[Path], uploads: Path) -> None:
    """Raises ConfigError for folders that would feed each other."""
    for number, root in enumerate(roots):
        for other in [*roots[:number], uploads]:
            one, two = root.resolve(), other.resolve()
            if one.is_relative_to(two) or two.is_relative_to(one):
                which = "UPLOAD_DIR" if other == uploads else f"the folder {other}"
                raise ConfigError(f"WATCH_DIR: {root} and {which} must not be inside each other.")
