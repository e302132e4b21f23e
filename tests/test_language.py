"""The language lint: which sentences it reports, and how a line is exempted."""

import pytest

from checks.language import findings


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.md", "The caller is told so.\n"),  # language: allow
        ("a.md", "This is no key.\n"),  # language: allow
        ("a.md", "The server closes. Who reconnects resumes.\n"),  # language: allow
        ("a.js", "// The upload is\n// told about it.\n"),
        ("a.py", '"""Of one reply."""\n'),
        ("a.py", f"def test_{'x' * 70}() -> None: ...\n"),
        ("a.md", "x" * 241 + "\n"),
    ],
)
def test_old_patterns_are_reported(name: str, text: str) -> None:
    assert len(list(findings(name, text))) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.md", "There is no key. Who may call? The caller.\n"),
        ("a.py", '"""Tell the caller."""\n'),
        ("a.py", 'TEXT = "Nobody knows."  # language: allow\n'),
        ("a.md", "| " + "x" * 300 + " |\n"),
    ],
)
def test_plain_and_exempted_lines_pass(name: str, text: str) -> None:
    assert list(findings(name, text)) == []
