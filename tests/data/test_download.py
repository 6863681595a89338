"""Fetching from real (local) servers: fallback between mirrors, checks, and nothing written when it goes wrong."""

import functools
import gzip
import hashlib
import http.server
import threading

import pytest

from snrkit.data.base import DataFile, Source
from snrkit.data.download import fetch
from snrkit.errors import DataError, OutputError

GOOD = bytes(range(256)) * 2000
FILE = DataFile("points", hashlib.sha256(GOOD).hexdigest())


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A function that serves bytes as points.gz from 127.0.0.1 and returns the mirror's address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    servers = []

    def serve(content):
        root = tmp_path / f"server{len(servers)}"
        root.mkdir()
        if content is not None:
            (root / "points.gz").write_bytes(content)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def source(*mirrors, by_hand=""):
    load = lambda _spec, _folder: None  # noqa: E731
    return Source("some", "text", "grey", load, files=(FILE,), mirrors=mirrors, by_hand=by_hand)


def ignore(done, total, note):
    pass


def test_bad_mirrors_are_passed_over_until_one_gives_the_right_bytes(mirror, tmp_path):
    wrong, absent, short = mirror(gzip.compress(b"other")), mirror(None), mirror(gzip.compress(GOOD)[:-20])
    good = mirror(gzip.compress(GOOD))
    seen = []
    folder = tmp_path / "data"
    written = fetch(source(wrong, absent, short, good), folder, lambda *call: seen.append(call))
    assert written == [folder / "some" / "points"]
    assert written[0].read_bytes() == GOOD
    assert [path.name for path in written[0].parent.iterdir()] == ["points"]
    assert seen
    done, total, note = seen[-1]
    assert (done, note) == (total, "points.gz")


def test_nothing_is_written_when_every_mirror_fails(mirror, tmp_path):
    folder = tmp_path / "data"
    with pytest.raises(DataError) as caught:
        fetch(source(mirror(gzip.compress(b"other")), mirror(None)), folder, ignore)
    message = str(caught.value)
    assert "wrong checksum" in message
    assert "HTTPError" in message
    assert "\n" not in message
    assert not folder.exists()


def test_what_is_there_is_kept_and_what_is_damaged_is_replaced(mirror, tmp_path):
    (tmp_path / "points.gz").write_bytes(gzip.compress(GOOD))
    assert fetch(source("http://127.0.0.1:9/"), tmp_path, ignore) == []
    (tmp_path / "points.gz").write_bytes(b"damaged")
    good = source(mirror(gzip.compress(GOOD)))
    assert fetch(good, tmp_path, ignore) == [tmp_path / "some" / "points"]
    # The search now finds the good copy before the damaged one.
    assert fetch(good, tmp_path, ignore) == []


def test_a_folder_that_cannot_be_written_names_the_option(mirror, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(OutputError, match="`data_dir`"):
        fetch(source(mirror(gzip.compress(GOOD))), blocked, ignore)


def test_a_source_without_published_checksum_is_not_fetched(mirror, tmp_path):
    with pytest.raises(DataError, match="put it there"):
        fetch(source(mirror(gzip.compress(GOOD)), by_hand="put it there"), tmp_path / "data", ignore)
    assert not (tmp_path / "data").exists()
