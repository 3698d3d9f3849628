"""Credentials: what to show to an object store, and what a repository may read with them.

`S3Credentials` are for the storage of a repository. For virtual chunk containers each kind
is wrapped into one of the variants of `Credentials`, next to the two sentinels
`LocalFileSystemAccess` and `HttpAccess` that authorise stores without credentials;
`containers_credentials` does the wrapping. Secrets never show in a `repr`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeAlias

from icechunk._setting import AwareTime, Checked
from icechunk.display import Form, Listed, plain
from icechunk.types import nest_variants

__all__ = [
    "AnyCredential",
    "AnyS3Credential",
    "Credentials",
    "HttpAccess",
    "LocalFileSystemAccess",
    "S3Credentials",
    "S3StaticCredentials",
    "containers_credentials",
    "s3_anonymous_credentials",
    "s3_credentials",
    "s3_from_env_credentials",
    "s3_static_credentials",
]

_HIDDEN = "****"
_SHOWN_CHARACTERS = 4


class S3StaticCredentials(Listed, Checked):
    """A key pair for S3, with an optional session token.

    Parameters
    ----------
    access_key_id : str
        The public half of the pair.
    secret_access_key : str
        The secret half.
    session_token : str, optional
        The token of a temporary session.
    expires_after : datetime.datetime, optional
        When the credentials expire; a time with a time zone.

    Raises
    ------
    TypeError
        An argument has the wrong type, or the time has no time zone.

    Examples
    --------
    >>> from icechunk import S3StaticCredentials
    >>> print(S3StaticCredentials("AKIA1234", "a secret"))
    <icechunk.credentials.S3StaticCredentials>
    access_key_id: AKIA****
    secret_access_key: ****
    session_token: None
    expires_after: None
    <BLANKLINE>
    """

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    expires_after: Annotated[datetime | None, AwareTime()] = None

    def _fields(self, form: Form) -> Iterable[tuple[str, str]]:
        yield "access_key_id", self.access_key_id[:_SHOWN_CHARACTERS] + _HIDDEN
        yield "secret_access_key", _HIDDEN
        yield "session_token", "None" if self.session_token is None else _HIDDEN
        yield "expires_after", plain(self.expires_after and self.expires_after.astimezone(UTC), form)


class S3Credentials:
    """How to sign requests to S3; one of the nested classes.

    ``FromEnv()`` looks in the environment, as Amazon's own tools do, ``Anonymous()`` does not
    sign, ``Static(credentials)`` uses an `S3StaticCredentials`.

    Examples
    --------
    >>> from icechunk import S3Credentials, S3StaticCredentials
    >>> credentials = S3Credentials.Static(S3StaticCredentials("AKIA1234", "a secret"))
    >>> isinstance(credentials, S3Credentials)
    True
    """

    __slots__ = ()

    if TYPE_CHECKING:
        FromEnv: TypeAlias = "_FromEnv"
        Anonymous: TypeAlias = "_Anonymous"
        Static: TypeAlias = "_Static"


class _FromEnv(S3Credentials, Checked):
    """Look in the environment."""


class _Anonymous(S3Credentials, Checked):
    """Send unsigned requests."""


class _Static(S3Credentials, Checked):
    """Use a fixed key pair."""

    credentials: S3StaticCredentials

    def __repr__(self) -> str:
        # In one line, as its siblings.
        fields = [f"{name}={value}" for name, value in self.credentials._fields(Form.LISTING)]
        return f"Static(credentials=S3StaticCredentials({', '.join(fields)}))"


nest_variants(S3Credentials)

AnyS3Credential = S3Credentials.Static | S3Credentials.Anonymous | S3Credentials.FromEnv


class Credentials:
    """What authorises the reading of a virtual chunk container; one of the nested classes.

    ``S3(credentials)`` wraps `S3Credentials`. ``LocalFileSystemAccess()`` and ``HttpAccess()``
    are for stores that ask for no credentials; their instances `icechunk.credentials.LocalFileSystemAccess`
    and `icechunk.credentials.HttpAccess` are there to be used.

    Examples
    --------
    >>> from icechunk import Credentials, S3Credentials
    >>> isinstance(Credentials.S3(S3Credentials.Anonymous()), Credentials)
    True
    """

    __slots__ = ()

    if TYPE_CHECKING:
        S3: TypeAlias = "_S3"
        LocalFileSystemAccess: TypeAlias = "_LocalFileSystemAccess"
        HttpAccess: TypeAlias = "_HttpAccess"


class _S3(Credentials, Checked):
    """For stores that speak the protocol of S3."""

    credentials: S3Credentials


class _LocalFileSystemAccess(Credentials, Checked):
    """For ``file://`` containers."""


