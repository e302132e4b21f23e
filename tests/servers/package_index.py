"""A Python package index on a real socket (PEP 503), with wheels that a test builds, and configurable faults."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pipeline.support.model_catalogue import DataFile, KnownModel, Wheel


@dataclass
class PackageIndex:
    """The index's wheels and behaviour; a test changes the fields while it runs."""

    wheels: dict[str, bytes] = field(default_factory=dict)
    """File name → content."""
    address: str = ""
    breaks: set[str] = field(default_factory=set)
    """File names of wheels that end in the middle."""
    hang: threading.Event | None = None
    """Respond only after this is set."""
    listed: list[str] = field(default_factory=list)
    """Packages whose versions were asked for."""
    fetched: list[str] = field(default_factory=list)
    """File names of the wheels that were asked for."""

    def add(self, package: str, files: Mapping[str, bytes], version: str = "1.0") -> Wheel:
        """Publish a wheel with these files; return its entry for a catalogue."""
        name = package.replace("-", "_")
        about = f"{name}-{version}.dist-info"
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, data in files.items():
                archive.writestr(path, data)
            archive.writestr(f"{name}/__init__.py", "raise SystemExit('this code must not run')\n")
            archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
            archive.writestr(
                f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{about}/RECORD", "")
        data = content.getvalue()
        self.wheels[f"{name}-{version}-py3-none-any.whl"] = data
        return Wheel(package, version, hashlib.sha256(data).hexdigest(), len(data))


def data_file(name: str, content: bytes, *parts: tuple[int, str]) -> DataFile:
    """Return the entry of a file for a catalogue."""
    return DataFile(name, len(content), hashlib.sha256(content).hexdigest(), parts)


def packed(index: PackageIndex, name: str, files: Mapping[str, bytes], repo: str = "") -> KnownModel:
    """Publish a model in two packages, its first file in two parts; return its entry for a catalogue."""
    (first, content), *others = files.items()
    half, package = len(content) // 2, name.replace(".", "-")
    wheels = (
        index.add(f"{package}-1", {"one/part.bin": content[:half]}),
        index.add(f"{package}-2", {"two/part.bin": content[half:], **{f"two/{name}": data for name, data in others}}),
    )
    joined = data_file(first, content, (0, "one/part.bin"), (1, "two/part.bin"))
    rest = [data_file(name, data, (1, f"two/{name}")) for name, data in others]
    return KnownModel(name, "MIT", (joined, *rest), wheels, repo)


def _handler(index: PackageIndex) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if index.hang is not None:
                index.hang.wait()
            _, kind, name, *_ = [*self.path.split("/"), ""]
            if kind == "simple":
                index.listed.append(name)
                files = [file for file in index.wheels if file.startswith(f"{name.replace('-', '_')}-")]
                links = "".join(f'<a href="/files/{file}">{file}</a>' for file in files)
                self._send(f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html")
            elif name in index.wheels:
                index.fetched.append(name)
                self._send(index.wheels[name], "application/zip", broken=name in index.breaks)
            else:
                self.send_error(404)

        def _send(self, content: bytes, kind: str, *, broken: bool = False) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if broken else content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def serve() -> Iterator[PackageIndex]:
    """Run an index; its address goes to pip as PIP_INDEX_URL."""
    index = PackageIndex()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(index))
    index.address = f"http://127.0.0.1:{server.server_port}/simple"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield index
    finally:
        if index.hang is not None:
            index.hang.set()
        server.shutdown()
        thread.join()
        server.server_close()
