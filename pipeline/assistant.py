"""The deployment: opens and closes its engines and voices together, and starts conversations on them."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import llm, stt, tts
from pipeline.audio import decode
from pipeline.audio.clip import Clip
from pipeline.conversation import events
from pipeline.conversation.events import Event
from pipeline.conversation.history import Conversation
from pipeline.conversation.kept_turns import Recorder, open_recorder
from pipeline.conversation.outlet import Sink
from pipeline.conversation.reply_options import ReplyOptions, ReplyToHistory
from pipeline.conversation.session import Session
from pipeline.conversation.speaker_lock import FIRST, Owner, SpeakerLock
from pipeline.conversation.turn import Announcement, Stages, Turn
from pipeline.conversation.turn_end import SmartTurnHere, open_turn_end
from pipeline.engines import EngineInfo, Running, open_best, open_named
from pipeline.errors import BadInput, EngineUnavailable
from pipeline.languages import language_code
from pipeline.listening import noise
from pipeline.listening.detector import SileroActivity, VoiceActivity
from pipeline.listening.options import LiveOptions
from pipeline.llm import AS_SET, Generation, Message, ReplyDelta
from pipeline.llm.auto import AutoLanguageModel, open_auto
from pipeline.llm.offered import OfferedModels
from pipeline.personas import ConversationOptions, Personas, prompt_of, temperature_of
from pipeline.settings import Settings
from pipeline.speech.lexicon import LexicalSpeech, read_lexicon
from pipeline.speech.unread import Unread
from pipeline.stt import SpeechToText, Transcript
from pipeline.stt.home_names import at_home, open_home_names
from pipeline.stt.recognisers import Recognisers
from pipeline.support.context_holder import open_together
from pipeline.support.json_types import Json
from pipeline.support.openai_names import VOICES
from pipeline.support.progress import Progress, Report
from pipeline.support.room import Room
from pipeline.tools import Toolbox
from pipeline.tools.loading import open_tools
from pipeline.transcripts.refine import Refiners
from pipeline.transcripts.speakers import resemblyzer
from pipeline.transcripts.transcriber import Transcriber, open_transcriber
from pipeline.tts import TextToSpeech
from pipeline.voices.catalogue import Voice, Voices
from pipeline.workers import open_model_host
from pipeline.workers.hardware import Hardware

log = logging.getLogger(__name__)

NOTHING_KNOWN = Hardware("", 1, 0, (), (), ())
"""Stands for hardware on which no other model than the loaded one can run."""


class Assistant:
    """The interface to the pipeline for all transports. One per process; open it with `open_assistant`."""

    def __init__(
        self,
        settings: Settings,
        stages: Stages,
        voices: Voices,
        engines: Callable[[], Sequence[EngineInfo]],
        tools: Toolbox | None = None,
        transcriber: Transcriber | None = None,
        personas: Personas | None = None,
    ) -> None:
        """personas: None: those of the folder `personas`. Raises ConfigError if one has a voice that does not exist."""
        self.settings = settings
        self.stages = stages
        self.voices = voices
        self._engines = engines
        self.personas = personas or Personas.load(settings.personas_dir)
        self.personas.check(voices)
        self.models = OfferedModels(stages.llm, usual=self._usual_model, allowed=settings.llm_models)
        """The language models that a conversation can choose."""
        self.tools = tools or Toolbox()
        """The functions that the language model may call."""
        self.recorder: Recorder | None = None
        """Keeps conversations; None: they are not kept."""
        self.smart_turn: SmartTurnHere | None = None
        """Hears whether users have finished, for conversations that begin once it is loaded; None: only the words
        tell."""
        self.host_lost = asyncio.Event()
        """Set if this process has lost the machines of MODEL_HOST for good: it must end, and another one take over."""
        if transcriber is None:
            own = Running(stages.stt, self._hears())
            recognisers = Recognisers(settings, own, NOTHING_KNOWN)
            transcriber = Transcriber(recognisers, Refiners(settings), settings.max_file_seconds)
        self.transcriber = transcriber
        """Transcribes files."""
        self.recognisers = transcriber.recognisers
        """Recognisers for recordings, by model name."""

    @property
    def engines(self) -> Sequence[EngineInfo]:
        """The engine of each stage at present, in the order stt, llm, tts; and Smart Turn (turn) where it is loaded."""
        turn = self.smart_turn.info if self.smart_turn is not None else None
        return [*self._engines(), *([turn] if turn is not None else [])]

    def _usual_model(self) -> str:
        """Return the name of the language model that the server of the settings uses; "" without one."""
        named = {"openai": self.settings.llm_openai_model, "auto": self.settings.llama_model}
        used = [info.model for info in self._engines() if info.stage == "llm" and info.engine == "ollama"]
        return used[0] if used else named.get(self.settings.llm_engine, "")

    async def has_model(self) -> bool:
        """Whether there is a language model now, and not only the built-in responder."""
        if isinstance(self.stages.llm, AutoLanguageModel):
            await self.stages.llm.look()
        return all(info.engine != "builtin" for info in self.engines if info.stage == "llm")

    def model_reply(self, messages: Sequence[Message]) -> AsyncGenerator[ReplyDelta, None]:
        """Stream the language model's reply to a prompt, without functions and without the built-in responder in its
        place. Raises EngineError."""
        engine = self.stages.llm
        return engine.model_reply(messages) if isinstance(engine, AutoLanguageModel) else engine.reply(messages)

    def _hears(self) -> EngineInfo:
        return next((info for info in self.engines if info.stage == "stt"), EngineInfo("stt", "unknown", "", "", 0.0))

    def activity(self) -> VoiceActivity:
        """Create a voice activity detector for one session."""
        return SileroActivity()

    def idle(self) -> bool:
        """Whether the recogniser has no calls; False where its load is unknown."""
        load = self._hears().load
        return load is not None and not load.running and not load.waiting

    def voice(self, name: str | None = None) -> Voice:
        """Return a voice by name, or the deployment's default. Raises BadInput (unknown_voice)."""
        return self.voices.get(name or self.settings.voice_name)

    def openai_voice(self, name: str) -> Voice:
        """Return a voice by name, or the default for one of OpenAI's names that no voice has. Raises BadInput
        (unknown_voice)."""
        return self.voice(None if name in VOICES and name not in self.voices.names() else name)

    async def conversation_options(
        self, wishes: Mapping[str, Json], before: ConversationOptions | None = None
    ) -> ConversationOptions:
        """Return the options of a conversation with a client's wishes: persona, system, voice, language, llm_model,
        temperature. A persona sets all of them, the other wishes change it; an empty one means the deployment's.

        before: the options so far; None: the conversation begins. Raises BadInput: unknown_persona, unknown_voice,
        unsupported_language, unknown_model, bad_parameter.
        """
        usual = ConversationOptions(self.settings.system_prompt, self.voice())
        options = before or usual
        if "persona" in wishes:
            options = await self._of_persona(str(wishes["persona"] or ""), usual)
        if "system" in wishes:
            prompt = prompt_of(wishes["system"] or "") or usual.system_prompt
            options = replace(options, system_prompt=prompt)
        if "voice" in wishes:
            options = replace(options, voice=self.voice(str(wishes["voice"] or "")))
        if "language" in wishes:
            options = replace(options, language=language_code(str(wishes["language"] or "")))
        generation = options.generation
        if "llm_model" in wishes:
            name = str(wishes["llm_model"] or "")
            generation = replace(generation, llm_model=await self.models.find(name) if name else None)
        if "temperature" in wishes:
            generation = replace(generation, temperature=temperature_of(wishes["temperature"]))
        return replace(options, generation=generation)

    async def _of_persona(self, id: str, usual: ConversationOptions) -> ConversationOptions:
        """Return the options of a persona; "": the deployment's. While there is no server with a choice of models, the
        model that there is replies. Raises BadInput: unknown_persona, unknown_voice, unknown_model."""
        if not id:
            return usual
        persona = self.personas.get(id)
        model = await self.models.find_if_any(persona.llm_model) if persona.llm_model else None
        return ConversationOptions(
            persona.system_prompt or usual.system_prompt,
            self.voice(persona.voice),
            persona.language or None,
            persona.id,
            Generation(llm_model=model, temperature=persona.temperature),
        )

    def conversation(self, system_prompt: str | None = None) -> Conversation:
        """Create a conversation."""
        return Conversation(system_prompt or self.settings.system_prompt, budget_tokens=self.settings.history_tokens)

    def session(
        self,
        options: LiveOptions,
        conversation: Conversation,
        *,
        voice: Voice,
        language: str | None = None,
        reply_options: ReplyOptions | None = None,
        sink: Sink | None = None,
        fades: bool = True,
        record: bool = False,
        room: Room | None = None,
    ) -> Session:
        """Create a live conversation; open it with `async with`. reply_options: None: reply with the deployment's
        functions. sink: receives events as they happen. fades: see `Playback`. record: the user agrees to be recorded,
        where RECORD is on. room: budget for audio that waits for its transcript. Raises BadInput if the speaker lock
        cannot be used."""
        return Session(
            self.stages,
            self.settings,
            options,
            conversation,
            voice=voice,
            language=language or self.settings.speech_language or None,
            activity=self.activity(),
            reply_options=reply_options or ReplyOptions(tools=self.tools),
            sink=sink,
            fades=fades,
            recorder=self.recorder if record else None,
            idle=self.idle,
            room=room,
            turn_end=self.smart_turn.turn_end if self.smart_turn is not None else None,
            lock=self.speaker_lock,
        )

    def speaker_lock(self, wanted: str, owner: Owner) -> SpeakerLock:
        """Return a recogniser that hears only one voice. wanted: the name of an enrolled one, or `FIRST`: the owner's,
        learned from the conversation. Raises BadInput."""
        try:
            resemblyzer.check(self.settings)
        except EngineUnavailable as error:
            message = f"The speaker lock cannot be used: {error.full_message}"
            raise BadInput(message, code="speaker_lock_unavailable", param="speaker_lock") from None
        if wanted == FIRST:
            return SpeakerLock(self.stages.stt, self.transcriber.refiners, owner)
        voice = self.voice(wanted)
        if not voice.clips:
            message = f"The voice {voice.name!r} has no recording, so it cannot be recognised."
            raise BadInput(message, code="unknown_voice", param="speaker_lock")
        return SpeakerLock(self.stages.stt, self.transcriber.refiners, Owner(), voice.clips[0])

    def reply_to(
        self,
        prompt: Sequence[Message] | Announcement,
        conversation: Conversation,
        *,
        voice: Voice,
        reply_options: ReplyOptions,
        unread: Unread,
    ) -> AsyncGenerator[Event, None]:
        """Run one turn on a whole prompt and yield its events. The conversation gives only the language and its id.
        unread: see `Turn`."""
        turn = Turn(
            self.stages,
            self.settings,
            voice=voice,
            language=self.settings.speech_language or None,
            reply_options=reply_options,
            unread=unread,
        )
        said = prompt if isinstance(prompt, Announcement) else ReplyToHistory(messages=prompt)
        return turn.run(said, conversation)

    async def answer(
        self,
        utterance: Clip | Transcript,
        conversation: Conversation,
        *,
        voice: Voice,
        language: str | None = None,
        aloud: bool = True,
        record: bool = False,
        generation: Generation = AS_SET,
    ) -> AsyncGenerator[Event, None]:
        """Run one turn on a whole utterance and yield its events. The reply counts as heard when it is complete.

        language: spoken language as ISO 639-1; None: SPEECH_LANGUAGE, or detected. aloud: False for a text-only reply.
        record: the user agrees to be recorded, where RECORD is on. generation: how the model writes.
        """
        keep: Callable[[Event], None] | None = None
        if record and self.recorder is not None:
            sound = utterance if isinstance(utterance, Clip) else None
            keep = self.recorder.of(conversation.id, sound, lambda event: None)
        said = events.TranscriptFinal("", None)
        steps: list[tuple[Message, ...]] = []
        turn = Turn(
            self.stages,
            self.settings,
            voice=voice,
            language=language or self.settings.speech_language or None,
            reply_options=ReplyOptions(aloud=aloud, tools=self.tools, generation=generation),
        )
        async with aclosing(turn.run(utterance, conversation)) as happenings:
            async for event in happenings:
                match event:
                    case events.TranscriptFinal():
                        said = event
                    case events.ToolEnded(call, _, output):
                        called = (
                            Message("assistant", "", calls=(call,)),
                            Message("tool", output, call_id=call.id),
                        )
                        steps.append(called)
                    case events.TurnCompleted() if said.text:
                        conversation.record(said.text, said.language, event.reply, steps=steps)
                    case events.TurnFailed() if said.text:
                        conversation.record(said.text, said.language, "", steps=steps)
                    case _:
                        pass
                if keep is not None:
                    keep(event)
                yield event