class _HttpAccess(Credentials, Checked):
    """For ``http://`` and ``https://`` containers."""


nest_variants(Credentials)

AnyCredential = Credentials.S3 | Credentials.LocalFileSystemAccess | Credentials.HttpAccess

LocalFileSystemAccess = Credentials.LocalFileSystemAccess()
"""Authorises the reading of a container on the local file system."""

HttpAccess = Credentials.HttpAccess()
"""Authorises the reading of a container behind a web server."""


def s3_static_credentials(
    *,
    access_key_id: str,
    secret_access_key: str,
    session_token: str | None = None,
    expires_after: datetime | None = None,
) -> S3Credentials.Static:
    """Sign requests with a fixed key pair.

    Parameters
    ----------
    access_key_id : str
    secret_access_key : str
    session_token : str, optional
    expires_after : datetime.datetime, optional
        See `S3StaticCredentials`.

    Returns
    -------
    S3Credentials.Static

    Examples
    --------
    >>> from icechunk import s3_static_credentials
    >>> signed = s3_static_credentials(access_key_id="AKIA1234", secret_access_key="a secret")
    >>> signed.credentials.access_key_id
    'AKIA1234'
    """
    return S3Credentials.Static(
        S3StaticCredentials(access_key_id, secret_access_key, session_token, expires_after)
    )


def s3_anonymous_credentials() -> S3Credentials.Anonymous:
    """Send unsigned requests, for public buckets.

    Returns
    -------
    S3Credentials.Anonymous
    """
    return S3Credentials.Anonymous()


def s3_from_env_credentials() -> S3Credentials.FromEnv:
    """Find credentials in the environment, as Amazon's own tools do.

    Returns
    -------
    S3Credentials.FromEnv
    """
    return S3Credentials.FromEnv()


def s3_credentials(
    *,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    session_token: str | None = None,
    expires_after: datetime | None = None,
    anonymous: bool | None = None,
    from_env: bool | None = None,
) -> AnyS3Credential:
    """Choose credentials for S3 by what is given; without arguments, those of the environment.

    Parameters
    ----------
    access_key_id, secret_access_key : str, optional
        A fixed key pair.
    session_token : str, optional
    expires_after : datetime.datetime, optional
        More about the key pair, see `S3StaticCredentials`.
    anonymous : bool, optional
        Send unsigned requests.
    from_env : bool, optional
        Look in the environment.

    Returns
    -------
    S3Credentials.Static, S3Credentials.Anonymous or S3Credentials.FromEnv

    Raises
    ------
    ValueError
        The arguments contradict each other, or the key pair is not complete.

    Examples
    --------
    >>> from icechunk import s3_credentials
    >>> s3_credentials(anonymous=True)
    Anonymous()
    """
    static = [access_key_id, secret_access_key, session_token, expires_after]
    if all(argument is None for argument in static):
        if not anonymous and from_env is not False:
            return S3Credentials.FromEnv()
        if anonymous and not from_env:
            return S3Credentials.Anonymous()
    elif access_key_id and secret_access_key and not anonymous and not from_env:
        return s3_static_credentials(
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            session_token=session_token,
            expires_after=expires_after,
        )
    raise ValueError(
        "Conflicting arguments to s3_credentials function: give a whole key pair, or anonymous, or from_env"
    )


def containers_credentials(
    m: Mapping[str, AnyS3Credential | Credentials.LocalFileSystemAccess | Credentials.HttpAccess | None],
) -> dict[str, AnyCredential | None]:
    """Wrap credentials for the virtual chunk containers of a repository.

    Parameters
    ----------
    m : mapping of str to credentials
        By the URL prefix of a container, the credentials for its store, or
        `LocalFileSystemAccess` or `HttpAccess`. None is deprecated: it means that the store
        asks for no credentials.

    Returns
    -------
    dict of str to Credentials or None
        What `Repository.open` takes as `authorize_virtual_chunk_access`.

    Raises
    ------
    ValueError
        A value is something else.

    Examples
    --------
    >>> from icechunk import containers_credentials, s3_anonymous_credentials
    >>> containers_credentials({"s3://noaa/": s3_anonymous_credentials()})
    {'s3://noaa/': S3(credentials=Anonymous())}
    """
    return {prefix: None if value is None else _wrapped(value) for prefix, value in m.items()}


def _wrapped(credential: object) -> AnyCredential:
    if isinstance(credential, Credentials.LocalFileSystemAccess | Credentials.HttpAccess):
        return credential
    if isinstance(credential, S3Credentials):
        return Credentials.S3(credential)
    raise ValueError(f"Unknown credential type {type(credential)}")
