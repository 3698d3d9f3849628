"""Containers of virtual chunks and credentials: what they accept, how they show themselves."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime

import pytest

from icechunk.config import (
    ObjectStoreConfig,
    RepositoryConfig,
)
from icechunk.credentials import (
    Credentials,
    HttpAccess,
    LocalFileSystemAccess,
    S3Credentials,
    S3StaticCredentials,
    containers_credentials,
    s3_anonymous_credentials,
    s3_credentials,
    s3_from_env_credentials,
    s3_static_credentials,
)
from icechunk.virtual import S3Options, VirtualChunkContainer, VirtualChunkSpec


def container(prefix: str, name: str | None = None) -> VirtualChunkContainer:
    return VirtualChunkContainer(prefix, ObjectStoreConfig.S3(S3Options()), name)


def test_containers_are_known_by_prefix_and_by_name() -> None:
    config = RepositoryConfig()
    assert config.get_virtual_chunk_container("s3://a/") is None
    config.set_virtual_chunk_container(container("s3://a/"))
    config.set_virtual_chunk_container(container("s3://b/", "name"))
    config.set_virtual_chunk_container(container("s3://c/", "name"))
    config.set_virtual_chunk_container(container("s3://a/", "other"))
    assert config.virtual_chunk_containers == {
        "s3://a/": container("s3://a/", "other"),
        "s3://c/": container("s3://c/", "name"),
    }
    assert config.get_virtual_chunk_container("s3://c/") == container("s3://c/", "name")
    config.clear_virtual_chunk_containers()
    assert config.virtual_chunk_containers == {}


@pytest.mark.parametrize(
    ("prefix", "store", "name"),
    [
        ("s3://b", ObjectStoreConfig.S3(S3Options()), None),
        ("s3:///x/", ObjectStoreConfig.S3(S3Options()), None),
        ("b/", ObjectStoreConfig.S3(S3Options()), None),
        ("gs://b/", ObjectStoreConfig.S3(S3Options()), None),
        ("tigris://b/", ObjectStoreConfig.S3(S3Options()), None),
        ("s3://b ucket/", ObjectStoreConfig.S3(S3Options()), None),
        ("s3://[/", ObjectStoreConfig.S3(S3Options()), None),
        ("memory://a/", ObjectStoreConfig.InMemory(), None),
        ("file:///", ObjectStoreConfig.LocalFileSystem("/"), None),
        ("file:///x/../y/", ObjectStoreConfig.LocalFileSystem("/"), None),
        ("file:///x/%2e%2e/", ObjectStoreConfig.LocalFileSystem("/"), None),
        ("http://h:x/", ObjectStoreConfig.Http(), None),
        ("http:///", ObjectStoreConfig.Http(), None),
        ("s3://b/", ObjectStoreConfig.S3(S3Options()), ""),
        ("s3://b/", ObjectStoreConfig.S3(S3Options()), "a/b"),
    ],
)
def test_containers_are_checked(prefix: str, store: ObjectStoreConfig, name: str | None) -> None:
    config = RepositoryConfig()
    with pytest.raises(ValueError, match=r"."):
        config.set_virtual_chunk_container(VirtualChunkContainer(prefix, store, name))
    assert config == RepositoryConfig()


@pytest.mark.parametrize(
    ("prefix", "store"),
    [
        ("s3://b/", ObjectStoreConfig.Tigris(S3Options())),
        ("tigris://b/", ObjectStoreConfig.Tigris(S3Options())),
        ("s3://b/", ObjectStoreConfig.S3Compatible(S3Options())),
        ("gcs://b/", ObjectStoreConfig.Gcs()),
        ("abfs://b/", ObjectStoreConfig.Azure()),
        ("https://h:8080/x/", ObjectStoreConfig.Http()),
        ("file:///a b/", ObjectStoreConfig.LocalFileSystem("/a b")),
    ],
)
def test_containers_fit_their_stores(prefix: str, store: ObjectStoreConfig) -> None:
    config = RepositoryConfig()
    config.set_virtual_chunk_container(VirtualChunkContainer(prefix, store))
    assert config.virtual_chunk_containers


def test_stores() -> None:
    assert isinstance(ObjectStoreConfig.S3(S3Options()), ObjectStoreConfig)
    stores: list[ObjectStoreConfig] = [
        ObjectStoreConfig.S3(S3Options()),
        ObjectStoreConfig.S3Compatible(S3Options()),
    ]
    assert stores[0] != stores[1]
    with pytest.raises(TypeError):
        ObjectStoreConfig.S3(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ObjectStoreConfig.LocalFileSystem(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ObjectStoreConfig.Http({"a": 1})  # type: ignore[dict-item]
    with pytest.raises(TypeError):
        VirtualChunkContainer("s3://b/", 3)  # type: ignore[arg-type]


def test_virtual_chunk_spec() -> None:
    spec = VirtualChunkSpec((1, 2), "s3://a/b", 0, 1, "tag", datetime(2024, 1, 1, tzinfo=UTC))  # type: ignore[arg-type]
    assert spec.index == [1, 2]
    for arguments, error in [
        (([-1], "a", 0, 1), OverflowError),
        (([2**32], "a", 0, 1), OverflowError),
        (([1], "a", -1, 1), OverflowError),
        (([1], "a", 0, 2**64), OverflowError),
        (([1], 3, 0, 1), TypeError),
        ((["1"], "a", 0, 1), TypeError),
        (("12", "a", 0, 1), TypeError),
        (([1], "a", 0, 1, None, datetime(2024, 1, 1)), TypeError),
        (([1], "a", 0, 1, None, 3), TypeError),
    ]:
        with pytest.raises(error):
            VirtualChunkSpec(*arguments)  # type: ignore[arg-type]


# Credentials


def test_secrets_do_not_show() -> None:
    credentials = S3StaticCredentials("AKIA1234", "secret!", "token!", datetime(2024, 1, 1, tzinfo=UTC))
    assert repr(credentials) == str(credentials)
    assert str(credentials) == (
        "<icechunk.credentials.S3StaticCredentials>\naccess_key_id: AKIA****\nsecret_access_key: ****\n"
        "session_token: ****\n"
        "expires_after: datetime.datetime(2024,1,1,0,0,0,0, tzinfo=datetime.timezone.utc)\n"
    )
    wrapped = Credentials.S3(S3Credentials.Static(credentials))
    for shown in (repr(wrapped), str(wrapped), credentials._repr_html_()):
        assert "secret!" not in shown
        assert "token!" not in shown
    assert pickle.loads(pickle.dumps(wrapped)) == wrapped
    with pytest.raises(TypeError):
        S3StaticCredentials("a", "b", expires_after=datetime(2024, 1, 1))


def test_s3_credentials_follow_the_arguments() -> None:
    static = s3_static_credentials(access_key_id="a", secret_access_key="b", session_token="c")
    assert s3_credentials(access_key_id="a", secret_access_key="b", session_token="c") == static
    assert s3_credentials() == s3_credentials(from_env=True) == s3_from_env_credentials()
    assert s3_credentials(anonymous=True) == s3_anonymous_credentials()
    for wrong in [
        {"access_key_id": "a"},
        {"session_token": "a"},
        {"access_key_id": "a", "secret_access_key": "b", "anonymous": True},
        {"access_key_id": "a", "secret_access_key": "b", "from_env": True},
        {"anonymous": True, "from_env": True},
        {"from_env": False},
    ]:
        with pytest.raises(ValueError, match="s3_credentials"):
            s3_credentials(**wrong)  # type: ignore[arg-type]


def test_containers_credentials() -> None:
    anonymous = s3_anonymous_credentials()
    given = {"s3://a/": anonymous, "file:///x/": LocalFileSystemAccess, "http://h/": HttpAccess, "x": None}
    assert containers_credentials(given) == {
        "s3://a/": Credentials.S3(anonymous),
        "file:///x/": Credentials.LocalFileSystemAccess(),
        "http://h/": Credentials.HttpAccess(),
        "x": None,
    }
    with pytest.raises(ValueError, match="int"):
        containers_credentials({"a": 3})  # type: ignore[dict-item]


def test_containers_show_in_both_forms() -> None:
    config = RepositoryConfig()
    config.set_virtual_chunk_container(
        VirtualChunkContainer("file:///data/", ObjectStoreConfig.LocalFileSystem("/data"), "local")
    )
    assert repr(config).endswith(
        "    virtual_chunk_containers={\n"
        '        "file:///data/": icechunk.virtual.VirtualChunkContainer(\n'
        '            name="local",\n'
        '            url_prefix="file:///data/",\n'
        '            store=icechunk.config.ObjectStoreConfig.LocalFileSystem("/data"),\n'
        "        ),\n"
        "    },\n"
        ")"
    )
    assert str(config).endswith(
        "virtual_chunk_containers:\n"
        "    file:///data/:\n"
        "        <icechunk.virtual.VirtualChunkContainer>\n"
        '        name: "local"\n'
        '        url_prefix: "file:///data/"\n'
        "        store:\n"
        "            <icechunk.config.ObjectStoreConfig.LocalFileSystem>\n"
        '            path: "/data"\n'
    )
