"""Renders a chat template in a process with limits, because the template is a program that comes with the model.

A template can loop for hours or ask for all memory within what its language allows. The process of the template has
little memory and little CPU time for each prompt; beyond that, the system ends it, and the reply fails with a sentence.

    python -m pipeline.llm.template_process CPU_S      # started only by `TemplateProcess`
"""

import json
import os
import resource
import selectors
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import IO, Any

from pipeline.errors import EngineError
from pipeline.folders import HOME
from pipeline.llm.chat_template import ChatTemplate
from pipeline.support.environment import clean_environment

CPU_S = 3
"""CPU time for the start or for one prompt, in seconds; a usual template needs a millisecond."""
MEMORY = 512 * 2**20
"""Address space of the process, in bytes; Python and Jinja need a quarter."""
LONGEST_PROMPT = 8 * 2**20
"""Most bytes of a prompt."""
WAIT_S = 60.0
"""Backup for the limit of CPU time, which a busy machine stretches, in seconds."""
_LENGTH = struct.Struct("<I")


class TemplateProcess:
    """One model's template, in its process. For one caller at a time."""

    def __init__(self, source: str, special: Mapping[str, str], tokens: Sequence[str]) -> None:
        """Start the process. For the arguments and the errors see `ChatTemplate`."""
        self._made = [source, dict(special), list(tokens)]
        self._process = self._start()

    def render(self, messages: Sequence[Mapping[str, object]], tools: Sequence[Mapping[str, object]]) -> str:
        """Return the prompt; see `ChatTemplate.render`. Raises EngineError, also when the template exceeds a limit."""
        if self._process.poll() is not None:
            self._process = self._start()
        return self._asked(self._process, [list(messages), list(tools)])

    def _start(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(  # our own module
            [sys.executable, "-m", "pipeline.llm.template_process", str(CPU_S)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=clean_environment(PYTHONPATH=os.pathsep.join([str(HOME), os.environ.get("PYTHONPATH", "")])),
        )  # fmt: skip
        weakref.finalize(self, _end, process)
        self._asked(process, self._made)
        return process

    def _asked(self, process: "subprocess.Popen[bytes]", question: object) -> str:
        """Send a question, return the result. Raises EngineError, and ends a process that exceeds a limit."""
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018  # both are pipes
        try:
            _write(process.stdin, question)
            result = json.loads(_read_in_time(process.stdout, time.monotonic() + WAIT_S))
        except (OSError, EOFError, ValueError):
            _end(process)
            raise EngineError("The model's chat template takes too much time or memory.") from None
        if "error" in result:
            raise EngineError(result["error"])
        return str(result["text"])


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:  # unsent bytes for a process that has ended
                continue


def _write(pipe: IO[bytes], value: object) -> None:
    body = json.dumps(value).encode()
    pipe.write(_LENGTH.pack(len(body)) + body)
    pipe.flush()


def _read_in_time(pipe: IO[bytes], until: float) -> bytes:
    """Return the next frame. Raises EOFError at the end, ValueError for a frame that is too long, TimeoutError."""
    data = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while len(data) < _LENGTH.size or len(data) < _LENGTH.size + _LENGTH.unpack_from(data)[0]:
            if not selector.select(max(0.0, until - time.monotonic())):
                raise TimeoutError
            part = os.read(pipe.fileno(), 2**20)
            if not part:
                raise EOFError
            data += part
            if len(data) > LONGEST_PROMPT:
                raise ValueError("too long")
    return data[_LENGTH.size :]


def _read(pipe: IO[bytes]) -> Any:
    """Return the next question. Raises EOFError."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    return json.loads(pipe.read(_LENGTH.unpack(head)[0]))


def _limit(cpu_s: int) -> None:
    """Allow as much CPU time as one prompt may need, from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + cpu_s, resource.RLIM_INFINITY))


def main() -> None:
    """Make the template of the first question, then render each further one, until the pipe is closed."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    template: ChatTemplate | None = None
    while True:
        try:
            question = _read(sys.stdin.buffer)
        except EOFError:
            return
        _limit(int(sys.argv[1]))
        result: dict[str, str] = {"text": ""}
        try:
            if template is None:
                template = ChatTemplate(*question)
            else:
                result["text"] = template.render(*question)
        except EngineError as error:
            result = {"error": error.message}
        _write(sys.stdout.buffer, result)


if __name__ == "__main__":
    main()
