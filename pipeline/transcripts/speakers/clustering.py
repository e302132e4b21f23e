"""Clustering of voice embeddings into speakers.

Average-linkage clustering of unit vectors by cosine (as in most diarizers since Garcia-Romero et al., 2017), then each
stretch of speech goes to the nearest centre, with a penalty for a change of speaker inside it.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]

MAX_DISTANCE = 0.36
"""Mean cosine distance between two groups above which they are two people. Fitted on spliced read speech of five
people (`bench/diarization.py`): 0.34 to 0.38 nearly always find the right number, 0.30 too many, 0.40 too few."""
SURE_S = 1.2
"""Shorter slices cannot start a group, because they are unreliable; they join one."""
MIN_SHARE_S = 1.5
"""A group with less speech in total is a noise and not a speaker, unless the caller asks for that many speakers."""
MAX_CLUSTERED = 2000
"""Largest number of slices compared with each other; the rest are compared with the centres. Bounds memory at 16 MB.
"""
ROUNDS = 3
"""Iterations of assigning slices to the nearest centre and moving centres to the mean of their slices."""
SWITCH = 0.06
"""Cosine similarity that a change of speaker inside an utterance must gain."""


def centres(vectors: Matrix, seconds: Sequence[float], least: int | None, most: int | None) -> Matrix:
    """Return the speakers' unit vectors, shape (speakers, d). vectors: unit vectors of slices, shape (n, d), n > 0;
    seconds: lengths of the slices."""
    from scipy.cluster.hierarchy import fcluster, linkage

    lengths = np.asarray(seconds, np.float64)
    sure = np.flatnonzero(lengths >= SURE_S)
    if len(sure) < max(2, least or 0):
        sure = np.arange(len(vectors))
    if len(sure) > MAX_CLUSTERED:
        sure = sure[np.linspace(0, len(sure) - 1, MAX_CLUSTERED).astype(int)]
    chosen, weights = vectors[sure], lengths[sure]
    if len(sure) == 1:
        return np.asarray(chosen)
    tree = linkage(chosen, method="average", metric="cosine")
    labels = fcluster(tree, MAX_DISTANCE, criterion="distance")
    sizes = _sizes(labels, weights)
    groups = [label for label in sorted(sizes) if sizes[label] >= MIN_SHARE_S] or [
        max(sizes, key=lambda one: sizes[one])
    ]
    wanted = max(len(groups), least or 1)
    wanted = min(wanted, most or wanted, len(sure))
    if wanted != len(groups):
        labels = fcluster(tree, wanted, criterion="maxclust")
        groups = sorted(set(labels.tolist()))
    found = np.stack([_centre(chosen[labels == label], weights[labels == label]) for label in groups])
    for _ in range(ROUNDS):
        nearest = np.argmax(vectors @ found.T, axis=1)
        parts = [(vectors[nearest == one], lengths[nearest == one]) for one in range(len(found))]
        found = np.stack([_centre(*part) if len(part[0]) else found[one] for one, part in enumerate(parts)])
    return found


def _sizes(labels: npt.NDArray[np.int32], weights: npt.NDArray[np.float64]) -> dict[int, float]:
    return {int(label): float(weights[labels == label].sum()) for label in set(labels)}


def _centre(vectors: Matrix, weights: npt.NDArray[np.float64]) -> Matrix:
    mean = np.average(vectors, axis=0, weights=weights)
    return np.asarray(mean / (np.linalg.norm(mean) + 1e-9), np.float32)


def path(likeness: Matrix) -> list[int]:
    """Return the speaker of each step of one utterance: the most similar one, less the penalty for changes (Viterbi).

    likeness: shape (steps, speakers).
    """
    best = likeness[0].astype(np.float64)
    came: list[npt.NDArray[np.intp]] = []
    for row in likeness[1:]:
        switched = best.max() - SWITCH
        came.append(np.where(best >= switched, np.arange(len(best)), best.argmax()))
        best = np.maximum(best, switched) + row
    speaker = int(best.argmax())
    steps = [speaker]
    for before in reversed(came):
        speaker = int(before[speaker])
        steps.append(speaker)
    return steps[::-1]
