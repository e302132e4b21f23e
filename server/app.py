"""The service as an ASGI application."""

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from fastapi import FastAPI

from jobs.opening import open_jobs
from jobs.service import Jobs
from pipeline.assistant import Assistant, open_assistant
from pipeline.settings import Settings
from pipeline.support.background import background
from pipeline.support.storage_errors import TEMPORARY, storing
from server import VERSION
from server.access import Access, AccessMiddleware, check_exposure
from server.access.work_pace import counted_work
from server.errors import add_error_handlers
from server.http import headers
from server.http.draining import ASIDE, CutOffMiddleware, Draining, DrainingMiddleware
from server.http.message_memory import return_large_blocks, small_blocks_returned
from server.http.paths import OneSlash
from server.http.shutdown import adopted
from server.http.starting import Start, StartingMiddleware, show_start
from server.http.upgrade import add_upgrade_errors
from server.jobs import documents, echo, insights, routes, transcript_library, updates, voiceprints
from server.openai import captioned_speech, not_served, voice_consents, voices
from server.openai import router as openai_router
from server.openai.chat.recent import Recent
from server.openapi import describe
from server.openapi_sockets import SOCKETS
from server.ops import health, kept_conversations, metrics, numbers, status, upgrades
from server.pages import api_reference, page_token, ui
from server.realtime import calls as realtime_calls
from server.realtime import client_secrets
from server.realtime import route as realtime
from server.realtime.translations import route as translations
from server.sharing.opening import open_shared
from server.state import State, keep_state
from server.talk import choices, turns
from server.talk.copies import open_copies
from server.talk.resume import RESUME_S, Resumable
from server.telephone.audiosocket.server import open_audiosocket
from server.telephone.twilio import route as twilio
from server.transcribe import asr, models, services, streaming
from server.webrtc.network import Network
from server.webrtc.registry import Calls
from server.wyoming.tcp_server import open_wyoming

SWITCH_S = 0.0005
"""Maximum time that another thread, for example one that edits a long transcript, keeps the event loop waiting for the
interpreter at each of its steps, in seconds; Python's default is ten times as long."""


def create_app(
    settings: Settings,
    assistant: Assistant | None = None,
    kept: Jobs | None = None,
    draining: Draining | None = None,
    start: Start | None = None,
) -> FastAPI:
    """Create the application for these settings.

    assistant, kept: an open assistant and an open job store; the caller closes them. None: the application opens them
    when it starts and closes them when it stops.
    draining: told by the caller's server that the service stops.
    start: if the caller's server responds before the lifespan has begun, the progress that it shows meanwhile.
    Raises ConfigError when the settings would expose the service without keys, or its network cannot be used.
    """
    check_exposure(settings)
    with storing(TEMPORARY):
        tempfile.gettempdir()  # chosen before it listens: later, Python would skip a full disk silently
    access, draining, network = Access(settings), draining or Draining(), Network.of(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        return_large_blocks()
        sys.setswitchinterval(SWITCH_S)
        report = [start.report] if start is not None else []
        opening = nullcontext(assistant) if assistant is not None else open_assistant(settings, *report)
        async with counted_work(), opening as opened:
            for slots in (access.budgets.conversations, access.budgets.wyoming):
                slots.lag_s = lambda: max((info.load.lag_s for info in opened.engines if info.load), default=0.0)
            async with (
                small_blocks_returned(),
                nullcontext(kept) if kept else open_jobs(settings, opened.transcriber) as jobs,
                open_wyoming(settings, opened, access.budgets, draining),
                open_audiosocket(settings, opened, access.budgets, draining),
                Calls(draining, network) as calls,
                insights.written(settings, opened, jobs),
                open_shared(settings) as shared,
                open_copies(settings, shared, RESUME_S) as copies,
                upgrades.open_upgrades(settings) as installing,
            ):
                if shared is not None:
                    await access.share(shared)
                state = State(
                    assistant=opened,
                    access=access,
                    draining=draining,
                    jobs=jobs,
                    calls=calls,
                    recent=Recent(),
                    upgrades=installing,
                    resumable=Resumable(RESUME_S, most=4 * settings.max_sessions, copies=copies),
                    started=int(time.time()),
                )
                keep_state(app, state)
                numbers.answer(state)
                try:
                    # A caller that passes an assistant also runs the server.
                    if assistant is None:
                        with adopted(settings, draining, jobs):
                            async with background(_end_after(opened.host_lost)):
                                yield
                    else:
                        yield
                finally:
                    await access.close()

    app = FastAPI(
        title="Parley",
        description="A self-hosted voice assistant: speech in, speech out.",
        version=VERSION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # Requests become spans if `pipeline.telemetry.tracing` has an exporter. Metrics are counted in this package.
        telemetry={
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
            "exclude": lambda scope: scope["path"].startswith(ASIDE),
        },
    )
    # The middleware that is added last runs first.
    if start is not None:
        show_start(app, start)
        app.add_middleware(StartingMiddleware)
    app.add_middleware(DrainingMiddleware, draining=draining)
    app.add_middleware(AccessMiddleware, access=access)
    headers.add_headers(app, access.origins.allowed)
    app.add_middleware(OneSlash)
    app.add_middleware(CutOffMiddleware, draining=draining)
    add_error_handlers(app)
    describe(app)
    ui.add_page(app)
    api_reference.add_docs(app)
    app.include_router(health.router)
    app.include_router(page_token.router)
    app.include_router(metrics.router)
    app.include_router(status.router)
    app.include_router(upgrades.router)
    app.include_router(kept_conversations.router)
    app.include_router(voices.router)
    app.include_router(voice_consents.router)
    app.include_router(models.router)
    app.include_router(openai_router)
    app.include_router(not_served.router)
    app.include_router(captioned_speech.router)
    app.include_router(services.router)
    app.include_router(streaming.router)
    app.include_router(asr.router)
    app.include_router(routes.router)
    app.include_router(documents.router)
    app.include_router(voiceprints.router)
    app.include_router(transcript_library.router)
    app.include_router(insights.router)
    app.include_router(echo.router)
    app.include_router(updates.router)
    app.include_router(turns.router)
    app.include_router(choices.router)
    app.include_router(realtime.router)
    app.include_router(realtime_calls.router)
    app.include_router(client_secrets.router)
    app.include_router(twilio.router)
    app.include_router(translations.router)
    add_upgrade_errors(app, SOCKETS)
    return app


async def _end_after(lost: asyncio.Event) -> None:
    """End this process like a service manager, so that running turns are finished."""
    await lost.wait()
    signal.raise_signal(signal.SIGTERM)
