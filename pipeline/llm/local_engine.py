"""A language model in CTranslate2 as a synchronous engine; runs in a worker."""

import atexit
import json
import queue
import threading
import weakref
from collections import OrderedDict
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import ctranslate2
from tokenizers import Tokenizer

from pipeline.errors import EngineError
from pipeline.llm import Usage
from pipeline.llm.chat_message import ChatMessage
from pipeline.llm.chat_template import TOOLS
from pipeline.llm.local_config import Chunk, LocalConfig
from pipeline.llm.local_tokenizer import read_tokenizer
from pipeline.llm.streaming import ContextExceeded
from pipeline.llm.template_process import TemplateProcess
from pipeline.support.json_types import Json, JsonObject

TOP_K = 40
"""Most likely tokens from which one is drawn."""
TOP_P = 0.95
"""Part of the probability from which a token is drawn."""
LONGEST_CHARACTER = 4
"""Most tokens that one character of UTF-8 is split into."""
PROMPTS_KEPT = 4
"""Beginnings of prompts whose state is kept: up to 100 MB each for a small model. CTranslate2 never forgets one, so for
another one the model is loaded again."""
FREE_S = 10.0
"""Deadline for CTranslate2 to drop the callback of a reply, in seconds; it takes microseconds."""
PROMPTS_KNOWN = 64
"""Beginnings of prompts that are remembered to recognise the second use."""
MIN_KEPT = 32
"""Tokens from which on keeping a beginning is worth its memory."""
ENDS = frozenset(
    ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>", "</s>", "<|end|>")
)
"""Tokens that end a reply, in addition to those that the model's files name."""


class LocalModel:
    """The engine: one model, one reply at a time."""

    def __init__(self, config: LocalConfig) -> None:
        """Load the model and warm it up. Raises EngineError when that fails."""
        folder = Path(config.folder)
        self._config = config
        try:
            self._tokenizer = read_tokenizer(folder)
            told = _read(folder / "tokenizer_config.json")
            self._generator = ctranslate2.Generator(
                config.folder, device=config.device, compute_type=config.compute_type, intra_threads=config.threads
            )
            special = sorted({added.content for added in self._tokenizer.get_added_tokens_decoder().values()})
            named = {name: _token(told.get(name)) for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
            self._ends = self._end_tokens(folder, named["eos_token"], special)
            source = _template(folder, told)
            self._calls_tools = TOOLS.search(source) is not None
            self._template = TemplateProcess(source, {k: v for k, v in named.items() if v}, special)
            length = told.get("model_max_length")
            self.context = min(config.context, int(length)) if isinstance(length, int | float) else config.context
            """Most tokens of prompt and reply together."""
        except EngineError:
            raise
        except Exception as error:  # the libraries raise whatever they like for a damaged file
            raise EngineError(f"The model in LOCAL_LLM could not be loaded ({type(error).__name__}).") from error
        self._generated = 0
        self._kept: set[tuple[str, ...]] = set()
        self._known: OrderedDict[tuple[str, ...], None] = OrderedDict()
        for _ in self.reply([{"role": "user", "content": "Hello"}], (), max_tokens=1):
            pass

    def describe(self) -> dict[str, str | bool]:
        """Return device, compute type, and whether the model can call functions."""
        return {
            "device": self._generator.device,
            "compute_type": self._generator.compute_type,
            "calls_tools": self._calls_tools,
        }

    def count_generated(self) -> int:
        """Return the number of tokens generated so far."""
        return self._generated

    def reply(
        self,
        messages: Sequence[ChatMessage],
        tools: Sequence[Mapping[str, Json]],
        max_tokens: int = 0,
        temperature: float | None = None,
        top_p: float | None = None,
    ) -> Generator[Chunk, None, None]:
        """Stream a reply, one chunk a token; closing the generator stops at the next token.

        messages, tools: see `TemplateProcess.render`. max_tokens: less than the configured limit; 0: that limit.
        temperature, top_p: None: the configured temperature, TOP_P. Raises ContextExceeded when the prompt leaves too
        little room for the reply.
        """
        prompt = self._tokens(self._template.render(messages, tools))
        limit = max_tokens or self._config.max_tokens
        room = self.context - len(prompt)
        if room < min(limit, self.context // 4):
            raise ContextExceeded(
                f"The conversation is too long for the model: {len(prompt)} of {self.context} tokens."
            )
        kept = self._keep(messages, tools, prompt)
        count, text = 0, _Text(self._tokenizer)
        heat = self._config.temperature if temperature is None else temperature
        for token in self._generate(prompt, kept, min(limit, room), heat, TOP_P if top_p is None else top_p):
            count += 1
            yield Chunk(text.feed(token))
        yield Chunk(text.finish(), Usage(len(prompt), count), cut=count >= min(limit, room))

    def _tokens(self, text: str) -> list[str]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).tokens)

    def _generate(
        self, prompt: list[str], kept: int, max_tokens: int, temperature: float, top_p: float
    ) -> Iterator[int]:
        """Yield the tokens of a reply. Each is computed when it is asked for, so that a closed reply computes none.

        kept: tokens of the prompt whose state is kept.
        """
        steps = _Steps(self._ends)
        greedy = temperature == 0 or top_p == 0

        def run() -> None:
            end: Exception | None = None
            take = steps.take
            freed = threading.Event()
            watch = weakref.ref(take, lambda _: freed.set())
            try:
                self._generator.generate_batch(
                    [prompt[kept:]],
                    static_prompt=prompt[:kept] or None,
                    max_length=max_tokens,
                    include_prompt_in_result=False,
                    end_token=self._ends,
                    sampling_topk=1 if greedy else TOP_K,
                    sampling_topp=1 if greedy else top_p,
                    sampling_temperature=temperature or 1.0,
                    repetition_penalty=self._config.repetition_penalty,
                    callback=take,
                )
            except Exception as error:
                end = EngineError(f"The model failed during the reply: {str(error)[:200]}.")
            del take
            # CTranslate2's thread drops the callback a moment after the reply's end. If Python ended or the model were
            # freed before that, the process would abort.
            freed.wait(FREE_S)
            del watch
            steps.tokens.put(end)

        thread = threading.Thread(target=run, name="generating", daemon=True)

        def stop() -> None:
            steps.stopped = True
            steps.go_on.release()
            thread.join()

        # If Python ends with this reply open, the thread must neither hold it up nor call back into it afterwards.
        atexit.register(stop)
        thread.start()
        try:
            while isinstance(step := steps.tokens.get(), int):
                yield step
                steps.go_on.release()
            if step is not None:
                raise step
        finally:
            stop()
            atexit.unregister(stop)
            self._generated += steps.count

    def _keep(self, messages: Sequence[ChatMessage], tools: Sequence[Mapping[str, Json]], prompt: list[str]) -> int:
        """Return how many tokens at the beginning of the prompt are the same for the whole conversation, if their state
        is kept: from the second use on."""
        system = [message for message in messages[:1] if message["role"] == "system"]
        other = self._tokens(self._template.render([*system, {"role": "user", "content": "\u2026"}], tools))
        beginning = _common(prompt[:-1], other)
        if len(beginning) < MIN_KEPT:
            return 0
        if beginning not in self._kept:
            if beginning not in self._known:
                self._known[beginning] = None
                while len(self._known) > PROMPTS_KNOWN:
                    self._known.popitem(last=False)
                return 0
            if len(self._kept) >= PROMPTS_KEPT:
                self._generator.unload_model()
                self._generator.load_model()
                self._kept.clear()
            self._kept.add(beginning)
        return len(beginning)

    def _end_tokens(self, folder: Path, eos: str, special: Sequence[str]) -> list[str]:
        told = _read(folder / "generation_config.json").get("eos_token_id") if _has_generation(folder) else None
        ids = [number for number in (told if isinstance(told, list) else [told]) if isinstance(number, int)]
        named = [self._tokenizer.id_to_token(number) for number in ids]
        found = {eos, *named, *(ENDS & set(special))}
        return sorted(token for token in found if token and self._tokenizer.token_to_id(token) is not None)