def _ignore(progress: Progress) -> None:
    """Discard progress reports."""


@asynccontextmanager
async def open_assistant(settings: Settings, report: Report = _ignore) -> AsyncIterator[Assistant]:
    """Load and warm up all stages. Raises ConfigError, EngineUnavailable, EngineError or BadInput when the settings
    cannot be met."""
    if settings.noise_reduction:
        noise.check()
    voices, personas = Voices.load(settings), Personas.load(settings.personas_dir)
    opening = open_together(open_stt(settings, report), _open_llm(settings, report), open_tts(settings, report))
    async with (
        open_model_host(settings) as host_lost,
        open_tools(settings) as tools,
        opening as (hears, thinks, speaks),
        open_transcriber(settings, hears) as transcriber,
        open_recorder(settings) as recorder,
        open_turn_end(settings) as smart_turn,
    ):
        voices.add_built_in(speaks.voices)
        voices.get(settings.voice_name)
        await asyncio.to_thread(SileroActivity)  # loads the VAD that all sessions share
        await asyncio.to_thread(decode.warm_up)
        stages = Stages(stt=hears.engine, llm=thinks.engine, tts=speaks.engine)

        def engines() -> Sequence[EngineInfo]:
            current = thinks.engine.info if settings.llm_engine == "auto" else thinks.info
            return (hears.now, current, speaks.now)

        assistant = Assistant(settings, stages, voices, engines, tools, transcriber, personas)
        assistant.recorder, assistant.smart_turn, assistant.host_lost = recorder, smart_turn, host_lost
        if settings.speaker_lock:
            await assistant.speaker_lock(settings.speaker_lock, Owner()).prepare()
        yield assistant


