"""The names of a home, from Home Assistant: areas and what can be controlled, as hints for every recogniser.

They are read at the start and refreshed while the service runs. Without them, speech is recognised as before.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx

from pipeline.audio.clip import Clip
from pipeline.errors import ParleyError
from pipeline.settings import Settings
from pipeline.stt import (
    FileRequest,
    Hinted,
    Hints,
    Segment,
    SpeechToText,
    Spoken,
    TellsLanguage,
    Transcript,
    WindowLimits,
)
from pipeline.support.background import background
from pipeline.support.encodable import encodable

log = logging.getLogger(__name__)

DEADLINE_S = 10.0
"""Timeout for one request, in seconds."""
REFRESH_S = 600.0
"""Interval between requests, in seconds: homes change rarely."""
RETRY_S = 60.0
"""Interval after a request that failed, in seconds."""
MAX_BYTES = 1 << 20
"""Largest response that is read."""
MAX_NAMES, MAX_NAME_CHARS, MAX_CHARS = 60, 50, 600
"""Limits of the hint: Whisper has room for about 200 tokens."""
SPOKEN_OF = (
    "light", "switch", "cover", "climate", "fan", "media_player", "scene", "script", "lock", "vacuum", "humidifier",
    "valve", "lawn_mower", "water_heater", "alarm_control_panel", "input_boolean", "todo", "person",
)  # fmt: skip
"""Domains of the entities that are spoken of, the most important first; hundreds of sensors are not."""
TEMPLATE = (
    "{{ {'areas': areas() | map('area_name') | list, 'floors': floors() | map('floor_name') | list, 'entities': "
    f"states | selectattr('domain', 'in', {list(SPOKEN_OF)}) | map(attribute='entity_id') | list, 'names': "
    f"states | selectattr('domain', 'in', {list(SPOKEN_OF)}) | map(attribute='name') | list"
    "} | to_json }}"
)
"""A template of Home Assistant; `states` has the same order in both lists."""
FAILURES = (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ParleyError, ValueError, RecursionError)
"""Errors of a request: of the network, of its address or token, and of a response that is not the expected JSON."""


class HomeNames:
    """The current names of a home, the most important first."""

    def __init__(self, url: str, token: str) -> None:
        self.names: tuple[str, ...] = ()
        self._url, self._token = url.rstrip("/"), token

    async def keep_fresh(self) -> None:
        """Read the names again and again. A failure is logged when it begins."""
        failing = False
        async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
            while True:
                try:
                    async with asyncio.timeout(DEADLINE_S):
                        names = await self._read(client)
                except FAILURES as error:
                    if not failing:
                        log.warning("the names of the home cannot be read from HASS_URL: %s", _reason(error))
                    failing = True
                else:
                    if names != self.names:
                        log.info("the recogniser expects %d names of the home", len(names))
                    self.names, failing = names, False
                await asyncio.sleep(RETRY_S if failing else REFRESH_S)

    async def _read(self, client: httpx.AsyncClient) -> tuple[str, ...]:
        """Raises FAILURES."""
        body, url = bytearray(), f"{self._url}/api/template"
        headers = {"Authorization": f"Bearer {self._token}"}
        async with client.stream("POST", url, json={"template": TEMPLATE}, headers=headers) as response:
            if response.status_code in (401, 403):
                raise ParleyError("Home Assistant refuses HASS_TOKEN; it must be a token of an administrator.")
            response.raise_for_status()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > MAX_BYTES:
                    raise ParleyError(f"The response is longer than {MAX_BYTES} bytes.")
        return spoken_names(json.loads(bytes(body)))


def spoken_names(home: object) -> tuple[str, ...]:
    """Return the names in Home Assistant's answer to TEMPLATE, as many as fit into a hint. Raises ValueError if it is
    not such an answer."""
    if not isinstance(home, Mapping):
        raise ValueError("Home Assistant's response has no names.")
    places = [*_texts(home.get("areas")), *_texts(home.get("floors"))]
    entities = zip(_texts(home.get("entities")), _texts(home.get("names")), strict=False)
    rank = {domain: number for number, domain in enumerate(SPOKEN_OF)}
    by_domain = sorted(entities, key=lambda entity: rank.get(entity[0].partition(".")[0], len(rank)))
    found: list[str] = []
    room = MAX_CHARS
    for name in dict.fromkeys(" ".join(name.split()) for name in (*places, *(name for _, name in by_domain))):
        if 0 < len(name) <= min(room, MAX_NAME_CHARS) and len(found) < MAX_NAMES:
            found.append(name)
            room -= len(name) + 2
    return tuple(found)


def _texts(value: object) -> Sequence[str]:
    return [encodable(one) if isinstance(one, str) else "" for one in value] if isinstance(value, list) else []


def _reason(error: Exception) -> str:
    if isinstance(error, ParleyError):
        return error.message
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return f"no response within {DEADLINE_S:g} s"
    return str(error) or type(error).__name__


class AtHome:
    """A recogniser that expects the names of a home, too."""

    def __init__(self, engine: SpeechToText, home: HomeNames) -> None:
        self.home = home
        self._engine = engine

    @property
    def limits(self) -> WindowLimits:
        return self._engine.limits

    def segments(self, window: Clip, request: FileRequest) -> AsyncGenerator[Segment, None]:
        """See the Protocol."""
        return self._engine.segments(window, replace(request, keywords=(*request.keywords, *self.home.names)))

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool) -> Transcript:
        """See the Protocol."""
        hints = Hints.of(prompt)
        hints = replace(hints, keywords=(*hints.keywords, *self.home.names))
        return await self._engine.transcribe(clip, language=language, prompt=hints, words=words)


class TellingAtHome(AtHome):
    """The same for a recogniser that is a `TellsLanguage`."""

    def __init__(self, engine: SpeechToText, home: HomeNames, tells: TellsLanguage) -> None:
        super().__init__(engine, home)
        self._tells = tells

    async def language_of(self, clip: Clip) -> tuple[str, float]:
        """See the Protocol."""
        return await self._tells.language_of(clip)


def at_home(engine: SpeechToText, home: HomeNames | None) -> SpeechToText:
    """Return the recogniser with the names of the home, if there is one."""
    if home is None:
        return engine
    return TellingAtHome(engine, home, engine) if isinstance(engine, TellsLanguage) else AtHome(engine, home)


@asynccontextmanager
async def open_home_names(settings: Settings) -> AsyncIterator[HomeNames | None]:
    """Read the names of the home beside the block; yield None without HASS_URL."""
    if not settings.hass_url:
        yield None
        return
    home = HomeNames(settings.hass_url, settings.hass_token)
    async with background(home.keep_fresh()):
        yield home