class _Steps:
    """Passes tokens on from CTranslate2's thread, which computes the next one only when the reader asks for it."""

    def __init__(self, ends: Sequence[str]) -> None:
        self._ends = ends
        self.tokens: queue.SimpleQueue[int | Exception | None] = queue.SimpleQueue()
        """Holds at most one token, then an error or None at the end."""
        self.go_on = threading.Semaphore(0)
        self.stopped = False
        self.count = 0

    def take(self, step: ctranslate2.GenerationStepResult) -> bool:
        """Pass a token on and wait for the reader; return whether to stop."""
        self.count += 1
        if step.is_last and step.token in self._ends:
            return False
        self.tokens.put(step.token_id)
        self.go_on.acquire()
        return self.stopped


class _Text:
    """Joins tokens to text; a character of several tokens is held until it is complete."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._before: list[int] = []
        """Tokens of the text so far that decide how the next one is written, such as the space before it."""
        self._held: list[int] = []

    def feed(self, token: int) -> str:
        self._held.append(token)
        text = self._decoded()
        if text.endswith("\ufffd") and len(self._held) < LONGEST_CHARACTER:
            return ""
        self._before, self._held = self._held, []
        return text

    def finish(self) -> str:
        """Return what is held, an incomplete character as a replacement character."""
        return self._decoded() if self._held else ""

    def _decoded(self) -> str:
        before = self._tokenizer.decode(self._before, skip_special_tokens=False)
        whole = self._tokenizer.decode([*self._before, *self._held], skip_special_tokens=False)
        return str(whole[len(before) :])


def _common(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    """Return the beginning that both have in common."""
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return tuple(token for token, _ in alike)


def _read(path: Path) -> JsonObject:
    value = json.loads(path.read_text("utf-8"))
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _has_generation(folder: Path) -> bool:
    return (folder / "generation_config.json").is_file()


def _token(value: Json) -> str:
    """Return a special token, which is written as a string or as an object."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _template(folder: Path, config: Mapping[str, Json]) -> str:
    """Return the model's chat template: a file of its own, a string, or the default of several. Raises EngineError."""
    own = folder / "chat_template.jinja"
    if own.is_file():
        return own.read_text("utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {one.get("name"): one.get("template") for one in template if isinstance(one, dict)}
        template = named.get("default")
    if not isinstance(template, str) or not template:
        raise EngineError("The model in LOCAL_LLM has no chat template: it is not made for conversations.")
    return template
