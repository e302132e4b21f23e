"""Detection of files that are clearly not recordings, by their first bytes. In doubt a file is accepted as a recording,
and its job reports the error."""

HEAD_BYTES = 4096
"""Number of first bytes to examine: NIST's SPHERE recordings begin with a kilobyte of text."""
OFFICE = ("[Content_Types].xml", "_rels/", "docProps/", "word/", "xl/", "ppt/", "mimetype")
"""First member names of documents that are archives."""
_NAME_AT = 30
"""Offset of the first member's name in an archive."""
_BEGINS = (
    (b"\xff\xd8\xff", "a picture"),
    (b"\x89PNG\r\n\x1a\n", "a picture"),
    (b"GIF8", "a picture"),
    (b"II*\0", "a picture"),
    (b"MM\0*", "a picture"),
    (b"8BPS", "a picture"),
    (b"\0\0\1\0", "a picture"),
    (b"%PDF-", "a document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document"),
    (b"MZ", "a program"),
    (b"\x7fELF", "a program"),
)
_STILL = (b"heic", b"heix", b"mif1", b"avif")
"""MP4 brands of pictures."""
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\f\r\x1b"))


def plainly(head: bytes) -> str | None:
    """Return "a picture", "a document", "a program", "text" or "empty"; None if it may be a recording.

    head: the first HEAD_BYTES, or the whole file if it is shorter.
    """
    if not head:
        return "empty"
    for begin, kind in _BEGINS:
        if head.startswith(begin):
            return kind
    if (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or (head[4:8] == b"ftyp" and head[8:12] in _STILL):
        return "a picture"
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return "a picture"
    if head[:4] == b"PK\x03\x04" and head[_NAME_AT : _NAME_AT + 32].decode("latin-1").startswith(OFFICE):
        return "a document"
    return "text" if _is_text(head) else None


def _is_text(head: bytes) -> bool:
    if head.translate(None, _CONTROLS) != head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # The head may end in the middle of a character.
        return len(head) == HEAD_BYTES and error.start >= HEAD_BYTES - 3
    return True
