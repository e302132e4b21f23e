"""The command line, with each command in a separate process."""

import json
import resource
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import srt
from websockets.sync.client import connect

from commands.serve import allow_files
from pipeline.audio.clip import encode_wav
from pipeline.settings import HOME, Settings
from server import VERSION
from tests import forked
from tests.questions import SUM, SUM_ANSWER, sample, spoken
from tests.real_models import real_model
from tests.server_process import ServerProcess, ask, environment, serving, wav
from tests.servers.running import closed_port
from tests.stt.recordings import MODEL, TRAINED, spliced
from tests.waiting import until


def parley(*arguments: str | Path, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command until it exits."""
    return forked.run(*map(str, arguments), folder=folder, env=environment(**settings))


def worked(*arguments: str | Path, folder: Path, **settings: str) -> str:
    """Run a command that must succeed with an empty stderr; return its stdout."""
    done = parley(*arguments, folder=folder, **settings)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(*arguments: str | Path, folder: Path, **settings: str) -> str:
    """Run a command that must fail with code 2 and one line on stderr, after the one that it starts, if it is `serve`;
    return the line."""
    done = parley(*arguments, folder=folder, **settings)
    assert done.returncode == 2, done
    *before, line = done.stderr.splitlines()
    assert before == [] or [one.startswith("Starting: ") for one in before] == [True]
    assert line.startswith("parley: ")
    return line


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two recordings; the second question depends on the first."""
    folder = tmp_path_factory.mktemp("questions")
    paths = folder / "name.wav", folder / "which.wav"
    for path, text in zip(paths, ("my name is alice", "what is my name"), strict=True):
        path.write_bytes(encode_wav(spoken(text)))
    return paths


def test_talk_is_one_conversation_and_writes_spoken_replies(questions: tuple[Path, Path], tmp_path: Path) -> None:
    told = worked("talk", *questions, "-o", "reply.wav", folder=tmp_path, **TRAINED)
    lines = told.splitlines()
    assert lines[0].split() == ["you:", *["my", "name", "is", "alice"]]
    assert lines[1].split() == ["parley:", *["Nice", "to", "meet", "you,", "Alice."]]
    assert "first_audio" in lines[2]
    assert lines[4].split() == ["parley:", *["Your", "name", "is", "Alice."]]
    assert 2.0 < wav((tmp_path / "reply.wav").read_bytes()).seconds < 10


def test_talk_json_prints_one_line_a_turn(questions: tuple[Path, Path], tmp_path: Path) -> None:
    turns = [json.loads(line) for line in worked("talk", "--json", *questions, folder=tmp_path, **TRAINED).splitlines()]
    assert [turn["llama"] for turn in turns] == ["Nice to meet you, Alice.", "Your name is Alice."]
    assert [turn["file"] for turn in turns] == [str(path) for path in questions]
    assert all(turn["language"] == "en" and turn["timings_ms"]["first_audio"] > 0 for turn in turns)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["talk", "missing.wav"], "missing.wav"),
        (["talk", "text.wav"], "text.wav"),
        (["talk", "."], "."),
        (["talk"], "--mic"),
        (["transcribe", "missing.wav"], "missing.wav"),
        (["say", "hello", "--voice", "absent"], "absent"),
        (["say", "...", "--json"], "nothing to say"),
        (["say", "hello", "-o", "no/such/folder/speech.wav"], "speech.wav"),
        (["talk", "hello.wav", "--voice", "absent"], "absent"),
        (["talk", "hello.wav", "-o", "no/such/folder/reply.wav"], "reply.wav"),
        (["talk", "hello.wav", "--language", "pt"], "STT_ENGINE"),
    ],
)
def test_failed_command_prints_one_line(arguments: list[str], says: str, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("this is not a recording")
    (tmp_path / "hello.wav").write_bytes(sample("hello"))
    assert says in refused(*arguments, folder=tmp_path)


def test_transcribe_prints_plain_text_into_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "sum.wav").write_bytes(encode_wav(spoken(SUM).at(44_100)))
    (tmp_path / "name.wav").write_bytes(encode_wav(spoken("what is my name")))
    lines = worked("transcribe", "sum.wav", "name.wav", folder=tmp_path, **TRAINED).splitlines()
    rows = [line.split("\t") for line in lines]
    assert [(row[0], row[-1]) for row in rows] == [("sum.wav", SUM), ("name.wav", "what is my name")]


