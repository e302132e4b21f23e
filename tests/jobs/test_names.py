"""Names of files from strangers."""

import pytest

from jobs.names import name_in_disposition, name_in_url, safe_name

DISPOSITIONS = {
    'attachment; filename="talk.mp3"': "talk.mp3",
    "attachment; filename=talk.mp3": "talk.mp3",
    "inline; FileName=talk.mp3": "talk.mp3",
    'attachment; filename="a;b.wav"': "a;b.wav",
    'attachment; filename="a \\"b\\".wav"': 'a "b".wav',
    'attachment; filename="Olá.wav"': "Olá.wav",
    # The extended form has precedence, wherever it stands.
    "attachment; filename=\"x.mp3\"; filename*=UTF-8''Ol%C3%A1%20voc%C3%AA.mp3": "Olá você.mp3",
    "attachment; filename*=UTF-8''%e2%82%ac.wav; filename=a.wav": "€.wav",
    "attachment; filename*=iso-8859-1'en'%A3%20rates.wav": "£ rates.wav",
    # Made safe.
    'attachment; filename="../../etc/passwd"': "passwd",
    'attachment; filename="C:\\\\talks\\\\a.wav"': "a.wav",
    "attachment; filename*=UTF-8''..%2f..%2fa.wav": "a.wav",
    "attachment; filename*=UTF-8''a%00b%1b%0d%0a.wav": "ab.wav",
    "attachment; filename=" + "x" * 500: "x" * 200,
    # No name.
    "": None,
    "inline": None,
    "attachment": None,
    "attachment; filename": None,
    'attachment; filename=""': None,
    "attachment; filename=..": None,
    'attachment; filename="talks/"': None,
    "attachment; name=a.wav": None,
}


@pytest.mark.parametrize("header", DISPOSITIONS)
def test_the_file_name_is_read_from_the_header(header: str) -> None:
    assert name_in_disposition(header) == DISPOSITIONS[header]


@pytest.mark.parametrize(
    "header", ["attachment; filename*=nope''a%ff.wav", "attachment; filename*='", "; ;=;", "attachment; filename*0*=x'"]
)
def test_malformed_headers_give_no_unsafe_name(header: str) -> None:
    name = name_in_disposition(header)
    assert name is None or name == safe_name(name)


def test_the_file_name_is_read_from_the_url() -> None:
    assert name_in_url("https://example.org/talks/Ol%C3%A1%20you.mp3?x=1") == "Olá you.mp3"
    assert name_in_url("https://example.org/") == "download"
    assert name_in_url("https://example.org/..%2f..%2fetc%2fpasswd") == "passwd"
    assert name_in_url("https://example.org/a%0d%0ab%1b.wav") == "ab.wav"
    assert name_in_url("https://example.org/a%5cb.wav") == "b.wav"
