"""Find quaint English in code, page and documents: `python -m checks.language [FILE ...]`.

Reports each match as `file:line: 'text': advice` and exits with 1 if there is one. A line that contains
`language: allow` is skipped. The list is short on purpose: it holds what this project has written most often against
its style; CONTRIBUTING.md has the glossary.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".py", ".js", ".mjs", ".md", ".html", ".css", ".sh", ".yml", ".toml", ".example", "Makefile", ".ci/run")
ALLOW = "language: allow"
LONGEST_TEST_NAME = 70
LONGEST_DOC_LINE = 240


@dataclass(frozen=True)
class Rule:
    """One banned pattern. `advice` names what to write instead."""

    pattern: re.Pattern[str]
    advice: str


def _rule(pattern: str, advice: str) -> Rule:
    return Rule(re.compile(pattern.replace(" ", r"\s+")), advice)


RULES = (
    _rule(r"\b[Nn]obody\b", "name the party, with 'not'"),
    _rule(r"\b[Ss]omebody\b", "name the party: the user, the client, another caller"),
    _rule(r"\b[Ww]ho(?:ever|mever)\b|\bwhom\b", "name the party: the user, the client, the caller"),
    _rule(r"\b(?:is|are|was|were|be|been|being)(?: (?:not|so|then|also|now))? told\b", "say who reports what to whom"),
    _rule(r"(?<![Tt]here\s)\b(?:is|are|was|were) (?:no (?!longer|more than)|none\b)", "'is not a …'"),
    _rule(r"\bso long\b(?! as)", "name the duration"),
    _rule(r"\bany more\b(?! \w)|\bnot any more\b", "'no longer'"),
    _rule(r"\b[Mm]end(?:ed|s|ing)?\b", "'fix' or 'repair'"),
    _rule(r"\b(?:has|have|had) not (?:a|an|the|any)\b", "'lacks' or 'does not have'"),
    _rule(r"\b[Aa]new\b", "'again'"),
    _rule(r"\bin vain\b", "'without effect'"),
    _rule(r"\b[Ss]hall\b", "'must' or the present tense"),
    _rule(
        r"\b(?:is|are|was|were|be|been)(?: not)? (?:waited for|listened to|gone on|done without)\b", "the active voice"
    ),
    _rule(
        r"(?:^|[;:.] |\b(?:for|to|by|with|from|of|if|and|or|than|but|when|as) )who (?=[a-z])(?![^.\n]*\?)",
        "a subject before 'who'",
    ),
    # A sentence whose subject is a relative clause. A question is not one.
    _rule(r'(?:(?<=[.;!:]\s)|(?<="""))(?:What|Who|Whose)\b(?![^.]*\?)', "begin with a verb or with the thing's name"),
)
"""Spaces in a pattern match any white space, so that a match may span lines."""

DOCSTRING_START = re.compile(
    r"(?:What|Who|Whose|Whom|That|Which|Of|For|At|By|From|To|With|Nobody|It|They|He|She|Them|And|But|Also|Where|When)\b"
)
COMMENT_LEADER = re.compile(r"(?m)^([ \t]*)(?:#:?|//|\*(?!\*)|/\*\*?)(?= |$)")


@dataclass(frozen=True)
class Finding:
    line: int
    text: str
    advice: str


def findings(name: str, text: str) -> Iterator[Finding]:
    """Findings in one file, in no particular order. `name` decides by its suffix which rules apply."""
    lines = text.splitlines()
    allowed = {number for number, line in enumerate(lines, 1) if ALLOW in line}
    found = list(_patterns(text))
    if name.endswith(".py"):
        found += _definitions(text)
    if name.endswith(".md"):
        found += [
            Finding(number, line[:60], f"over {LONGEST_DOC_LINE} characters: make it a list")
            for number, line in enumerate(lines, 1)
            if len(line) > LONGEST_DOC_LINE and (name.startswith("docs/") or not line.startswith("|"))
        ]
    yield from (one for one in found if one.line not in allowed)


def _patterns(text: str) -> Iterator[Finding]:
    # Comment leaders become spaces, so that a sentence reads on across the lines of a comment.
    plain = COMMENT_LEADER.sub(lambda leader: " " * len(leader[0]), text)
    for rule in RULES:
        for match in rule.pattern.finditer(plain):
            start = match.start() + len(match[0]) - len(match[0].lstrip())
            line = plain.count("\n", 0, start) + 1
            yield Finding(line, " ".join(match[0].split()), rule.advice)


def _definitions(text: str) -> Iterator[Finding]:
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith("test")
            and len(node.name) > LONGEST_TEST_NAME
        ):
            yield Finding(node.lineno, node.name, f"a test name of at most {LONGEST_TEST_NAME} characters")
        # Docstrings, and the strings under an attribute.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            start = DOCSTRING_START.match(node.value.value)
            if start:
                yield Finding(node.lineno, start[0], "begin a docstring with a verb or with the thing's name")


def main(names: list[str]) -> int:
    """Check `names`, or every file under version control. Return the exit status."""
    if not names:
        listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines()
        names = [name for name in listed if name.endswith(SUFFIXES) and name != "checks/language.py"]
    count = 0
    for name in names:
        for one in sorted(findings(name, Path(name).read_text(errors="replace")), key=lambda one: one.line):
            print(f"{name}:{one.line}: {one.text!r}: {one.advice}")
            count += 1
    if count:
        print(f"{count} findings; style: CONTRIBUTING.md", file=sys.stderr)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
