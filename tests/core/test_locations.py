"""Locations of virtual chunks, the containers that serve them, and authorisation."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk._core.locations import (
    authorized_prefixes,
    check_access,
    credential_for,
    is_stored_verbatim,
    object_key,
    parse_location,
    usable_containers,
)
from icechunk._exceptions import InvalidInputError, StorageError
from icechunk.credentials import Credentials, S3Credentials
from icechunk.virtual import ObjectStoreConfig, S3Options, VirtualChunkContainer

S3 = ObjectStoreConfig.S3(S3Options())


def containers(*entries: tuple[str, ObjectStoreConfig, str | None]) -> Any:
    return usable_containers({entry[0]: VirtualChunkContainer(*entry) for entry in entries})


CONTAINERS = containers(
    ("s3://b/data/", S3, "n1"),
    ("s3://b/data/deep/", S3, None),
    ("file:///tmp/x/", ObjectStoreConfig.LocalFileSystem("/tmp/x"), "loc"),
    ("http://h/d/", ObjectStoreConfig.Http(), None),
    ("gs://g/", ObjectStoreConfig.Gcs(), None),
    ("gs://g/sp%20ace/", ObjectStoreConfig.Gcs(), "sp"),
)

NO_CONTAINER = "no-container-for-virtual-chunk"
INVALID = "invalid-virtual-ref"


# What is stored, and whether a reference to it may be written (an error kind if not).
@pytest.mark.parametrize(
    ("location", "stored", "checked"),
    [
        ("s3://b/data/x", "s3://b/data/x", None),
        ("S3://b/data/x", "s3://b/data/x", None),
        ("s3://B/data/x", "s3://B/data/x", NO_CONTAINER),
        ("s3://b/data//x/../y", "s3://b/data//x/../y", None),
        ("s3://b/other", "s3://b/other", NO_CONTAINER),
        ("s3://b/data", "s3://b/data", NO_CONTAINER),
        ("s3://b/data-more/x", "s3://b/data-more/x", NO_CONTAINER),
        ("s3://b/data/?q", "s3://b/data/?q", None),
        ("s3://b?x", "s3://b?x", NO_CONTAINER),
        ("vcc://n1/x", "vcc://n1/x", None),
        ("vcc://n1//x/../y", "vcc://n1//x/../y", None),
        ("VCC://n1/x", "vcc://n1/x", None),
        ("vcc://nope/x", "vcc://nope/x", NO_CONTAINER),
        ("vcc://n1", "vcc://n1", NO_CONTAINER),
        ("vcc://loc//y", "vcc://loc//y", INVALID),
        ("vcc://loc/../y", "vcc://loc/../y", INVALID),
        ("vcc://sp/x", "vcc://sp/x", None),
        ("file:///tmp/x/a", "file:///tmp/x/a", None),
        ("file:///tmp/x/../a", "file:///tmp/a", NO_CONTAINER),
        ("file:///tmp/x/%2e%2e/a", "file:///tmp/a", NO_CONTAINER),
        ("file:///tmp/x/.%2E/a", "file:///tmp/a", NO_CONTAINER),
        ("file:///tmp/x/..", "file:///tmp/", NO_CONTAINER),
        ("file:///../../x", "file:///x", NO_CONTAINER),
        ("file:///tmp/x/./", "file:///tmp/x/", None),
        ("file:///tmp/x/a/.", "file:///tmp/x/a/", None),
        ("file:/tmp/x/a", "file:///tmp/x/a", None),
        ("file:tmp/x/a", "file:///tmp/x/a", None),
        ("file:////tmp/x/a", "file:///tmp/x/a", None),
        ("FILE:///tmp/x/a b?q#f", "file:///tmp/x/a%20b?q#f", None),
        ("file://localhost/tmp/x/a", "file:///tmp/x/a", None),
        ("file://host/tmp/x/a", "file://host/tmp/x/a", NO_CONTAINER),
        ("file:///tmp/x//a", "file:///tmp/x//a", INVALID),
        ("file:///tmp/x/a\\b", "file:///tmp/x/a/b", None),
        ("file:///tmp/x/é", "file:///tmp/x/%C3%A9", None),
        ("file:///tmp/x/%zz", "file:///tmp/x/%zz", None),
        ("file:///tmp/x/a\tb", "file:///tmp/x/ab", None),
        ("file:///tmp/x/ a ", "file:///tmp/x/%20a", None),
        ('file:///tmp/x/a|b^c`{}"<>', "file:///tmp/x/a|b^c%60%7B%7D%22%3C%3E", None),
        ("file:///C:/../x", "file:///C:/x", NO_CONTAINER),
        ("file://", "file:///", NO_CONTAINER),
        ("http://h/d/x", "http://h/d/x", None),
        ("http:/h/d/x", "http://h/d/x", None),
        ("http://h:8080/d/x", "http://h:8080/d/x", NO_CONTAINER),
        ("http://u:p@h/d/x", "http://u:p@h/d/x", NO_CONTAINER),
        ("http://h/d/../x", "http://h/d/../x", INVALID),
        ("http://h/d/%2e%2e/x", "http://h/d/%2e%2e/x", INVALID),
        ("http://h/d/a//b", "http://h/d/a//b", INVALID),
        ("gs://g/a b", "gs://g/a b", None),
        ("gs://g/a%20b", "gs://g/a%20b", None),
        ("gs://g/sp ace/x", "gs://g/sp ace/x", None),
        ("gs://g/x/", "gs://g/x/", None),
        ("gs://g/", "gs://g/", None),
        ("gs://g", "gs://g", NO_CONTAINER),
        ("gs://g/a/./b", "gs://g/a/./b", INVALID),
        ("gcs://g/x", "gcs://g/x", NO_CONTAINER),
        (" s3://b/data/x", " s3://b/data/x", NO_CONTAINER),
        ("://x", "://x", NO_CONTAINER),
    ],
)
def test_locations_are_stored_and_checked(location: str, stored: str, checked: str | None) -> None:
    assert parse_location(location) == stored
    assert parse_location(stored) == stored
    if checked is None:
        CONTAINERS.check(stored)
    else:
        with pytest.raises(InvalidInputError) as caught:
            CONTAINERS.check(stored)
        assert caught.value.kind == checked


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("s3:///x", INVALID),
        ("s3://", INVALID),
        ("s3://?q", INVALID),
        ("s3:/x", INVALID),
        ("s3:x", INVALID),
        ("/abs/path", INVALID),
        ("relative", INVALID),
        ("", INVALID),
        ("mailto:foo", INVALID),
        ("http:", INVALID),
        ("vcc:n1", INVALID),
        ("vcc:///x", NO_CONTAINER),
    ],
)
def test_what_is_no_location_is_refused(location: str, kind: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_location(location)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("location", "prefix", "url", "key"),
    [
        ("s3://b/data/x", "s3://b/data/", "s3://b/data/x", "/data/x"),
        ("s3://b/data/deep/x", "s3://b/data/deep/", "s3://b/data/deep/x", "/data/deep/x"),
        ("s3://b/data/deep/../x", "s3://b/data/", "s3://b/data/deep/../x", "/data/deep/../x"),
        ("s3://b/data//../x", "s3://b/data/", "s3://b/data//../x", "/data//../x"),
        ("vcc://n1/deep/x", "s3://b/data/deep/", "s3://b/data/deep/x", "/data/deep/x"),
        ("vcc://loc/a b", "file:///tmp/x/", "file:///tmp/x/a%20b", "/tmp/x/a b"),
        ("file:///tmp/x/a%20b?q#f", "file:///tmp/x/", "file:///tmp/x/a%20b?q#f", "/tmp/x/a b"),
        ("http://h/d/a%2Fb?x=/#y", "http://h/d/", "http://h/d/a%2Fb?x=/#y", "/d/a/b"),
        ("gs://g/sp%20ace/q", "gs://g/sp%20ace/", "gs://g/sp%20ace/q", "/sp ace/q"),
    ],
)
def test_locations_resolve(location: str, prefix: str, url: str, key: str) -> None:
    resolved = CONTAINERS.resolve(parse_location(location))
    assert (resolved.container.url_prefix, resolved.url, resolved.key) == (prefix, url, key)


@pytest.mark.parametrize(
    "location",
    [
        "s3://b/other",
        "s3://b/data/../x",
        "s3://b/data/%2e%2e/x",
        "s3://b/data/a/../../x",
        "vcc://loc/../y",
        "vcc://loc/%2e%2e/y",
        "vcc://nope/x",
        "http://h/d/../x",
        "http://h/d/%2E%2e/x",
        "gs://g/../x",
    ],
)
def test_nothing_leaves_its_container(location: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        CONTAINERS.resolve(parse_location(location))
    assert caught.value.kind == NO_CONTAINER


def test_keys_must_be_text() -> None:
    assert object_key("s3://b") == "/"
    with pytest.raises(InvalidInputError) as caught:
        object_key("s3://b/%ff")
    assert caught.value.kind == INVALID


def test_stored_containers_are_mended_or_left_out() -> None:
    found = containers(
        ("s3://b", S3, None),
        ("s3://b/longer/", S3, None),
        ("gs://b/", S3, None),
        ("s3://c/", S3, "a/b"),
    )
    assert [container.url_prefix for container in found.usable] == ["s3://b/longer/", "s3://b/"]
    assert usable_containers(None).usable == ()


@given(st.text(max_size=40) | st.text("s3:/.%2e@?#gvchtpfile\\ ", max_size=40))
def test_odd_locations_raise_only_invalid_input(text: str) -> None:
    with suppress(InvalidInputError):
        stored = parse_location(text)
        with suppress(InvalidInputError):
            CONTAINERS.check(stored)
        resolved = CONTAINERS.resolve(stored)
        assert ".." not in resolved.key or resolved.url.startswith(resolved.container.url_prefix)


@given(st.lists(st.sampled_from(["..", ".", "", "a", "%2e%2e", "%2E.", "b c", "\\", "..\\"]), max_size=6))
def test_files_stay_below_their_prefix(segments: list[str]) -> None:
    with suppress(InvalidInputError):
        resolved = CONTAINERS.resolve(parse_location("file:///tmp/x/" + "/".join(segments)))
        assert resolved.key.startswith("/tmp/x/")
        assert ".." not in resolved.key.split("/")


# Authorisation


def test_authorisations_get_a_slash_and_a_wrapper() -> None:
    anonymous = S3Credentials.Anonymous()
    access = authorized_prefixes({"s3://b": anonymous, "s3://c/": Credentials.S3(anonymous)})
    assert access == {"s3://b/": Credentials.S3(anonymous), "s3://c/": Credentials.S3(anonymous)}
    assert authorized_prefixes(None) == {}
    with pytest.raises(TypeError, match="containers_credentials"):
        authorized_prefixes({"s3://b/": "secret"})


def test_a_container_must_be_authorised_by_its_own_prefix() -> None:
    anonymous = S3Credentials.Anonymous()
    access = authorized_prefixes({"s3://b/data": anonymous, "s3://b/": anonymous})
    outer = CONTAINERS.resolve("s3://b/data/x")
    inner = CONTAINERS.resolve("s3://b/data/deep/x")
    assert credential_for(outer, access) == Credentials.S3(anonymous)
    with pytest.raises(InvalidInputError, match="s3://b/data/deep/x") as caught:
        credential_for(inner, access)
    assert caught.value.kind == "unauthorized-virtual-chunk-container"


@pytest.mark.parametrize(
    ("location", "call"),
    [
        ("vcc://loc/f", '{"file:///tmp/x/": icechunk.credentials.LocalFileSystemAccess}'),
        ("http://h/d/f", '{"http://h/d/": icechunk.credentials.HttpAccess}'),
        ("s3://b/data/f", '{"s3://b/data/": icechunk.Credentials.S3(icechunk.s3_credentials(...))}'),
        ("gs://g/f", '{"gs://g/": ...}'),
    ],
)
def test_the_error_of_a_missing_authorisation_says_what_to_pass(location: str, call: str) -> None:
    """What may not be read is an error, with the way out in it."""
    with pytest.raises(InvalidInputError) as caught:
        credential_for(CONTAINERS.resolve(location), {})
    assert f"`authorize_virtual_chunk_access={call}`" in caught.value.message


@pytest.mark.parametrize(
    ("location", "call"),
    [
        (
            "file:///other/a b.nc",
            'icechunk.VirtualChunkContainer("file:///other/", icechunk.local_filesystem_store("/other"))',
        ),
        ("s3://other/x/y", 'icechunk.VirtualChunkContainer("s3://other/", store)'),
        ("vcc://nope/x", 'icechunk.VirtualChunkContainer(url_prefix, store, name="nope")'),
    ],
)
def test_the_error_of_a_missing_container_says_how_to_add_one(location: str, call: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        CONTAINERS.resolve(parse_location(location))
    assert f"`config.set_virtual_chunk_container({call})`" in caught.value.message


LOCATIONS = st.builds(
    "{}{}".format,
    st.sampled_from(
        [container.url_prefix for container in CONTAINERS.usable] + ["file:/", "S3://", "vcc://n1/"]
    ),
    st.text(max_size=12) | st.text("a./%?#b\\ -_\n", max_size=12),
)


@given(LOCATIONS)
def test_what_the_quick_tests_let_through_is_fine(location: str) -> None:
    """The law of the quick tests: they spare the long way, and never decide otherwise."""
    if is_stored_verbatim(location):
        assert parse_location(location) == location
    if CONTAINERS.verbatim_test()(location):
        assert parse_location(location) == location
        CONTAINERS.check(location)


@pytest.mark.parametrize(
    ("location", "quick"),
    [
        ("s3://b/data/2024//x/../a.nc?q", True),
        ("file:///tmp/x/2024/a_b-c.nc", True),
        ("gs://g/a/b.nc", True),
        ("file:///tmp/x/.hidden", False),
        ("file:///tmp/x/a.nc\n", False),
        ("s3://b/other", False),
        ("gs://g/", False),
    ],
)
def test_usual_locations_pass_the_quick_test(location: str, quick: bool) -> None:
    assert bool(CONTAINERS.verbatim_test()(location)) is quick


@pytest.mark.parametrize(
    ("prefix", "store", "credential", "fits"),
    [
        ("s3://b/", S3, Credentials.S3(S3Credentials.FromEnv()), True),
        ("s3://b/", S3, Credentials.HttpAccess(), False),
        ("tigris://b/", ObjectStoreConfig.Tigris(S3Options()), Credentials.S3(S3Credentials.FromEnv()), True),
        ("file:///x/", ObjectStoreConfig.LocalFileSystem("/x"), Credentials.LocalFileSystemAccess(), True),
        ("file:///x/", ObjectStoreConfig.LocalFileSystem("/x"), Credentials.HttpAccess(), False),
        ("http://h/", ObjectStoreConfig.Http(), Credentials.HttpAccess(), True),
        ("http://h/", ObjectStoreConfig.Http(), Credentials.LocalFileSystemAccess(), False),
        ("gs://g/", ObjectStoreConfig.Gcs(), Credentials.S3(S3Credentials.FromEnv()), False),
        ("az://g/", ObjectStoreConfig.Azure(), None, False),
    ],
)
def test_credentials_fit_their_store(
    prefix: str, store: ObjectStoreConfig, credential: Any, fits: bool
) -> None:
    found = containers((prefix, store, None))
    if fits:
        check_access(found, {prefix: credential, "s3://elsewhere/": Credentials.HttpAccess()})
    else:
        with pytest.raises(StorageError, match=prefix) as caught:
            check_access(found, {prefix: credential})
        assert caught.value.kind == "storage-other"


def test_none_is_deprecated() -> None:
    with pytest.warns(DeprecationWarning, match="s3://b"):
        assert authorized_prefixes({"s3://b": None}) == {"s3://b/": None}
