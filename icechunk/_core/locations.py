"""Where virtual chunks are: locations, the containers that serve them, who may read them.

A location is a URL, stored as it was given: ``//``, ``..``, user names, ports, queries and
percent-escapes stay, only the scheme is put in lower case. There are two exceptions. In
``file:`` URLs the path is normalised as browsers do, because there ``..`` is a way out of a
directory. And ``vcc://name/rest`` means ``rest`` below the prefix of the container `name`,
wherever that is when the chunk is read.

The container of a location is the one with the longest prefix that the location starts with,
spelled out or with percent-escapes decoded. A location may not leave its container through
``..``. To write a reference a container is all that it takes; to read the chunk the container's
prefix must be authorised too.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote, unquote, unquote_to_bytes

import msgspec

from icechunk._core.arguments import is_unicode
from icechunk._exceptions import ErrorKind, InvalidInputError, StorageError
from icechunk.credentials import AnyCredential, Credentials, S3Credentials
from icechunk.virtual import ObjectStoreConfig, VirtualChunkContainer, check_container

_RELATIVE = "vcc://"
_WEB_SCHEMES = ("http", "https", "ftp", "ws", "wss")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)")
_UNSAFE_IN_PATHS = re.compile(r'[\x00-\x20"#<>?`{}\x7f-\U0010ffff]')
_DRIVE = re.compile(r"[A-Za-z][:|]")
_SAFE_PATH = r"(?:(?!\.)[A-Za-z0-9_.+,=@~!-]+/)*"
_SAFE_PREFIX = re.compile(rf"file:///{_SAFE_PATH}|(?!file:)[a-z]+://[^/?#%\s]+/{_SAFE_PATH}")

is_stored_verbatim = re.compile(r"(?!file:)[a-z][a-z0-9+.-]*://[^/?#]").match
"""Whether a location is certainly fine and stored as it is. Most are, and this is a quick test."""


class Resolved(msgspec.Struct, frozen=True):
    """Where a virtual chunk is read: the container, the absolute URL, and the key in the store."""

    container: VirtualChunkContainer
    url: str
    key: str


class Containers(msgspec.Struct, frozen=True):
    """The usable containers of a configuration, longest prefix first."""

    usable: tuple[VirtualChunkContainer, ...]

    def named(self, name: str) -> VirtualChunkContainer | None:
        """The container of a name."""
        return next((container for container in self.usable if container.name == name), None)

    def matching(self, location: str) -> VirtualChunkContainer | None:
        """The container of a location that `parse_location` returned."""
        if location.startswith(_RELATIVE):
            name, slash, _ = location[len(_RELATIVE) :].partition("/")
            return self.named(name) if slash else None
        return next(self._serving(location), None)

    def expand(self, location: str) -> str:
        """The absolute URL of a location.

        Raises
        ------
        InvalidInputError
            Kind `no-container-for-virtual-chunk`: no container has the name.
        """
        if not location.startswith(_RELATIVE):
            return location
        container = self.matching(location)
        if container is None:
            raise _no_container(location)
        return container.url_prefix + location[len(_RELATIVE) :].partition("/")[2]

    def check(self, location: str) -> None:
        """Refuse a location for which a reference cannot be written.

        Raises
        ------
        InvalidInputError
            Kind `no-container-for-virtual-chunk`, or `invalid-virtual-ref` for a key that the
            store of the container cannot hold.
        """
        container = self.matching(location)
        if container is None:
            raise _no_container(location)
        if not _takes_any_key(container.store):
            key = object_key(self.expand(location))
            if _has_odd_segments(key):
                raise _invalid(
                    location,
                    f"a {type(container.store).__name__} store has no key `{key}`: "
                    "it holds empty, `.` or `..` segments",
                )

    def verbatim_test(self) -> Callable[[str], object]:
        """A quick test for locations that are certainly stored as they are and pass `check`."""
        patterns = []
        for container in self.usable:
            if _takes_any_key(container.store):
                rest = ""
            elif _SAFE_PREFIX.fullmatch(container.url_prefix):
                rest = rf"{_SAFE_PATH}(?!\.)[A-Za-z0-9_.+,=@~!-]+\Z"
            else:
                continue
            starts = (
                [container.url_prefix]
                if container.name is None
                else [container.url_prefix, f"vcc://{container.name}/"]
            )
            patterns += [
                re.escape(start) + rest
                for start in starts
                if start[:5] == "file:" or is_stored_verbatim(start)
            ]
        return re.compile("|".join(patterns) or r"(?!)").match

    def resolve(self, location: str) -> Resolved:
        """Find out where to read a chunk.

        Raises
        ------
        InvalidInputError
            Kind `no-container-for-virtual-chunk`: no container serves the location, or it leaves
            its container through ``..``.
        """
        url = self.expand(location)
        if url[:5].lower() == "file:":
            url = _normalised_file(url)
        key = object_key(url)
        # Where `..` may lead out, the longest prefix that the location stays below counts.
        for container in self._serving(url):
            if ".." not in key or not _leaves(key, container.url_prefix):
                return Resolved(container, url, key)
        raise _no_container(location)

    def _serving(self, url: str) -> Iterator[VirtualChunkContainer]:
        decoded = unquote(url) if "%" in url else url
        for container in self.usable:
            if url.startswith(container.url_prefix) or decoded.startswith(container.url_prefix):
                yield container


def usable_containers(containers: Mapping[str, VirtualChunkContainer] | None) -> Containers:
    """The containers of a configuration that can be used.

    A stored configuration may hold invalid ones. A missing slash at the end of the prefix is
    added; a container with anything else that is wrong serves no location.
    """
    usable: list[VirtualChunkContainer] = []
    for container in (containers or {}).values():
        mended = VirtualChunkContainer(_with_slash(container.url_prefix), container.store, container.name)
        with suppress(ValueError):
            check_container(mended)
            usable.append(mended)
    usable.sort(key=lambda container: -len(container.url_prefix))
    return Containers(tuple(usable))


def parse_location(location: str) -> str:
    """The form in which a location is stored.

    Raises
    ------
    InvalidInputError
        Kind `invalid-virtual-ref`: not a URL, or one without a host. Kind
        `no-container-for-virtual-chunk`: a ``vcc:`` URL without a name.
    """
    if not is_unicode(location):
        raise _invalid(ascii(location), "it is not valid Unicode")
    scheme, separator, rest = location.partition("://")
    if separator and scheme.lower() != "file":
        if not rest or rest[0] in "/?#":
            if scheme.lower() == "vcc":
                raise _no_container(location)
            raise _invalid(location, "it has no bucket or host")
        return location if scheme.islower() else scheme.lower() + separator + rest
    return _parse_unusual(location)


def object_key(url: str) -> str:
    """The key of an absolute URL: its path, decoded, without query and fragment.

    Raises
    ------
    InvalidInputError
        Kind `invalid-virtual-ref`: the path does not decode to text.
    """
    path = _path(url)
    try:
        return unquote_to_bytes(path).decode() if "%" in path else path
    except UnicodeDecodeError:
        raise _invalid(url, "its percent-escapes are not UTF-8") from None


def authorized_prefixes(
    access: Mapping[str, Any] | None,
) -> dict[str, AnyCredential | None]:
    """What a user authorises, by prefixes that end with a slash; warns of missing credentials.

    Raises
    ------
    TypeError
        A value is no credential.
    """
    authorized: dict[str, AnyCredential | None] = {}
    for prefix, credential in (access or {}).items():
        wrapped = Credentials.S3(credential) if isinstance(credential, S3Credentials) else credential
        if wrapped is not None and not isinstance(wrapped, AnyCredential):
            raise TypeError(
                f"the authorisation of `{prefix}` must be a credential, not {credential!r}: "
                "use `containers_credentials`"
            )
        if wrapped is None:
            warnings.warn(
                f"None as the authorisation of `{prefix}` is deprecated: name the credentials, or use "
                "LocalFileSystemAccess or HttpAccess of icechunk.credentials",
                DeprecationWarning,
                stacklevel=3,
            )
        authorized[_with_slash(prefix)] = wrapped
    return authorized


def check_access(containers: Containers, access: Mapping[str, AnyCredential | None]) -> None:
    """Refuse credentials that do not fit the store of their container.

    Prefixes without a container are let through: a stored configuration may lack it today.

    Raises
    ------
    StorageError
        Kind `storage-other`.
    """
    for container in containers.usable:
        if container.url_prefix not in access:
            continue
        credential = access[container.url_prefix]
        if not _fits(container.store, credential):
            raise StorageError(
                f"the credentials for the virtual chunk container `{container.url_prefix}` do not fit its "
                f"store: a {type(container.store).__name__} store takes no {_credential_name(credential)}",
                ErrorKind.STORAGE_OTHER,
            )


def credential_for(resolved: Resolved, access: Mapping[str, AnyCredential | None]) -> AnyCredential | None:
    """The credential that a user gave for the container of a chunk.

    Raises
    ------
    InvalidInputError
        Kind `unauthorized-virtual-chunk-container`: none was given.
    """
    container = resolved.container
    try:
        return access[container.url_prefix]
    except KeyError:
        raise InvalidInputError(
            f"the virtual chunk at `{resolved.url}` may not be read: its container "
            f"{container_text(container)} is not authorised. Open the repository with "
            "`authorize_virtual_chunk_access="
            f'{{"{container.url_prefix}": {_credential_example(container.store)}}}`',
            ErrorKind.UNAUTHORIZED_VIRTUAL_CHUNK_CONTAINER,
        ) from None


def container_text(container: VirtualChunkContainer) -> str:
    """A container by its prefix and name, for messages."""
    name = f" (named `{container.name}`)" if container.name is not None else ""
    return f"`{container.url_prefix}`{name}"


def _parse_unusual(location: str) -> str:
    """`file:` URLs, and whatever has no `scheme://`."""
    text = location.strip("".join(map(chr, range(33)))).translate({9: None, 10: None, 13: None})
    match = _SCHEME.match(text)
    if match is None:
        raise _invalid(location, "it is not a URL, such as `file:///data/a.nc` or `s3://bucket/a.nc`")
    scheme, rest = match[0].lower(), text[match.end() + 1 :]
    if scheme == "file":
        return _normalised_file(text)
    if scheme in _WEB_SCHEMES and rest.strip("/\\"):
        return f"{scheme}://{rest.lstrip('/' + chr(92))}"
    raise _invalid(location, "it has no bucket or host: write it as `scheme://bucket/key`")


def _normalised_file(url: str) -> str:
    """A `file:` URL as browsers normalise it."""
    rest, number_sign, fragment = url[len("file:") :].partition("#")
    rest, question_mark, query = rest.partition("?")
    rest = rest.replace("\\", "/")
    host = ""
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        rest = slash + path
        host = "" if host.lower() == "localhost" else host.lower()
    segments: list[str] = []
    parts = rest.lstrip("/").split("/")
    for part in parts:
        dots = part.lower().replace("%2e", ".")
        if dots == ".." and segments and not (len(segments) == 1 and _DRIVE.fullmatch(segments[0])):
            segments.pop()
        elif dots not in (".", ".."):
            segments.append(_UNSAFE_IN_PATHS.sub(lambda unsafe: quote(unsafe[0], safe=""), part))
    if parts[-1].lower().replace("%2e", ".") in (".", ".."):
        segments.append("")
    return f"file://{host}/{'/'.join(segments)}{question_mark}{query}{number_sign}{fragment}"


def _path(url: str) -> str:
    after_scheme = url.partition("://")[2]
    _, slash, path = after_scheme.partition("/")
    return slash + re.split(r"[?#]", path, maxsplit=1)[0] or "/"


def _leaves(key: str, prefix: str) -> bool:
    """Whether the `..` segments of a key lead out of a prefix that its URL starts with."""
    depth = 0
    for segment in key[len(unquote(_path(prefix))) :].split("/"):
        depth += {"..": -1, ".": 0}.get(segment, 1)
        if depth < 0:
            return True
    return False


def _takes_any_key(store: ObjectStoreConfig) -> bool:
    return isinstance(store, ObjectStoreConfig.S3 | ObjectStoreConfig.S3Compatible | ObjectStoreConfig.Tigris)


def _has_odd_segments(key: str) -> bool:
    inner = key.removeprefix("/").removesuffix("/")
    return inner != "" and any(segment in ("", ".", "..") for segment in inner.split("/"))


def _fits(store: ObjectStoreConfig, credential: AnyCredential | None) -> bool:
    if isinstance(store, ObjectStoreConfig.LocalFileSystem):
        return credential is None or isinstance(credential, Credentials.LocalFileSystemAccess)
    if isinstance(store, ObjectStoreConfig.Http):
        return credential is None or isinstance(credential, Credentials.HttpAccess)
    if _takes_any_key(store):
        return credential is None or isinstance(credential, Credentials.S3)
    return credential is None and not isinstance(store, ObjectStoreConfig.Azure)


def _credential_name(credential: AnyCredential | None) -> str:
    return "missing credentials" if credential is None else f"Credentials.{type(credential).__name__}"


def _with_slash(prefix: str) -> str:
    return prefix if prefix.endswith("/") else prefix + "/"


def _credential_example(store: ObjectStoreConfig) -> str:
    if isinstance(store, ObjectStoreConfig.LocalFileSystem):
        return "icechunk.credentials.LocalFileSystemAccess"
    if isinstance(store, ObjectStoreConfig.Http):
        return "icechunk.credentials.HttpAccess"
    if _takes_any_key(store):
        return "icechunk.Credentials.S3(icechunk.s3_credentials(...))"
    return "..."


def _no_container(location: str) -> InvalidInputError:
    return InvalidInputError(
        f"invalid chunk location, no matching virtual chunk container: `{location}`. Add one to the "
        f"configuration with `config.set_virtual_chunk_container({_container_example(location)})`",
        ErrorKind.NO_CONTAINER_FOR_VIRTUAL_CHUNK,
    )


def _container_example(location: str) -> str:
    """How to make a container that would serve a location, as far as the location tells."""
    scheme, _, rest = location.partition("://")
    host, _, path = rest.partition("/")
    if scheme == "vcc":
        return f'icechunk.VirtualChunkContainer(url_prefix, store, name="{host}")'
    if scheme == "file":
        directory = unquote(path.rpartition("/")[0])
        store = f'icechunk.local_filesystem_store("/{directory}")'
        return f'icechunk.VirtualChunkContainer("file://{host}/{directory}/", {store})'
    return f'icechunk.VirtualChunkContainer("{scheme}://{host}/", store)'


def _invalid(location: str, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"`{location}` is not a location of a virtual chunk: {reason}", ErrorKind.INVALID_VIRTUAL_REF
    )
