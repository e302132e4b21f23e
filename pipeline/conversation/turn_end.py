"""Smart Turn of a deployment: loaded at the start if it is on this machine, else fetched meanwhile."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.engines import EngineInfo
from pipeline.errors import ParleyError
from pipeline.listening.smart_turn import FILE, NAME, SmartTurn, Threaded, TurnEnd
from pipeline.settings import Settings
from pipeline.support import model_sources
from pipeline.support.background import background
from pipeline.support.model_sources import Obtained
from pipeline.support.progress import Progress

log = logging.getLogger(__name__)


class SmartTurnHere:
    """Smart Turn, once it is loaded."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threaded: Threaded | None = None
        self.info: EngineInfo | None = None
        """Its description; None: it is not loaded (yet)."""

    @property
    def turn_end(self) -> TurnEnd | None:
        """Hears whether a user has finished; None: it is not loaded (yet)."""
        return self._threaded

    async def load(self) -> bool:
        """Load the model if it is in MODELS_DIR. Returns whether it is there."""
        found = await asyncio.to_thread(model_sources.find, self._settings, NAME)
        if found is not None:
            await self._load(found)
        return found is not None

    async def fetch(self) -> None:
        """Fetch and load the model. A failure is logged: then the words decide alone."""
        try:
            await self._load(await model_sources.obtain(self._settings, NAME, _ignore))
        except ParleyError as error:
            log.info("without Smart Turn, the words alone tell when a user has finished: %s", error.message)

    async def _load(self, found: Obtained) -> None:
        start = time.perf_counter()
        try:
            model = await asyncio.to_thread(SmartTurn, found.folder / FILE)
        except ParleyError as error:
            log.warning("%s", error.message)
            return
        self._threaded = Threaded(model)
        ready_s = time.perf_counter() - start
        self.info = EngineInfo(
            "turn", "smart-turn", "v3.2 (int8)", "cpu", ready_s, name="v3.2", compute_type="int8", source=found.source,
            licence=found.licence,
        )  # fmt: skip

    def close(self) -> None:
        """End its thread."""
        if self._threaded is not None:
            self._threaded.close()


@asynccontextmanager
async def open_turn_end(settings: Settings) -> AsyncIterator[SmartTurnHere]:
    """Load Smart Turn, or fetch it beside the block."""
    here = SmartTurnHere(settings)
    try:
        if await here.load():
            yield here
        else:
            async with background(here.fetch()):
                yield here
    finally:
        here.close()


def _ignore(progress: Progress) -> None:
    """Discard progress reports: nothing waits for this download."""
