"""Time to the first byte of `POST /v1/audio/speech` for texts of 1, 5 and 20 sentences, in each format.

python -m bench.speech_first_byte http://127.0.0.1:8000/v1 [--rounds 5]
"""

import argparse
import statistics
import time
from typing import Literal

import openai

SENTENCE = "This is one of many sentences that are spoken one after the other, number {}. "


def first_byte_s(client: openai.OpenAI, text: str, kind: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]) -> float:
    """Seconds until the first bytes of sound arrive; the rest is not read."""
    began = time.perf_counter()
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=text, response_format=kind
    ) as answer:
        next(answer.iter_bytes())
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--key", default="none")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with openai.OpenAI(base_url=chosen.url, api_key=chosen.key, max_retries=0) as client:
        first_byte_s(client, SENTENCE, "pcm")
        for kind in ("mp3", "opus", "aac", "flac", "wav", "pcm"):
            told = []
            for count in (1, 5, 20):
                text = "".join(SENTENCE.format(number) for number in range(count))
                times = [first_byte_s(client, text, kind) for _ in range(chosen.rounds)]
                told.append(f"{count} sentences {1000 * statistics.median(times):.0f} ms")
            print(f"{kind:<5}{', '.join(told)}")


if __name__ == "__main__":
    main()
