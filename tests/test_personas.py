"""Personas from files: what they set, and the sentence for each wrong file."""

from pathlib import Path

import pytest

from pipeline.errors import BadInput, ConfigError
from pipeline.personas import MAX_PERSONAS, Persona, Personas, prompt_of, temperature_of
from pipeline.voices.catalogue import Voices

TEACHER = """
name = "Ms. Teacher"
description = "Explains step by step."
system_prompt = "You are a patient teacher."
voice = "woman"
language = "Portuguese"
llm_model = "qwen3:8b"
temperature = 0
"""


def test_a_file_is_a_persona(tmp_path: Path) -> None:
    (tmp_path / "teacher.toml").write_text(TEACHER)
    (tmp_path / "plain.toml").write_text("")
    (tmp_path / "notes.txt").write_text("not a persona")
    personas = Personas.load(tmp_path)
    assert [one.id for one in personas] == ["plain", "teacher"]
    assert personas.get("plain") == Persona("plain", "plain")
    assert personas.get("teacher") == Persona(
        "teacher", "Ms. Teacher", "Explains step by step.", "You are a patient teacher.", "woman", "pt", "qwen3:8b", 0.0
    )
    with pytest.raises(BadInput, match=r"There is no persona '\.\./x'; there are: plain, teacher") as error:
        personas.get("../x")
    assert error.value.code == "unknown_persona"
    assert len(Personas.load(tmp_path / "missing")) == 0


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("name = ", "it is not TOML: .*"),
        ('nme = "x"', "'nme' is not a field; the fields are name, description, .*"),
        ("name = 3", "name must be a text in quotes"),
        ('[voice]\nespeak = "x"', "voice must be a text in quotes"),
        (f'system_prompt = "{"x" * 8001}"', "system_prompt is longer than 8000 characters"),
        ("temperature = 3", "temperature must be from 0 to 2"),
        ("temperature = nan", "temperature must be from 0 to 2"),
        ("temperature = true", "temperature must be from 0 to 2"),
        ('language = "English, mostly"', ".* is not a language code; send one like en or pt"),
        ("x" * 70_000, "the file is larger than 64 KB"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / "teacher.toml").write_text(content)
    with pytest.raises(ConfigError, match=rf"^The persona teacher\.toml cannot be used: {why}\.$"):
        Personas.load(tmp_path)


def test_names_and_their_number_are_limited(tmp_path: Path) -> None:
    (tmp_path / "no spaces.toml").write_text("")
    with pytest.raises(ConfigError, match="the name of the file must be letters"):
        Personas.load(tmp_path)
    (tmp_path / "no spaces.toml").unlink()
    for number in range(MAX_PERSONAS + 1):
        (tmp_path / f"p{number}.toml").write_text("")
    with pytest.raises(ConfigError, match="more than 200 personas"):
        Personas.load(tmp_path)


def test_a_folder_in_place_of_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "teacher.toml").mkdir()
    with pytest.raises(ConfigError, match=r"teacher\.toml cannot be used: the file cannot be read"):
        Personas.load(tmp_path)


def test_a_voice_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "teacher.toml").write_text('voice = "missing"')
    voices = Voices(tmp_path / "voices", tmp_path / "audios", Path("voices").resolve())
    with pytest.raises(ConfigError, match=r"teacher\.toml .*: voice: There is no voice 'missing'; there are: .*man"):
        Personas.load(tmp_path).check(voices)
    (tmp_path / "teacher.toml").write_text('voice = "woman"')
    Personas.load(tmp_path).check(voices)


@pytest.mark.parametrize(("given", "value"), [(None, None), ("", None), ("0.5", 0.5), (2, 2.0), (0, 0.0)])
def test_temperatures_of_clients(given: object, value: float | None) -> None:
    assert temperature_of(given) == value


@pytest.mark.parametrize("given", ["hot", -0.1, "2.01", True, [], {}, "nan", float("inf"), "1" * 400])
def test_invalid_temperatures_are_refused(given: object) -> None:
    with pytest.raises(BadInput, match="temperature must be from 0 to 2"):
        temperature_of(given)


def test_prompts_of_clients_are_limited_texts() -> None:
    assert prompt_of("x" * 8000) == "x" * 8000
    for wrong in ("x" * 8001, 5, ["x"]):
        with pytest.raises(BadInput, match="system"):
            prompt_of(wrong)
