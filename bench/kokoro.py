"""Kokoro's graph, with ONNX Runtime's own integer convolutions, with float32 ones, and as matrix products.

    python -m bench.kokoro [--model models/kokoro-82m] [--rounds 3] [--streams 1 2]

A clause is synthesised whole, so its first sound comes at its end. Concurrent streams are processes, as the service has
them (TTS_REPLICAS), each with one thread. CPU seconds are beside wall time: on a busy machine only the former compare.
"streams a core": seconds of sound for a second of CPU.

"windows": how far the sound of a generator that runs in windows of half a second is from the whole one's. Its layers
are normalised with mean and variance over the whole clause, which a window does not know. With those of the whole
clause, what remains is the range of each window's quantisation.
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
from pipeline.tts import integer_convolutions, onnx_graph

RATE_HZ = 24_000
CLAUSES = {
    "short": "hɐlˈoʊ, hˌaʊ kæn aɪ hˈɛlp juː?",
    "middle": "ðə kwˈɪk bɹˈaʊn fˈɑːks dʒˈʌmps ˈoʊvəɹ ðə lˈeɪzi dˈɑːɡ.",
    "long": "ðə wˈɛðəɹ ɪn lˈʌndən tədˈeɪ ɪz klˈaʊdi wɪð ɐ tʃˈæns ʌv ɹˈeɪn lˈeɪtəɹ ɪn ðɪ ˌæftəɹnˈuːn.",
}
FEATURES = ("/decoder/decoder/decode.3/Div_4_output_0", "/decoder/decoder/generator/Concat_3_output_0")
"""The generator's inputs: its features, 80 a second, and the spectrum of its source, 4,800 a second."""
FRAME = 600
"""Samples of the model's frame; two features, 120 spectra."""
WINDOW, CONTEXT = 20, 4
"""Frames of a window, and those that it needs on either side."""


def inputs(folder: Path, clause: str) -> dict[str, Any]:
    vocab = json.loads((folder / "vocab.json").read_text("utf-8"))["vocab"]
    voice = np.fromfile(HOME / "voices" / "kokoro" / "af_heart.bin", "<f4").reshape(-1, 256)
    tokens = [vocab[symbol] for symbol in CLAUSES[clause] if symbol in vocab]
    return {
        "tokens": np.array([[0, *tokens, 0]], np.int64),
        "style": voice[len(tokens)][None],
        "speed": np.ones(1, np.float32),
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


def cut(model: onnx.ModelProto, outputs: list[str], given: tuple[str, ...]) -> bytes:
    """Keep the part of a graph between these values."""
    graph, made = model.graph, {name: node for node in model.graph.node for name in node.output}
    waiting, needed = list(outputs), set()
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += [] if name in given or name not in made else made[name].input
    part = onnx.ModelProto()
    part.CopyFrom(model)
    kept = [node for node in graph.node if any(name in needed and name not in given for name in node.output)]
    del part.graph.node[:], part.graph.input[:], part.graph.output[:]
    part.graph.node.extend(kept)
    part.graph.input.extend(one for one in graph.input if one.name in needed)
    for names, values in ((given, part.graph.input), (outputs, part.graph.output)):
        shape = [None] if names == ["audio"] else [None] * 3
        values.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in names)
    return bytes(part.SerializeToString())


def decibels(wave: Any) -> Any:
    """Return the log spectrum of each 43 ms, in 64 bands."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, 1024)[::256] * np.hanning(1024)
    power = np.abs(np.fft.rfft(frames))[:, :512] ** 2
    return 10 * np.log10(power.reshape(len(frames), 64, 8).mean(2) + 1e-4)


def windows(model: bytes, given: dict[str, Any], rows: Rows) -> None:
    full = onnx.ModelProto.FromString(model)
    front = session(cut(full, list(FEATURES), ()))
    features, source = front.run(None, given)
    style = {"style": given["style"]}
    own = session(cut(full, ["audio"], FEATURES))
    whole = own.run(None, {FEATURES[0]: features, FEATURES[1]: source, **style})[0].ravel()

    means = tuple(
        node.output[0] for node in full.graph.node if node.op_type == "ReduceMean" and "generator" in node.name
    )
    reading = session(cut(full, ["audio", *means], FEATURES))
    statistics_of_all = reading.run(None, {FEATURES[0]: features, FEATURES[1]: source, **style})[1:]
    frozen = session(cut(full, ["audio"], (*FEATURES, *means)))
    known = dict(zip(means, statistics_of_all, strict=True))

    count = features.shape[2] // 2
    for label, engine, more in (("of the window", own, {}), ("of the whole clause", frozen, known)):
        chunks, cost = [], []
        for start in range(0, count, WINDOW):
            low, high = max(0, start - CONTEXT), min(count, start + WINDOW + CONTEXT)
            part = {
                FEATURES[0]: features[:, :, 2 * low : 2 * high],
                FEATURES[1]: source[:, :, 120 * low : 120 * high + 1],
            }
            wanted = {one.name for one in engine.get_inputs()}
            before = time.process_time()
            wave = engine.run(
                None, {name: value for name, value in {**part, **style, **more}.items() if name in wanted}
            )[0]
            cost.append(time.process_time() - before)
            end = min(count, start + WINDOW)
            chunks.append(wave.ravel()[(start - low) * FRAME : (end - low) * FRAME])
        joined = np.concatenate(chunks)[: len(whole)]
        error = 10 * np.log10(np.mean(whole**2) / np.mean((whole - joined) ** 2))
        levels = decibels(whole)
        spectrum = np.abs(levels - decibels(joined))[levels.mean(1) > -30].mean()
        rows.add(label, f"{1000 * cost[0]:.0f} ms", f"{sum(cost):.2f} s", f"{error:.0f} dB", f"{spectrum:.1f} dB")


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
        given = inputs(chosen.model, clause)
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
    print("\nThe generator in windows, each normalised with mean and variance …")
    rows = Rows("windows        ", "CPU of the first", "of all", "signal to error", "spectra differ by")
    windows(made["float32"], inputs(chosen.model, "middle"), rows)


if __name__ == "__main__":
    main()
