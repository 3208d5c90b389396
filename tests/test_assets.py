"""What is downloaded is checked, survives every trouble on the way, and is never run."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import traceback
import zipfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import course_lib
from course_lib import assets
from course_lib.errors import CourseError
from tests.package_index import FileRequest, PackageIndex

FILENAME = "demo-1.0.tar.gz"
TEXT = "demo-1.0/data/text.txt"
SECOND_SOURCE = "hub data somebody/demo"
MARKER_VARIABLE = "DEMO_WAS_RUN"
read_manifest = assets.manifest
read_pip_files = assets._pip_file_settings.__wrapped__
open_path = Path.open


def tar_of(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return content.getvalue()


def demo_archive() -> bytes:
    """Build a source package of 800 kB whose code leaves a marker wherever it is run."""
    leave_marker = f"import os, pathlib; pathlib.Path(os.environ[{MARKER_VARIABLE!r}]).touch()\n".encode()
    return tar_of(
        {
            "demo-1.0/setup.py": leave_marker,
            "demo-1.0/demo/__init__.py": leave_marker,
            TEXT: b"a real text\n",
            "demo-1.0/inner.tar.gz": tar_of({"inner/deep.txt": b"deep\n"}),
            "demo-1.0/noise.bin": random.Random(0).randbytes(800_000),
        }
    )


ARCHIVE = demo_archive()
DAMAGED = bytes([*ARCHIVE[:5000], ARCHIVE[5000] ^ 255, *ARCHIVE[5001:]])


def write_manifest(path: Path, content: bytes = ARCHIVE, filename: str = FILENAME) -> Path:
    fields = {
        "holds": "a text",
        "package": "demo",
        "version": "1.0",
        "filename": filename,
        "sha256": hashlib.sha256(content).hexdigest(),
        "package_licence": "MIT",
        "content_licence": "CC0",
        "second_source": SECOND_SOURCE,
    }
    lines = ["[demo]", f"size = {len(content)}", *(f'{name} = "{value}"' for name, value in fields.items())]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def no_index_but_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, a manifest of one asset, and nothing of this machine's pip configuration."""
    for variable in os.environ:
        if variable.startswith("PIP_") or variable.lower().endswith("_proxy"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(MARKER_VARIABLE, str(tmp_path / "marker"))
    monkeypatch.setattr(assets, "_pip_file_settings", dict)
    use_manifest(monkeypatch, write_manifest(tmp_path / "manifest.toml"))


def use_manifest(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    known = read_manifest(path)
    monkeypatch.setattr(assets, "manifest", lambda path=None: known)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., PackageIndex]]:
    """Start an index that pip's environment variables point to."""
    started: list[PackageIndex] = []

    def start(content: bytes = ARCHIVE, filename: str = FILENAME, **troubles: Any) -> PackageIndex:
        index = PackageIndex({"demo": {filename: content}}, **troubles)
        started.append(index.__enter__())
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", index.url)
        return index

    yield start
    for index in started:
        index.stop()


def fetch() -> Path:
    return assets.fetch("demo", progress=False)


def fetch_and_fail() -> CourseError:
    with pytest.raises(CourseError) as caught:
        fetch()
    return caught.value


def demo() -> assets.Asset:
    return assets.find_asset("demo")


def cached_files() -> set[str]:
    """Give the names of all files in the asset's folder, but for the lock."""
    folder = demo().folder
    return (
        {path.name for path in folder.rglob("*") if path.is_file()} - {"lock"} if folder.is_dir() else set()
    )


# --- the manifest ----------------------------------------------------------------------------------


def test_every_asset_of_the_course_names_both_licences_and_a_second_source() -> None:
    for asset in read_manifest().values():
        assert len(asset.sha256) == 64
        assert asset.size > 1_000_000
        assert asset.package_licence
        assert asset.content_licence
        assert asset.second_source


def test_an_unknown_asset_is_answered_with_the_nearest() -> None:
    with pytest.raises(CourseError, match="Did you mean 'demo'"):
        assets.fetch("dmeo")


# --- the way that goes well ------------------------------------------------------------------------