def test_transcribe_json_includes_words(tmp_path: Path) -> None:
    (tmp_path / "sum.wav").write_bytes(encode_wav(spoken(SUM)))
    (row,) = json.loads(worked("transcribe", "sum.wav", "--json", "--words", folder=tmp_path, **TRAINED))
    assert (row["text"], row["language"]) == (SUM, "en")
    assert [word["word"] for word in row["words"]] == SUM.split()
    times = [word[end] for word in row["words"] for end in ("start", "end")]
    assert times == sorted(times)
    assert times[-1] <= row["seconds"]


def test_transcribe_writes_subtitles_with_another_model(tmp_path: Path) -> None:
    """The small Whisper is in MODELS_DIR. The recording has two sentences, each with its own cue."""
    clip, truth = spliced([(1.0, 0), (3.0, 1)])
    (tmp_path / "two.wav").write_bytes(encode_wav(clip))
    shutil.copytree(MODEL, tmp_path / "models" / "words")
    command = ("transcribe", "two.wav", "--model", "words", "--language", "en")
    whole = {"WHISPER_CONTEXT_S": "30"}  # else it is reported that this model needs the whole context
    assert worked(*command, "--format", "srt", "-o", "out", folder=tmp_path, **whole) == "out/two.srt\n"
    cues = list(srt.parse((tmp_path / "out" / "two.srt").read_text()))
    assert [cue.content for cue in cues] == [text for text, _, _ in truth]
    for cue, (_, start_s, _) in zip(cues, truth, strict=True):
        assert cue.start.total_seconds() == pytest.approx(start_s, abs=0.6)
    told = worked(*command, "--format", "vtt", "--line-width", "12", "--max-lines", "1", folder=tmp_path, **whole)
    assert told.startswith("WEBVTT")
    assert max(map(len, told.split("\n\n", 1)[1].splitlines())) <= len("00:00:00.000 --> 00:00:00.000")
    assert "huge" in refused("transcribe", "two.wav", "--model", "huge", folder=tmp_path)
    assert "no audio track 3" in refused("transcribe", "two.wav", "--track", "3", folder=tmp_path)


def test_say_writes_speech_of_plausible_length(tmp_path: Path) -> None:
    text = "What is seven plus five? What is your name?"
    (row,) = [json.loads(worked("say", text, "--voice", "woman", "--json", folder=tmp_path))]
    assert (row["file"], row["engine"], row["voice"]) == ("speech.wav", "espeak", "woman")
    speech = wav((tmp_path / "speech.wav").read_bytes())
    assert speech.seconds == pytest.approx(row["seconds"], abs=0.01)
    assert 1.5 < speech.seconds < 8


def test_say_speaks_a_text_in_its_own_language(tmp_path: Path) -> None:
    text = "Les trains qui partent aujourd'hui vers les grandes villes sont tous en retard."

    def seconds(*options: str) -> float:
        told = json.loads(worked("say", text, "--json", *options, folder=tmp_path))
        return float(told["seconds"])

    french, english = seconds("--language", "fr"), seconds("--language", "en")
    assert seconds() == pytest.approx(french, rel=0.02)
    assert english != pytest.approx(french, rel=0.05)


def test_voices_lists_included_and_added_voices(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "grandma.wav").write_bytes(sample("hello"))
    rows = {row["voice"]: row for row in json.loads(worked("voices", "--json", folder=tmp_path, VOICES_DIR="mine"))}
    assert set(rows) >= {"man", "woman", "grandma"}
    assert rows["grandma"]["clips"] == 1
    for name in ("man", "woman"):
        assert set(rows[name]["languages"].split()) >= {"en", "pt", "es"}
        assert {"espeak", "xtts"} <= set(rows[name]["engines"].split())
    plain = worked("voices", folder=tmp_path)
    assert {"man", "woman"} <= {line.split("\t")[0] for line in plain.splitlines()}


