"""The page's texts for the errors of the service, in every language but English, the language of the messages."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.settings import HOME
from server.errors import SAME_KIND, STATUS

TEXTS = HOME / "web" / "texts"
LANGUAGES = sorted(file.stem for file in TEXTS.glob("*.js") if file.stem != "en")
FOLDERS = ("jobs", "pipeline", "server")
ELSEWHERE = (
    "pipeline/llm/builtin", "pipeline/speech/normalise/languages", "pipeline/voices", "server/openai/chat",
    "server/realtime", "server/telephone", "server/wyoming",
)  # fmt: skip
"""Interfaces that the page does not use; and codes of languages."""
NOT_MET = {
    "audio_not_found": "of chat completions",
    "bad_setting": "ends the start",
    "client_gone": "the page has gone",
    "consent_in_use": "of voices made through the API",
    "consent_not_found": "of voices made through the API",
    "forbidden": "`errorOf` and the connection show texts of their own",
    "forbidden_signature": "of telephones",
    "item_exists": "of Realtime",
    "item_not_found": "of Realtime",
    "language_model_required": "of Realtime",
    "method_not_allowed": "of wrong clients",
    "noise_reduction_unavailable": "an option that the page does not send",
    "not_spoken": "of Realtime",
    "out_of_range": "of Realtime",
    "unauthorized": "`errorOf` and the connection show texts of their own",
    "unsupported_encoding": "of wrong clients",
    "unsupported_message": "of wrong clients",
    "upgrade_required": "of wrong clients",
    "voice_exists": "of voices made through the API",
    "voice_not_found": "of voices made through the API",
    "voice_protected": "of voices made through the API",
}
"""Codes that a user of the page cannot meet."""


def codes() -> dict[str, str]:
    """Return the literal codes of errors, each with a file that has it."""
    found = dict.fromkeys([*STATUS, *SAME_KIND.values()], "server/errors.py")
    for file in sorted(file for folder in FOLDERS for file in (HOME / folder).rglob("*.py")):
        name = str(file.relative_to(HOME))
        if not name.startswith(ELSEWHERE):
            found |= dict.fromkeys(_codes(file), name)
    return found


def _codes(file: Path) -> Iterator[str]:
    """Yield the `code` of classes, and the argument `code` of calls."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "code":
                    yield ast.literal_eval(line.value)
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                    yield str(keyword.value.value)


def texts(language: str) -> set[str]:
    """Return the codes that a language has a text for: among its errors, or one with a message of its own."""
    page = (TEXTS / f"{language}.js").read_text("utf-8")
    errors = re.search(r"^  errors: {$(.*?)^  },$", page, re.MULTILINE | re.DOTALL)
    assert errors is not None
    own = re.findall(r"^    (\w+): ", errors[1], re.MULTILINE)
    return {*own, *re.findall(r"^  trouble_(\w+):", page, re.MULTILINE)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_error_that_a_user_can_meet_has_a_text(language: str) -> None:
    known = texts(language)
    missing = {code: file for code, file in codes().items() if code not in known and code not in NOT_MET}
    assert missing == {}


def test_the_exceptions_are_codes_without_a_text() -> None:
    assert set(NOT_MET) <= set(codes()) | set(STATUS)
    assert not set(NOT_MET) & texts(LANGUAGES[0])