@asynccontextmanager
async def open_stt(settings: Settings, report: Report = _ignore) -> AsyncIterator[Running[SpeechToText]]:
    """Open the recogniser that the settings name, or the best one that runs here, with the names of the home at
    HASS_URL."""
    opening = _open("stt", stt.ENGINES, stt.AUTO_ORDER, settings.stt_engine, settings, report)
    async with open_home_names(settings) as home, opening as running:
        yield replace(running, engine=at_home(running.engine, home))


@asynccontextmanager
async def open_tts(settings: Settings, report: Report = _ignore) -> AsyncIterator[Running[TextToSpeech]]:
    """Open the TTS engine that the settings name, or the best one that runs here, with the pronunciations of LEXICON.
    Raises ConfigError for a file that cannot be used."""
    lexicon = await asyncio.to_thread(read_lexicon, Path(settings.lexicon)) if settings.lexicon else None
    async with _open("tts", tts.ENGINES, tts.AUTO_ORDER, settings.tts_engine, settings, report) as running:
        yield running if lexicon is None else replace(running, engine=LexicalSpeech(running.engine, lexicon))


def _open(
    stage: str, table: dict[str, str], order: Sequence[str], wanted: str, settings: Settings, report: Report
) -> AbstractAsyncContextManager[Running[Any]]:
    if wanted == "auto":
        return open_best(stage, table, order, settings, report)
    return open_named(stage, table, wanted, settings, report)


@asynccontextmanager
async def _open_llm(settings: Settings, report: Report) -> AsyncIterator[Running[Any]]:
    if settings.llm_engine != "auto":
        async with open_named("llm", llm.ENGINES, settings.llm_engine, settings, report) as named:
            yield named
    else:
        async with open_auto(settings, report) as model:
            yield Running(model, model.info)
