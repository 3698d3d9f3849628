"""Virtual chunks: references to bytes outside of the repository, and where those bytes are.

A `VirtualChunkContainer` says which object store serves the locations below a URL
prefix; the store is one of the variants of `ObjectStoreConfig`. Constructing one
checks types only, `check_container` checks that prefix, store and name fit together.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias
from urllib.parse import unquote, urlsplit

from icechunk._setting import U32, AwareTime, Checked, Integers, Path, Setting, StringMap
from icechunk.display import Displayed, Form, text
from icechunk.types import Code, nest_variants

__all__ = [
    "AnyObjectStoreConfig",
    "ChecksumAlgorithm",
    "ObjectStoreConfig",
    "S3Options",
    "VirtualChunkContainer",
    "VirtualChunkSpec",
    "local_filesystem_store",
]


class Coordinates:
    """A check for chunk coordinates, kept as a list."""

    _coordinate = Integers(0, 2**32 - 1, optional=False)

    def __call__(self, name: str, value: Iterable[Any]) -> list[int]:
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise TypeError(f"{name} must be a sequence of whole numbers, not {value!r}")
        return [self._coordinate(name, item) for item in value]


class ChecksumAlgorithm(int, Code):
    """A checksum that S3 stores verify on writes.

    Examples
    --------
    >>> from icechunk import ChecksumAlgorithm, S3Options
    >>> S3Options(checksum_algorithm=ChecksumAlgorithm.Crc32c).checksum_algorithm
    ChecksumAlgorithm.Crc32c
    """

    Crc32 = 0
    Crc32c = 1
    Crc64Nvme = 2
    Sha1 = 3
    Sha256 = 4


class S3Options(Setting):
    """How to reach an S3 store, or one that speaks its protocol.

    Parameters
    ----------
    region : str, optional
        The region of the bucket.
    endpoint_url : str, optional
        The address of the service; Amazon's own when left out.
    allow_http : bool, default False
        Accept an endpoint without TLS.
    anonymous : bool, default False
        Send unsigned requests.
    force_path_style : bool, default False
        Put the bucket into the path of URLs, not into the host name.
    network_stream_timeout_seconds : int, optional
        Give up on a response when nothing arrived for so long; 0 waits for ever.
    requester_pays : bool, default False
        Agree to pay for the requests.
    checksum_algorithm : ChecksumAlgorithm, optional
        The checksum to send with writes, for services that refuse the client's own choice.

    Raises
    ------
    TypeError, OverflowError
        A value has the wrong type or is out of range.

    Examples
    --------
    >>> from icechunk import S3Options
    >>> options = S3Options(region="us-east-1", anonymous=True)
    >>> options.region
    'us-east-1'
    """

    _shown_as: ClassVar[str] = "icechunk.storage.S3Options"

    region: str | None = None
    endpoint_url: str | None = None
    allow_http: bool = False
    anonymous: bool = False
    force_path_style: bool = False
    network_stream_timeout_seconds: U32 = None
    requester_pays: bool = False
    checksum_algorithm: ChecksumAlgorithm | None = None


class ObjectStoreConfig(Displayed):
    """The object store behind a virtual chunk container; one of the nested classes.

    ``InMemory()``, ``LocalFileSystem(path)``, ``S3(options)``, ``S3Compatible(options)``,
    ``Tigris(opts)``, ``Gcs(opts=None)``, ``Azure(opts=None)``, ``Http(opts=None, headers=None)``.
    Those of the S3 kind take `S3Options`, the others string mappings of their client's options.

    Examples
    --------
    >>> from icechunk import ObjectStoreConfig
    >>> store = ObjectStoreConfig.LocalFileSystem("/data")
    >>> isinstance(store, ObjectStoreConfig), store
    (True, icechunk.config.ObjectStoreConfig.LocalFileSystem("/data"))
    """

    __slots__ = ()

    if TYPE_CHECKING:
        InMemory: TypeAlias = "_InMemory"
        LocalFileSystem: TypeAlias = "_LocalFileSystem"
        S3: TypeAlias = "_S3"
        S3Compatible: TypeAlias = "_S3Compatible"
        Tigris: TypeAlias = "_Tigris"
        Gcs: TypeAlias = "_Gcs"
        Azure: TypeAlias = "_Azure"
        Http: TypeAlias = "_Http"

    def _name(self) -> str:
        return f"icechunk.config.{type(self).__qualname__}"

    def _fields(self, form: Form) -> Iterable[tuple[str, str]]:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, S3Options):
                yield from value._fields(form)
            else:
                yield name, text(value, form)

    def _render(self, form: Form) -> str:
        if form is not Form.CONSTRUCTOR:
            return super()._render(form)
        arguments = [text(getattr(self, name), form) for name in self.__struct_fields__]
        return f"{self._name()}({', '.join(arguments)})"


class _InMemory(ObjectStoreConfig, Checked):
    """Nothing that other processes can reach."""


class _LocalFileSystem(ObjectStoreConfig, Checked):
    """Files below a directory."""

    path: Path


class _S3(ObjectStoreConfig, Checked):
    """Amazon S3."""

    options: S3Options


class _S3Compatible(ObjectStoreConfig, Checked):
    """A service that speaks the protocol of S3."""

    options: S3Options


class _Tigris(ObjectStoreConfig, Checked):
    """Tigris."""

    opts: S3Options


class _Gcs(ObjectStoreConfig, Checked):
    """Google Cloud Storage."""

    opts: StringMap = None


class _Azure(ObjectStoreConfig, Checked):
    """Azure Blob Storage; the options must name the `account`."""

    opts: StringMap = None


class _Http(ObjectStoreConfig, Checked):
    """Files behind a web server, with extra headers for each request."""

    opts: StringMap = None
    headers: StringMap = None


nest_variants(ObjectStoreConfig)


def local_filesystem_store(path: str) -> ObjectStoreConfig.LocalFileSystem:
    """The store of a virtual chunk container on the local file system.

    Parameters
    ----------
    path : str
        A directory.

    Returns
    -------
    ObjectStoreConfig.LocalFileSystem

    Examples
    --------
    >>> from icechunk import VirtualChunkContainer, local_filesystem_store
    >>> container = VirtualChunkContainer("file:///data/", local_filesystem_store("/data"))
    """
    return ObjectStoreConfig.LocalFileSystem(path)


AnyObjectStoreConfig = (
    ObjectStoreConfig.InMemory
    | ObjectStoreConfig.LocalFileSystem
    | ObjectStoreConfig.S3
    | ObjectStoreConfig.S3Compatible
    | ObjectStoreConfig.Tigris
    | ObjectStoreConfig.Gcs
    | ObjectStoreConfig.Azure
    | ObjectStoreConfig.Http
)


class VirtualChunkContainer(Setting):
    """Where to read the virtual chunks whose locations start with a prefix.

    Parameters
    ----------
    url_prefix : str
        What the locations start with, such as ``"s3://bucket/data/"``. It must end with a
        slash by the time the container is put into a configuration.
    store : ObjectStoreConfig
        The object store that serves them. Its kind must fit the scheme of the prefix.
    name : str, optional
        A name by which locations can refer to the container: ``vcc://name/path`` is ``path``
        below the prefix, wherever that is by then.

    Raises
    ------
    TypeError
        An argument has the wrong type.

    Examples
    --------
    >>> from icechunk import ObjectStoreConfig, S3Options, VirtualChunkContainer
    >>> store = ObjectStoreConfig.S3(S3Options(region="us-east-1", anonymous=True))
    >>> container = VirtualChunkContainer("s3://noaa/", store, name="noaa")
    >>> container.name
    'noaa'
    """

    _shown: ClassVar[tuple[str, ...]] = ("name", "url_prefix", "store")

    url_prefix: str
    store: ObjectStoreConfig
    name: str | None = None


class VirtualChunkSpec(Checked):
    """One virtual reference to be set: which chunk is which range of which file.

    Parameters
    ----------
    index : sequence of int
        The coordinates of the chunk in the array's chunk grid.
    location : str
        The URL of the file. It is kept as it is, so what is reserved in URLs but part of a
        name must be percent-encoded (``?``, ``#`` and ``%`` itself).
    offset : int
        Where the chunk starts in the file, in bytes.
    length : int
        How many bytes it has.
    etag_checksum : str, optional
        The entity tag of the file; reading fails once it has another one.
    last_updated_at_checksum : datetime.datetime, optional
        A time with a time zone; reading fails if the file was modified after it.

    Raises
    ------
    TypeError, OverflowError
        An argument has the wrong type, or does not fit the format.

    Examples
    --------
    >>> from icechunk import VirtualChunkSpec
    >>> spec = VirtualChunkSpec([0, 3], "s3://bucket/file.nc", offset=4096, length=1000)
    >>> spec.index
    [0, 3]
    """

    index: Annotated[list[int], Coordinates()]
    location: str
    offset: Annotated[int, Integers(0, 2**64 - 1)]
    length: Annotated[int, Integers(0, 2**64 - 1)]
    etag_checksum: str | None = None
    last_updated_at_checksum: Annotated[datetime | None, AwareTime()] = None


# The schemes that each kind of store serves.
_SCHEMES: dict[type[Any], frozenset[str]] = {
    ObjectStoreConfig.InMemory: frozenset(),
    ObjectStoreConfig.LocalFileSystem: frozenset({"file"}),
    ObjectStoreConfig.S3: frozenset({"s3"}),
    ObjectStoreConfig.S3Compatible: frozenset({"s3"}),
    ObjectStoreConfig.Tigris: frozenset({"s3", "tigris"}),
    ObjectStoreConfig.Gcs: frozenset({"gcs", "gs"}),
    ObjectStoreConfig.Azure: frozenset({"az", "azure", "abfs"}),
    ObjectStoreConfig.Http: frozenset({"http", "https"}),
}


def check_container(container: VirtualChunkContainer) -> None:
    """Refuse a container whose prefix, store and name do not fit together.

    Raises
    ------
    ValueError
        What is wrong with it.
    """
    name, prefix = container.name, container.url_prefix
    if name is not None and (not name or "/" in name):
        raise ValueError(f"the name of a virtual chunk container must be a word without `/`, not `{name}`")
    if not prefix.endswith("/"):
        raise ValueError(f"the prefix of a virtual chunk container must end with `/`, `{prefix}` does not")
    try:
        url = urlsplit(prefix)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise ValueError(f"the prefix `{prefix}` of a virtual chunk container is no URL: {error}") from None
    if not url.scheme or any(character.isspace() for character in url.netloc):
        raise ValueError(f"the prefix `{prefix}` of a virtual chunk container is no URL")
    schemes = _SCHEMES[type(container.store)]
    if url.scheme not in schemes:
        raise ValueError(
            f"invalid url prefix scheme ({url.scheme}): a {type(container.store).__name__} store "
            f"serves {' and '.join(sorted(schemes)) or 'no virtual chunks'}"
        )
    if url.scheme == "file":
        if not url.netloc and len(url.path) < 2:
            raise ValueError(f"the prefix `{prefix}` of a virtual chunk container must include a path")
        if any(segment in (".", "..") for segment in unquote(url.path).split("/")):
            raise ValueError(f"the prefix `{prefix}` of a virtual chunk container must not have `..`")
    elif not host:
        raise ValueError(f"the prefix `{prefix}` of a virtual chunk container must include a host")