def test_a_file_is_downloaded_once_and_checked(serve: Callable[..., PackageIndex]) -> None:
    index = serve()
    path = fetch()
    assert path.read_bytes() == ARCHIVE
    assert fetch() == path
    assert index.file_requests == [FileRequest(FILENAME, 0, len(ARCHIVE), 200)]
    assert cached_files() == {FILENAME, "origin.json"}


def test_a_bar_of_bytes_shows_how_far_it_is(
    serve: Callable[..., PackageIndex], capsys: pytest.CaptureFixture[str]
) -> None:
    serve()
    assets.fetch_all(progress=True)
    shown = capsys.readouterr().err
    assert "demo: 100%" in shown
    assert "kB" in shown or "k/" in shown


def test_members_are_read_even_from_an_archive_in_the_archive(serve: Callable[..., PackageIndex]) -> None:
    serve()
    assert assets.read_member("demo", TEXT) == b"a real text\n"
    assert assets.read_member("demo", "demo-1.0/inner.tar.gz!inner/deep.txt") == b"deep\n"


@pytest.mark.parametrize("member", ["demo-1.0/no.txt", f"{TEXT}!deep.txt", "demo-1.0/inner.tar.gz!no.txt"])
def test_a_missing_member_is_an_error(serve: Callable[..., PackageIndex], member: str) -> None:
    serve()
    with pytest.raises(CourseError, match="holds no such file"):
        assets.read_member("demo", member)


