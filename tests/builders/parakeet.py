"""Small random NeMo models in onnx-asr's layout: the graphs, names, shapes and metadata of the real ones.

The encoder is one strided convolution over the features (a frame for each 80 ms), the decoder a matrix: the text is
nonsense, and the same in every run.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES, SUBSAMPLING, HIDDEN = 128, 8, 32
DURATIONS = 5
"""TDT's durations: 0 to 4 frames."""
PIECES = (
    "<unk>", "▁the", "▁a", "▁light", "▁on", "ing", "s", "▁time", "▁is", "er", ".", ",", "▁wh", "at", "?", "▁go",
    "▁turn", "▁in", "▁room", "▁red", "▁blue", "ly", "▁ten", "▁me", "t", "▁card", "▁to", "▁and", "▁do", "▁we",
)  # fmt: skip
CANARY_MARKERS = (
    "▁", "<|startofcontext|>", "<|startoftranscript|>", "<|emo:undefined|>", "<|en|>", "<|de|>", "<|pnc|>", "<|noitn|>",
    "<|notimestamp|>", "<|nodiarize|>", "<|endoftext|>",
)  # fmt: skip
FLOAT, INT64, INT32 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32


def build(folder: Path, kind: str = "tdt", *, seed: int = 0) -> Path:
    """Write a model of this kind (tdt, rnnt, ctc, aed) and return its folder."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    pieces = (*PIECES, *CANARY_MARKERS) if kind == "aed" else PIECES
    vocabulary = [*pieces, "<blk>"]
    (folder / "vocab.txt").write_text("".join(f"{piece} {id}\n" for id, piece in enumerate(vocabulary)), "utf-8")
    config = {
        "model_type": f"nemo-conformer-{kind}",
        "features_size": FEATURES,
        "subsampling_factor": SUBSAMPLING,
        "max_tokens_per_step": 10,
        "max_sequence_length": 40,
    }
    (folder / "config.json").write_text(json.dumps(config))
    if kind == "ctc":
        _save(folder / "model.onnx", _encoder(rng, ctc=len(vocabulary)))
    elif kind == "aed":
        _save(folder / "encoder-model.onnx", _encoder(rng, aed=True))
        _save(folder / "decoder-model.onnx", _canary_decoder(rng, len(vocabulary), pieces.index("<|endoftext|>")))
    else:
        _save(folder / "encoder-model.onnx", _encoder(rng))
        outputs = len(vocabulary) + (DURATIONS if kind == "tdt" else 0)
        _save(folder / "decoder_joint-model.onnx", _joint(rng, len(vocabulary), outputs))
    return folder


def _save(path: Path, graph: onnx.GraphProto) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _weights(rng: np.random.Generator, name: str, *shape: int, scale: float) -> onnx.TensorProto:
    return numpy_helper.from_array((rng.standard_normal(shape) * scale).astype(np.float32), name)


def _int(name: str, *values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def _value(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _encoder(rng: np.random.Generator, *, ctc: int = 0, aed: bool = False) -> onnx.GraphProto:
    """(B, features, T) → outputs (B, hidden, T/8) and encoded_lengths; for CTC logprobs (B, T/8, vocabulary);
    for Canary encoder_embeddings (B, T/8, hidden) and encoder_mask (B, T/8)."""
    node = helper.make_node
    width = ctc or HIDDEN
    weights = [
        _weights(rng, "filter", width, FEATURES, SUBSAMPLING, scale=0.1),
        _int("one", 1),
        _int("factor", SUBSAMPLING),
    ]
    nodes = [
        # One stride of padding at the end, so that the last, incomplete frame counts.
        node(
            "Conv", ["audio_signal", "filter"], ["frames"], strides=[SUBSAMPLING], kernel_shape=[SUBSAMPLING],
            pads=[0, SUBSAMPLING - 1],
        ),
        node("Sub", ["length", "one"], ["before"]),
        node("Div", ["before", "factor"], ["whole"]),
        node("Add", ["whole", "one"], ["encoded_lengths"]),
    ]  # fmt: skip
    inputs = [_value("audio_signal", FLOAT, "b", FEATURES, "t"), _value("length", INT64, "b")]
    if ctc:
        nodes += [
            node("Transpose", ["frames"], ["by_time"], perm=[0, 2, 1]),
            node("LogSoftmax", ["by_time"], ["logprobs"], axis=-1),
        ]
        outputs = [_value("logprobs", FLOAT, "b", "f", ctc)]
        nodes = [one for one in nodes if one.output[0] not in ("before", "whole", "encoded_lengths")]
    elif aed:
        nodes += [
            node("Tanh", ["frames"], ["bounded"]),
            node("Transpose", ["bounded"], ["encoder_embeddings"], perm=[0, 2, 1]),
            node("Shape", ["encoder_embeddings"], ["count"], start=1, end=2),
            node("Squeeze", ["count"], ["most"]),
            node("Range", ["zero", "most", "step"], ["places"]),
            node("Unsqueeze", ["encoded_lengths", "last"], ["ends"]),
            node("Less", ["places", "ends"], ["inside"]),
            node("Cast", ["inside"], ["encoder_mask"], to=INT64),
        ]
        weights += [
            numpy_helper.from_array(np.array(0, np.int64), "zero"),
            numpy_helper.from_array(np.array(1, np.int64), "step"),
            _int("last", 1),
        ]
        outputs = [_value("encoder_embeddings", FLOAT, "b", "f", HIDDEN), _value("encoder_mask", INT64, "b", "f")]
    else:
        nodes.append(node("Tanh", ["frames"], ["outputs"]))
        outputs = [_value("outputs", FLOAT, "b", HIDDEN, "f"), _value("encoded_lengths", INT64, "b")]
    return helper.make_graph(nodes, "encoder", inputs, outputs, weights)


def _joint(rng: np.random.Generator, vocabulary: int, width: int) -> onnx.GraphProto:
    """One step of the prediction network and the joint network, with two states of one layer."""
    node = helper.make_node
    weights = [
        _weights(rng, "embedding", vocabulary, HIDDEN, scale=1.0),
        _weights(rng, "joint", HIDDEN, width, scale=1.0),
        _int("flat", 1, 1, HIDDEN),
        numpy_helper.from_array(np.float32(0.5), "half"),
    ]
    nodes = [
        node("Gather", ["embedding", "targets"], ["said"]),
        node("Reshape", ["said", "flat"], ["word"]),
        node("Mul", ["input_states_1", "half"], ["older"]),
        node("Add", ["word", "older"], ["sum"]),
        node("Tanh", ["sum"], ["output_states_1"]),
        node("Identity", ["input_states_2"], ["output_states_2"]),
        node("Reshape", ["encoder_outputs", "flat"], ["sound"]),
        node("Add", ["sound", "output_states_1"], ["both"]),
        node("MatMul", ["both", "joint"], ["scores"]),
        node("Unsqueeze", ["scores", "second"], ["outputs"]),
        node("Identity", ["target_length"], ["prednet_lengths"]),
    ]
    weights.append(_int("second", 1))
    inputs = [
        _value("encoder_outputs", FLOAT, 1, HIDDEN, 1),
        _value("targets", INT32, 1, 1),
        _value("target_length", INT32, 1),
        _value("input_states_1", FLOAT, 1, "b", HIDDEN),
        _value("input_states_2", FLOAT, 1, "b", HIDDEN),
    ]
    outputs = [
        _value("outputs", FLOAT, 1, 1, 1, width),
        _value("prednet_lengths", INT32, 1),
        _value("output_states_1", FLOAT, 1, "b", HIDDEN),
        _value("output_states_2", FLOAT, 1, "b", HIDDEN),
    ]
    return helper.make_graph(nodes, "decoder_joint", inputs, outputs, weights)


def _canary_decoder(rng: np.random.Generator, vocabulary: int, end: int) -> onnx.GraphProto:
    """One step of Canary's decoder: tokens and the mean of the sound; `decoder_mems` grows by the tokens read. Long
    text makes the end likely."""
    node = helper.make_node
    rise = np.zeros((1, vocabulary), np.float32)
    rise[0, end] = 1.0
    weights = [
        _weights(rng, "embedding", vocabulary, HIDDEN, scale=1.0),
        _weights(rng, "out", HIDDEN, vocabulary, scale=0.5),
        numpy_helper.from_array(rise, "rise"),
        _int("one", 1),
        _int("last", 2),
        _int("first", 0),
    ]
    nodes = [
        node("Gather", ["embedding", "input_ids"], ["said"]),
        node("Cast", ["encoder_mask"], ["mask"], to=FLOAT),
        node("Unsqueeze", ["mask", "last"], ["column"]),
        node("Mul", ["encoder_embeddings", "column"], ["heard"]),
        node("ReduceSum", ["heard", "one"], ["sum"], keepdims=1),
        node("ReduceSum", ["column", "one"], ["frames"], keepdims=1),
        node("Div", ["sum", "frames"], ["sound"]),
        node("Add", ["said", "sound"], ["both"]),
        node("MatMul", ["both", "out"], ["scores"]),
        node("Shape", ["decoder_mems"], ["read"], start=2, end=3),
        node("Cast", ["read"], ["count"], to=FLOAT),
        node("Mul", ["count", "rise"], ["pull"]),
        node("Add", ["scores", "pull"], ["raised"]),
        node("LogSoftmax", ["raised"], ["logits"], axis=-1),
        node("Unsqueeze", ["both", "first"], ["new"]),
        node("Concat", ["decoder_mems", "new"], ["decoder_hidden_states"], axis=2),
    ]
    inputs = [
        _value("input_ids", INT64, "b", "n"),
        _value("encoder_embeddings", FLOAT, "b", "f", HIDDEN),
        _value("encoder_mask", INT64, "b", "f"),
        _value("decoder_mems", FLOAT, 1, "b", "m", HIDDEN),
    ]
    outputs = [
        _value("logits", FLOAT, "b", "n", vocabulary),
        _value("decoder_hidden_states", FLOAT, 1, "b", "k", HIDDEN),
    ]
    return helper.make_graph(nodes, "decoder", inputs, outputs, weights)
