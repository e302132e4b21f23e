"""Kokoro's graph, with ONNX Runtime's own integer convolutions, with float32 ones, and as matrix products.

    python -m bench.kokoro [--model models/kokoro-82m] [--rounds 3] [--streams 1 2]

Here a clause is synthesised whole, so its first sound comes at its end. Concurrent streams are processes, as the
service has them (TTS_REPLICAS), each with one thread. CPU seconds are beside wall time: on a busy machine only the
former compare. "streams a core": seconds of sound for a second of CPU.

"Whole / in windows": the same clauses as the service speaks them, and how far the sound in windows is from the whole.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from bench.rows import Rows
from pipeline.settings import HOME
from pipeline.support import onnx_graph
from pipeline.tts import integer_convolutions
from pipeline.tts.kokoro_engine import AUDIBLE, STYLE_WIDTH, SYMBOLS
from pipeline.tts.kokoro_model import KokoroModel
from pipeline.tts.kokoro_statistics import FILE, Expected, Forecast

RATE_HZ = 24_000
CLAUSES = {
    "short": "hɐlˈoʊ, hˌaʊ kæn aɪ hˈɛlp juː?",
    "middle": "ðə kwˈɪk bɹˈaʊn fˈɑːks dʒˈʌmps ˈoʊvəɹ ðə lˈeɪzi dˈɑːɡ.",
    "long": "ðə wˈɛðəɹ ɪn lˈʌndən tədˈeɪ ɪz klˈaʊdi wɪð ɐ tʃˈæns ʌv ɹˈeɪn lˈeɪtəɹ ɪn ðɪ ˌæftəɹnˈuːn.",
}
VOICE = HOME / "voices" / "kokoro" / "af_heart.bin"


def inputs(folder: Path, phonemes: str, file: Path = VOICE, speed: float = 1.0) -> dict[str, Any]:
    vocab = json.loads((folder / "vocab.json").read_text("utf-8"))["vocab"]
    voice = np.fromfile(file, "<f4").reshape(-1, STYLE_WIDTH)
    tokens = [vocab[symbol] for symbol in phonemes.translate(SYMBOLS) if symbol in vocab]
    return {
        "tokens": np.array([[0, *tokens, 0]], np.int64),
        "style": voice[len(tokens)][None],
        "speed": np.array([speed], np.float32),
    }


def session(model: str | bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def in_float(model: Any) -> onnx.ModelProto:
    """Replace each ConvInteger by a Conv of the same numbers in float32."""
    full = onnx.ModelProto.FromString(model.SerializeToString())
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in full.graph.initializer}
    nodes = []
    for old in full.graph.node:
        if old.op_type != "ConvInteger":
            nodes.append(old)
            continue
        quantised, name, zero, zero_name = old.input
        out = old.output[0]
        weights = constants[name].astype(np.float32) - float(constants[zero_name])
        full.graph.initializer.append(onnx.numpy_helper.from_array(weights, f"{out}_weights"))
        nodes += [onnx.helper.make_node("Cast", [one], [f"{out}_{i}"], to=1) for i, one in enumerate((quantised, zero))]
        nodes.append(onnx.helper.make_node("Sub", [f"{out}_0", f"{out}_1"], [f"{out}_in"]))
        conv = onnx.helper.make_node("Conv", [f"{out}_in", f"{out}_weights"], [f"{out}_sums"])
        conv.attribute.extend(old.attribute)
        nodes += [conv, onnx.helper.make_node("Cast", [f"{out}_sums"], [out], to=6)]
    del full.graph.node[:]
    full.graph.node.extend(nodes)
    return full


def models(folder: Path) -> dict[str, bytes]:
    plain = onnx_graph.read(folder / "model.onnx")
    made = {"ConvInteger": plain.SerializeToString(), "float32": in_float(plain).SerializeToString()}
    integer_convolutions.speed_up(plain)
    return {**made, "products": plain.SerializeToString()}


def stream(model: bytes, given: dict[str, Any], rounds: int, ready: Any, results: Any) -> None:
    """Synthesise one clause again and again, all processes at the same time; report seconds of sound, CPU, and time."""
    engine = session(model)
    engine.run(None, given)
    ready.wait()
    busy, began, sound = time.process_time(), time.perf_counter(), 0.0
    firsts = []
    for _ in range(rounds):
        start = time.perf_counter()
        sound += engine.run(None, given)[0].size / RATE_HZ
        firsts.append(time.perf_counter() - start)
    results.put((sound, time.process_time() - busy, time.perf_counter() - began, statistics.median(firsts)))


def decibels(wave: Any) -> Any:
    """Return the log spectrum of each 43 ms, in 64 bands."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, 1024)[::256] * np.hanning(1024)
    power = np.abs(np.fft.rfft(frames))[:, :512] ** 2
    return 10 * np.log10(power.reshape(len(frames), 64, 8).mean(2) + 1e-4)