def test_doctor_names_what_is_missing_and_how_to_fix_it(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{closed_port()}"
    shutil.copytree(MODEL, tmp_path / "models" / "words")
    (tmp_path / "models" / "kokoro-82m").mkdir()
    watched = {"WATCH_DIR": str(tmp_path / "in"), "OUTPUT_DIR": str(tmp_path)}
    told = worked("doctor", "--json", folder=tmp_path, LLAMA_ENDPOINT=nowhere, STT_ENGINE="auto", **watched)
    rows = {row["what"]: row for row in json.loads(told)}
    for runs in ("python", "stt sphinx", "llm builtin", "tts espeak"):
        assert rows[runs]["state"] == "ok"
    assert rows[f"results {tmp_path}"]["state"] == "ok"
    assert rows[f"watch {tmp_path / 'in'}"]["state"] == "missing"
    assert rows["llm ollama"]["state"] == "missing"
    assert nowhere in rows["llm ollama"]["detail"]
    assert "ollama serve" in rows["llm ollama"]["remedy"]
    assert rows["stt whisper"]["state"] == "missing"
    assert rows["stt whisper"]["remedy"]
    assert rows["turn smart-turn"]["state"] == "missing"
    assert {what for what in rows if what.startswith("model")} == {"model words", "model kokoro-82m"}
    assert (rows["model words"]["state"], rows["model words"]["detail"]) == ("ok", "2 MB, folder")
    assert (rows["model kokoro-82m"]["state"], rows["model kokoro-82m"]["detail"]) == ("incomplete", "0 MB")
    assert all(row["remedy"] for row in rows.values() if row["state"] == "missing")


# --- serve ---


def test_port_in_use_is_reported_in_one_line(server: ServerProcess, tmp_path: Path) -> None:
    assert f"port {server.port}" in refused("serve", folder=tmp_path, PORT=str(server.port))
    assert f"port {server.port}" in refused("serve", "--port", str(server.port), folder=tmp_path)


def test_version_is_printed(tmp_path: Path) -> None:
    assert worked("--version", folder=tmp_path) == f"parley {VERSION}\n"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"PORT": "abc"}, "PORT"),
        ({"PORT": "99999"}, "PORT"),
        ({"LLM_ENGINE": "gpt"}, "LLM_ENGINE"),
        ({"MODEL_SIZE": "base", "LLAMA_ENDPOINT": "localhost:11434"}, "LLAMA_ENDPOINT"),
        ({"WHISPER_DEVICE": "tpu"}, "WHISPER_DEVICE"),
        ({"HOST": "0.0.0.0"}, "API_KEYS"),
        ({"HOST": "::"}, "API_KEYS"),
        ({"HOST": "no.such.host.invalid"}, "API_KEYS"),
        ({"HOST": "no.such.host.invalid", "ALLOW_ANONYMOUS": "true"}, "no.such.host.invalid"),
        ({"HOST": "192.0.2.1", "API_KEYS": "a-key-that-is-long-enough"}, "192.0.2.1"),
        ({"VOICE_NAME": "absent"}, "absent"),
        ({"STT_ENGINE": "whisper", "MODELS_DIR": "empty"}, "whisper"),
        ({"LLM_ENGINE": "ollama", "LLAMA_ENDPOINT": "http://127.0.0.1:9"}, "ollama serve"),
        ({"LLM_ENGINE": "openai", "LLM_OPENAI_URL": "http://127.0.0.1:9/v1"}, "LLM_OPENAI_URL"),
        ({"STT_ENGINE": "openai", "STT_OPENAI_URL": "http://127.0.0.1:9/v1"}, "STT_OPENAI_URL"),
        ({"TTS_ENGINE": "openai", "TTS_OPENAI_URL": "http://127.0.0.1:9/v1"}, "TTS_OPENAI_URL"),
    ],
)
def test_unusable_setting_stops_the_start_with_one_line(settings: dict[str, str], says: str, tmp_path: Path) -> None:
    assert says.lower() in refused(folder=tmp_path, **settings).lower()


def test_each_bad_setting_gets_its_own_line(tmp_path: Path) -> None:
    done = parley(folder=tmp_path, PORT="abc", DRAIN_SECONDS="-7")
    assert done.returncode == 2
    assert [line.split(":")[1].strip() for line in done.stderr.splitlines()] == ["PORT", "DRAIN_SECONDS"]