def test_wheels_are_read_like_source_packages(
    serve: Callable[..., PackageIndex], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("demo/text.txt", "in a wheel")
    wheel = "demo-1.0-py3-none-any.whl"
    use_manifest(monkeypatch, write_manifest(tmp_path / "wheel.toml", content.getvalue(), wheel))
    serve(content.getvalue(), wheel)
    assert assets.read_member("demo", "demo/text.txt") == b"in a wheel"
    with pytest.raises(CourseError, match="holds no such file"):
        assets.read_member("demo", "demo/other.txt")


def test_unpacked_files_appear_whole_and_are_written_once(serve: Callable[..., PackageIndex]) -> None:
    serve()
    folder = assets.unpack("demo", {TEXT: "text.txt"})
    assert (folder / "text.txt").read_bytes() == b"a real text\n"
    (folder / "text.txt").write_text("kept")
    assert assets.unpack("demo", {TEXT: "text.txt"}) == folder
    assert (folder / "text.txt").read_text() == "kept"


def test_once_filled_the_cache_needs_no_network(serve: Callable[..., PackageIndex]) -> None:
    index = serve()
    fetch()
    index.stop()
    assert fetch().read_bytes() == ARCHIVE
    assert assets.read_member("demo", TEXT) == b"a real text\n"
    assert (assets.unpack("demo", {TEXT: "text.txt"}) / "text.txt").is_file()
    assert assets.listing()[0].state == "ready"


def test_nothing_of_the_package_is_installed_or_run(
    serve: Callable[..., PackageIndex], tmp_path: Path
) -> None:
    serve()
    assets.read_member("demo", TEXT)
    assets.unpack("demo", {TEXT: "text.txt", "demo-1.0/setup.py": "setup.py"})
    assert not (tmp_path / "marker").exists()
    assert "demo" not in {distribution.metadata["Name"] for distribution in metadata.distributions()}


# --- another file than expected --------------------------------------------------------------------


def test_a_wrong_hash_is_refused_and_leaves_nothing(serve: Callable[..., PackageIndex]) -> None:
    serve(DAMAGED)
    error = fetch_and_fail()
    assert "not the one the course was made with" in error.problem
    assert hashlib.sha256(DAMAGED).hexdigest()[:16] in error.given
    assert SECOND_SOURCE in error.mend
    assert cached_files() == set()


@pytest.mark.parametrize("content", [ARCHIVE[:-300_000], ARCHIVE + b"more"])
def test_a_file_of_another_length_is_refused_and_leaves_nothing(
    serve: Callable[..., PackageIndex], content: bytes
) -> None:
    serve(content)
    assert "not the one the course was made with" in fetch_and_fail().problem
    assert cached_files() == set()


def test_a_damaged_archive_is_noticed_before_it_is_read(serve: Callable[..., PackageIndex]) -> None:
    index = serve()
    fetch().write_bytes(DAMAGED)
    assert assets.listing()[0].state == "damaged"
    assert assets.read_member("demo", TEXT) == b"a real text\n"
    assert len(index.file_requests) == 2
    assert demo().archive.read_bytes() == ARCHIVE


@pytest.mark.timeout(60)
def test_a_damaged_archive_is_noticed_before_it_is_unpacked(serve: Callable[..., PackageIndex]) -> None:
    index = serve()
    fetch().write_bytes(DAMAGED)
    assert (assets.unpack("demo", {TEXT: "text.txt"}) / "text.txt").read_bytes() == b"a real text\n"
    assert len(index.file_requests) == 2


def test_a_shortened_archive_is_fetched_again(serve: Callable[..., PackageIndex]) -> None:
    serve()
    fetch().write_bytes(ARCHIVE[:1000])
    assert fetch().read_bytes() == ARCHIVE


def test_a_damaged_archive_without_network_is_not_read(serve: Callable[..., PackageIndex]) -> None:
    index = serve()
    fetch().write_bytes(DAMAGED)
    index.stop()
    with pytest.raises(CourseError, match="No package index could be reached"):
        assets.read_member("demo", TEXT)


# --- downloads that break off ----------------------------------------------------------------------


def test_a_download_that_breaks_off_goes_on_where_it_was(serve: Callable[..., PackageIndex]) -> None:
    index = serve(cuts=(400_000,))
    assert fetch().read_bytes() == ARCHIVE
    first, second = index.file_requests
    assert (first.start, first.num_sent) == (0, 400_000)
    assert 0 < second.start <= 400_000
    assert second.start + second.num_sent == len(ARCHIVE)


def test_a_download_starts_over_where_the_server_knows_no_ranges(serve: Callable[..., PackageIndex]) -> None:
    index = serve(cuts=(400_000,), takes_ranges=False)
    assert fetch().read_bytes() == ARCHIVE
    assert [request.status for request in index.file_requests] == [200, 200]


def test_a_download_that_never_ends_well_says_so_and_can_go_on(serve: Callable[..., PackageIndex]) -> None:
    index = serve(cuts=(300_000, 1000, 1000, 1000))
    assert "broke off 4 times" in fetch_and_fail().problem
    assert not demo().archive.exists()
    assert assets.listing()[0].state == "partial: 0 MB"
    assert fetch().read_bytes() == ARCHIVE
    assert index.file_requests[-1].start > 0


def test_rubbish_left_by_a_broken_download_is_found_out(serve: Callable[..., PackageIndex]) -> None:
    serve()
    demo().folder.mkdir(parents=True)
    demo().partial.write_bytes(b"x" * 1000)
    assert "thrown away" in fetch_and_fail().problem
    assert fetch().read_bytes() == ARCHIVE


FETCH_SCRIPT = """
import sys
from pathlib import Path
from course_lib import assets
known = assets.manifest(Path(sys.argv[1]))
assets.manifest = lambda path=None: known
print(assets.fetch("demo", progress=False))
"""


def start_fetch(tmp_path: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(course_lib.__file__).parents[1])}
    command = [sys.executable, "-c", FETCH_SCRIPT, str(tmp_path / "manifest.toml")]
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_a_download_killed_in_the_middle_is_taken_up_by_the_next(
    serve: Callable[..., PackageIndex], tmp_path: Path
) -> None:
    index = serve(seconds_per_chunk=0.002)
    process = start_fetch(tmp_path)
    deadline = time.monotonic() + 60
    while not (demo().partial.is_file() and demo().partial.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert not demo().archive.exists()
    have = demo().partial.stat().st_size
    assert 0 < have < len(ARCHIVE)
    index.seconds_per_chunk = 0.0
    second = start_fetch(tmp_path)
    shown, errors = second.communicate(timeout=60)
    assert (shown.strip(), errors) == (str(demo().archive), "")
    assert demo().archive.read_bytes() == ARCHIVE
    assert FileRequest(FILENAME, have, len(ARCHIVE) - have, 206) in index.file_requests


def test_two_processes_at_once_download_once(serve: Callable[..., PackageIndex], tmp_path: Path) -> None:
    index = serve(seconds_per_chunk=0.001)
    processes = [start_fetch(tmp_path) for _ in range(2)]
    shown = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert shown == {str(demo().archive)}
    assert [request.num_sent for request in index.file_requests] == [len(ARCHIVE)]
    assert demo().archive.read_bytes() == ARCHIVE


# --- no file to be had -----------------------------------------------------------------------------


def test_without_network_the_error_says_what_to_do(serve: Callable[..., PackageIndex]) -> None:
    serve().stop()
    error = fetch_and_fail()
    assert "No package index could be reached" in error.problem
    assert "find-links" in error.mend
    assert SECOND_SOURCE in error.mend
    assert cached_files() == set()


def test_without_any_index_the_error_says_so() -> None:
    assert fetch_and_fail().given == "no index is configured"


def test_a_project_that_is_gone_names_the_second_source(
    serve: Callable[..., PackageIndex],
) -> None:
    serve().files.clear()
    error = fetch_and_fail()
    assert f"does not offer {FILENAME}" in error.problem
    assert SECOND_SOURCE in error.mend


def test_another_version_is_no_substitute(serve: Callable[..., PackageIndex]) -> None:
    index = serve(filename="demo-1.1.tar.gz")
    assert f"does not offer {FILENAME}" in fetch_and_fail().problem
    assert index.file_requests == []


def test_a_refused_download_is_an_error(serve: Callable[..., PackageIndex]) -> None:
    serve(refuses_files=True)
    assert "broke off" in fetch_and_fail().problem
    assert cached_files() == set()


def test_an_extra_index_is_asked_too(
    serve: Callable[..., PackageIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = serve()
    with PackageIndex({"other": {}}) as empty:
        monkeypatch.setenv("PIP_INDEX_URL", empty.url)
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", full.url)
        assert fetch().read_bytes() == ARCHIVE


# --- folders in place of an index ------------------------------------------------------------------


def test_a_copy_in_a_find_links_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / FILENAME).write_bytes(ARCHIVE)
    monkeypatch.setenv("PIP_FIND_LINKS", f"{tmp_path / 'nothing'} {links}")
    assert fetch().read_bytes() == ARCHIVE
    assert (links / FILENAME).is_file()
    assert assets.listing()[0].origin == "find-links"


def test_a_copy_in_an_index_that_is_a_folder_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "my index" / "demo"
    project.mkdir(parents=True)
    (project / FILENAME).write_bytes(ARCHIVE)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", project.parent.as_uri())
    assert fetch().read_bytes() == ARCHIVE


def test_a_wrong_copy_in_a_find_links_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FILENAME).write_bytes(DAMAGED)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert "not the one" in fetch_and_fail().problem
    assert (tmp_path / FILENAME).is_file()
    assert cached_files() == set()


def test_pips_own_configuration_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = tmp_path / "pip.conf"
    configuration.write_text(
        "[global]\nindex-url = https://one.example/simple\n"
        "[install]\nextra-index-url =\n    https://two.example/simple\n    https://three.example/simple\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    monkeypatch.setattr(assets, "_pip_file_settings", read_pip_files)
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    expected = [f"https://{name}.example/simple" for name in ("one", "two", "three")]
    assert assets.index_locations() == (expected, [])
    monkeypatch.setenv("PIP_INDEX_URL", "https://stronger.example/simple")
    assert assets.index_locations()[0][0] == "https://stronger.example/simple"


# --- passwords -------------------------------------------------------------------------------------


def with_password(index: PackageIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("//", "//somebody:secret@"))


def test_an_indexs_password_is_kept_nowhere(
    serve: Callable[..., PackageIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = serve()
    with_password(index, monkeypatch)
    fetch()
    assert assets.listing()[0].origin == index.netloc
    assert "secret" not in (demo().folder / "origin.json").read_text()


@pytest.mark.parametrize(
    "trouble", ["wrong file", "refused", "cut", "gone", "no network"], ids=lambda name: name.replace(" ", "_")
)
def test_an_indexs_password_is_in_no_error(
    serve: Callable[..., PackageIndex], monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    index = serve(
        DAMAGED if trouble == "wrong file" else ARCHIVE,
        refuses_files=trouble == "refused",
        cuts=(100,) * 4 if trouble == "cut" else (),
    )
    with_password(index, monkeypatch)
    if trouble == "gone":
        index.files.clear()
    if trouble == "no network":
        index.stop()
    error = fetch_and_fail()
    shown = "".join(traceback.format_exception(error))
    assert index.netloc in shown or trouble in ("refused", "cut")
    assert "secret" not in shown


# --- a cache that cannot take it -------------------------------------------------------------------


def test_a_cache_that_is_no_folder_is_an_error(
    serve: Callable[..., PackageIndex], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve()
    (tmp_path / "file").touch()
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "file" / "cache"))
    assert "COURSE_CACHE" in fetch_and_fail().mend


def test_a_read_only_cache_is_an_error(
    serve: Callable[..., PackageIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = serve()
    monkeypatch.setattr(Path, "mkdir", fail_with(errno.EROFS))
    error = fetch_and_fail()
    assert os.strerror(errno.EROFS) in error.problem
    assert "COURSE_CACHE" in error.mend
    assert index.file_requests == []


def test_a_read_only_cache_that_is_filled_does(
    serve: Callable[..., PackageIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve()
    fetch()
    assets.unpack("demo", {TEXT: "text.txt"})
    monkeypatch.setattr(Path, "mkdir", fail_with(errno.EROFS))
    assert assets.read_member("demo", TEXT) == b"a real text\n"
    assert assets.unpack("demo", {TEXT: "text.txt"}).is_dir()


def test_a_disk_that_fills_up_is_an_error_and_leaves_nothing(
    serve: Callable[..., PackageIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve()
    with monkeypatch.context() as full_disk:
        full_disk.setattr(Path, "open", opening_full_disk)
        assert os.strerror(errno.ENOSPC) in fetch_and_fail().problem
    assert cached_files() == set()
    assert fetch().read_bytes() == ARCHIVE


def test_a_disk_that_fills_up_while_unpacking_is_an_error_and_leaves_nothing(
    serve: Callable[..., PackageIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve()
    fetch()
    with monkeypatch.context() as full_disk:
        full_disk.setattr(Path, "write_bytes", fail_with(errno.ENOSPC))
        with pytest.raises(CourseError, match="COURSE_CACHE"):
            assets.unpack("demo", {TEXT: "text.txt"})
    assert cached_files() == {FILENAME, "origin.json"}


def test_too_small_a_disk_is_said_before_anything_is_asked_of_the_index(
    serve: Callable[..., PackageIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = serve()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 10**6, 10**6))
    error = fetch_and_fail()
    assert "not enough disk" in error.problem
    assert "1 MB free" in error.given
    assert (index.project_requests, index.file_requests) == ([], [])
    assert cached_files() == set()


def fail_with(number: int) -> Callable[..., None]:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def opening_full_disk(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
    file = open_path(path, mode, *arguments, **options)
    return FullDisk(file) if path.suffix == ".part" and "r" not in mode else file


class FullDisk:
    """A file that takes one chunk and no more."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.taken = 0

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *arguments: object) -> None:
        self.file.close()

    def write(self, chunk: bytes) -> None:
        if self.taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.taken += self.file.write(chunk)


# --- the listing -----------------------------------------------------------------------------------


def test_the_listing_says_what_each_asset_is_and_where_it_came_from(
    serve: Callable[..., PackageIndex],
) -> None:
    index = serve()
    before = assets.listing()[0]
    assert (before.state, before.origin) == ("not fetched", "")
    fetch()
    after = assets.listing()[0]
    assert (after.state, after.origin) == ("ready", index.netloc)
    assert (after.package, after.version, after.size) == ("demo", "1.0", len(ARCHIVE))
    assert (after.licence, after.content_licence, after.second_source) == ("MIT", "CC0", SECOND_SOURCE)
    assert json.loads((demo().folder / "origin.json").read_text()) == {"origin": index.netloc}


def test_the_listing_says_how_much_of_a_download_is_there() -> None:
    demo().folder.mkdir(parents=True)
    demo().partial.write_bytes(bytes(2_000_000))
    assert assets.listing()[0].state == "partial: 2 MB"