def windows(folder: Path, voice: Path, rows: Rows) -> None:
    forecast = Forecast.read(FILE)
    model = KokoroModel(folder / "model.onnx", 1)
    for clause in CLAUSES:
        given = inputs(folder, CLAUSES[clause], voice)
        whole, *costs = spoken(model, given, Expected(forecast))
        joined, *costs_in_windows = spoken(model, given, Expected.read(voice.with_suffix(".npy"), forecast))
        joined = np.concatenate([np.zeros(len(whole) - len(joined), np.float32), joined])
        error = 10 * np.log10(np.mean(whole**2) / max(np.mean((whole - joined) ** 2), 1e-12))
        levels = decibels(whole)
        spectrum = np.abs(levels - decibels(joined))[levels.mean(1) > -30].mean()
        (first, all_), (first_in_windows, all_in_windows) = costs, costs_in_windows
        rows.add(
            f"{voice.stem}, {clause}", f"{1000 * first:.0f} / {1000 * first_in_windows:.0f} ms",
            f"{all_:.2f} / {all_in_windows:.2f} s", f"{error:.0f} dB", f"{spectrum:.1f} dB",
        )  # fmt: skip


def spoken(model: KokoroModel, given: dict[str, Any], expected: Expected) -> tuple[Any, float, float]:
    """Return the sound of a clause, and the CPU seconds until its first audible sample and until its end."""
    began, first, waves = time.process_time(), None, []
    for wave in model.speak(given, expected):
        if wave is not None:
            waves.append(wave)
            if first is None and np.abs(wave).max() > AUDIBLE:
                first = time.process_time() - began
    return np.concatenate(waves), first or 0.0, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=HOME / "models" / "kokoro-82m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clauses", nargs="+", choices=list(CLAUSES), default=list(CLAUSES))
    chosen = parser.parse_args()
    made = models(chosen.model)
    print(f"{os.cpu_count()} processors")
    rows = Rows("clause", "convolutions", "streams", "first sound", "its CPU", "CPU a second", "streams a core")
    fork = multiprocessing.get_context("spawn")
    for clause in chosen.clauses:
        given = inputs(chosen.model, CLAUSES[clause])
        for name, model in made.items():
            for count in chosen.streams:
                ready, results = fork.Barrier(count), fork.Queue()
                args = (model, given, chosen.rounds, ready, results)
                running = [fork.Process(target=stream, args=args) for _ in range(count)]
                for process in running:
                    process.start()
                sounds, busy, _, firsts = zip(*(results.get() for _ in running), strict=True)
                for process in running:
                    process.join()
                rows.add(
                    clause, name, str(count), f"{1000 * statistics.median(firsts):.0f} ms",
                    f"{1000 * sum(busy) / count / chosen.rounds:.0f} ms", f"{sum(busy) / sum(sounds):.2f} s",
                    f"{sum(sounds) / sum(busy):.1f}",
                )  # fmt: skip
    print("\nWhole / in windows")
    rows = Rows("voice, clause     ", "CPU of the first sound", "of all", "signal to error", "spectra differ by")
    for voice in sorted((HOME / "voices" / "kokoro").glob("*.bin")):
        windows(chosen.model, voice, rows)


if __name__ == "__main__":
    main()