@pytest.mark.parametrize("line", ["import no_such_package", "from json import what_a_newer_one_has"])
def test_outdated_environment_is_reported_with_the_fix(line: str, tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(line)  # imported in place of the real one
    done = subprocess.run(
        [sys.executable, str(HOME / "main.py"), "voices"], cwd=tmp_path,
        env={**environment(), "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("parley: ")
    assert "make run" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_settings_are_read_from_an_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("VOICE_NAME=absent\n")
    assert "absent" in refused(folder=tmp_path)


def test_all_addresses_can_be_served_if_keys_are_set(tmp_path: Path) -> None:
    with serving(tmp_path, HOST="0.0.0.0", API_KEYS="a-key") as server:
        assert httpx.get(f"{server.url}/health/live").status_code == 200


def test_application_under_plain_uvicorn_keeps_limits_and_shutdown(tmp_path: Path) -> None:
    """Our limits and our shutdown apply: conversations get a message, and the exit code is 0."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "main:app", "--app-dir", HOME, "--fd", str(listening.fileno())],
            cwd=tmp_path, env=environment(**TRAINED, MODEL_HOST="thread"), pass_fds=[listening.fileno()],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            # The socket is open already: the connection waits for the application.
            with connect(f"ws://127.0.0.1:{port}/ws", open_timeout=60, max_size=None) as connection:
                assert SUM_ANSWER in ask(connection, spoken(SUM)).llama
            with socket.create_connection(("127.0.0.1", port), timeout=60) as stranger:
                stranger.sendall(b"GET /health?" + b"x" * 17_000)
                assert stranger.recv(100).startswith(b"HTTP/1.1 414")
            with connect(f"ws://127.0.0.1:{port}/ws?stream=1&api_key=open-sesame", open_timeout=60) as connection:
                assert json.loads(connection.recv(timeout=60))["type"] == "session_started"
                process.terminate()
                assert json.loads(connection.recv(timeout=60))["code"] == "draining"
            _, told = process.communicate(timeout=60)
            assert process.returncode == 0
            assert "Traceback" not in told
            assert "sesame" not in told
        finally:
            process.kill()
            process.wait()


def test_stuck_thread_does_not_keep_a_uvicorn_process_alive(tmp_path: Path) -> None:
    done = forked.run(folder=tmp_path, env=environment(), timeout_s=60, module="tests.stuck_thread")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("moment", "signal", "code"),
    [
        ("typer", "SIGTERM", 0), ("typer", "SIGINT", 130), ("server.app", "SIGTERM", 0), ("server.app", "SIGINT", 0),
        ("pipeline.workers.pool say hello", "SIGTERM", 143),
    ],
)  # fmt: skip
def test_interrupted_start_exits_cleanly(moment: str, signal: str, code: int, tmp_path: Path) -> None:
    """A container or a service manager stops a service that imports its modules: exceptions can be ignored there."""
    module, *arguments = moment.split()
    command = [sys.executable, "-m", "tests.stops_in_import", module, signal, *arguments]
    env = environment(PYTHONPATH=str(HOME))
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "listens on" not in done.stderr


def test_a_stopped_conversion_leaves_nothing_behind(tmp_path: Path) -> None:
    (model,) = real_model("smollm2-135m").glob("*.gguf")
    process = forked.start("convert", str(model), str(tmp_path / "made"), folder=tmp_path, env=environment())
    try:
        until((tmp_path / "made.partial").exists)
        process.terminate()
        process.communicate(timeout=60)
        assert not list(tmp_path.glob("made*"))
    finally:
        process.kill()
        process.wait()


def test_service_that_is_stopped_when_ready_exits_cleanly(tmp_path: Path) -> None:
    process = forked.start(folder=tmp_path, env=environment())
    assert process.stderr is not None
    try:
        while "listens on" not in process.stderr.readline():  # the earliest moment at which a user can see that it runs
            assert process.poll() is None
        process.terminate()
        _, told = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "Traceback" not in told
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGINT"])
def test_signal_between_the_announcement_and_the_server_exits_cleanly(signal: str, tmp_path: Path) -> None:
    """The earliest moment at which a service manager can stop a service that says it is ready."""
    done = forked.run(signal, folder=tmp_path, env=environment(), timeout_s=60, module="tests.stops_when_ready")
    assert "listens on" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


def test_service_raises_the_limit_of_open_files() -> None:
    """Otherwise 1,200 open connections would leave it no files to work with."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        allow_files(Settings(max_sessions=600))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert soft == (3424 if hard == -1 else min(3424, hard))
    assert hard == before[1]
