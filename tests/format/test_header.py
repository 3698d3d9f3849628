"""The envelope of metadata files, and zstd under it."""

from __future__ import annotations

import pickle
import sys
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icechunk._exceptions import ErrorKind, FormatError
from icechunk._format.compression import (
    MAX_LOCATION_SIZE,
    LocationDictionary,
    compress,
    decompress,
    train_dictionary,
)
from icechunk._format.header import HEADER_SIZE, IMPLEMENTATION, FileType, unwrap, wrap

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

EXAMPLES = settings(max_examples=60, deadline=None)

FILE = wrap(b"payload", FileType.MANIFEST, 2)


def changed(position: int, value: int) -> bytes:
    return FILE[:position] + bytes([value]) + FILE[position + 1 :]


@EXAMPLES
@given(st.binary(max_size=4000), st.sampled_from(FileType), st.sampled_from([1, 2]), st.integers(-200, 50))
def test_what_was_wrapped_is_unwrapped(
    payload: bytes, file_type: FileType, spec_version: int, level: int
) -> None:
    found = unwrap(wrap(payload, file_type, spec_version, level), file_type, "snapshots/A")
    assert found.payload == payload
    assert found.spec_version == spec_version
    assert found.written_by == IMPLEMENTATION


def test_header_bytes() -> None:
    assert FILE[:12] == bytes.fromhex("494345f09fa78a4348554e4b")
    assert FILE[12:36] == IMPLEMENTATION.encode().ljust(24)
    assert FILE[36:39] == b"\x02\x02\x01"
    assert not IMPLEMENTATION.startswith("ic-")
    assert len(IMPLEMENTATION) <= 24


def test_labels() -> None:
    assert [kind.label for kind in FileType] == ["snapshot", "manifest", "transaction-log", "repo-info"]


def test_any_buffer_is_accepted() -> None:
    assert unwrap(memoryview(FILE), FileType.MANIFEST, "m").payload == b"payload"
    assert wrap(memoryview(b"payload"), FileType.MANIFEST, 2) == FILE


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        (b"", ErrorKind.INVALID_FILE_FORMAT, "too few"),
        (FILE[: HEADER_SIZE - 1], ErrorKind.INVALID_FILE_FORMAT, "too few"),
        (FILE[:HEADER_SIZE], ErrorKind.INVALID_FILE_FORMAT, "frame"),
        (FILE[:-1], ErrorKind.INVALID_FILE_FORMAT, "manifests/A"),
        (FILE + b"garbage", ErrorKind.INVALID_FILE_FORMAT, "manifests/A"),
        (changed(0, 0), ErrorKind.INVALID_FILE_FORMAT, "start"),
        (changed(36, 3), ErrorKind.UNSUPPORTED_SPEC_VERSION, "spec version 3"),
        (changed(36, 0), ErrorKind.UNSUPPORTED_SPEC_VERSION, "spec version 0"),
        (changed(37, 1), ErrorKind.INVALID_FILE_FORMAT, "manifest"),
        (changed(37, 77), ErrorKind.INVALID_FILE_FORMAT, "77"),
        (changed(38, 0), ErrorKind.INVALID_FILE_FORMAT, "compression 0"),
    ],
)
def test_refused_files(data: bytes, kind: ErrorKind, reason: str) -> None:
    """Among them files of a newer format, which say so instead of looking damaged."""
    with pytest.raises(FormatError, match=reason) as caught:
        unwrap(data, FileType.MANIFEST, "manifests/A")
    assert caught.value.kind == kind
    assert "manifests/A" in str(caught.value)


@EXAMPLES
@given(st.binary(max_size=200))
def test_random_bytes_raise_format_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        unwrap(data, FileType.REPO_INFO, "repo")
    with pytest.raises(FormatError):
        unwrap(FILE[:HEADER_SIZE] + data, FileType.MANIFEST, "m")


@EXAMPLES
@given(st.integers(HEADER_SIZE, len(FILE) - 1), st.integers(1, 255))
def test_flipped_bytes_raise_only_format_error(position: int, flip: int) -> None:
    with suppress(FormatError):
        unwrap(changed(position, FILE[position] ^ flip), FileType.MANIFEST, "m", max_size=1 << 20)


def test_several_frames_in_a_row() -> None:
    # Readers of the format decode all frames of a file.
    assert decompress(compress(b"ab") + compress(b"") + compress(b"cd"), "x") == b"abcd"


def test_frames_of_unknown_size() -> None:
    packer = zstd.ZstdCompressor()
    frame = packer.compress(b"a" * 100) + packer.compress(b"b" * 100) + packer.flush()
    assert decompress(frame, "x") == b"a" * 100 + b"b" * 100
    with pytest.raises(FormatError, match="199"):
        decompress(frame, "x", max_size=199)


def test_zip_bomb() -> None:
    bomb = compress(bytes(200 << 20))
    assert len(bomb) < 100_000
    tracemalloc.start()
    with pytest.raises(FormatError, match="more than 10000000 bytes"):
        decompress(bomb, "x", max_size=10_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40_000_000


def test_many_empty_frames_take_linear_time() -> None:
    assert decompress(compress(b"") * 20_000, "x") == b""


def test_peak_memory_is_little_more_than_the_result() -> None:
    frame = compress(bytes(64 << 20))
    tracemalloc.start()
    assert len(decompress(frame, "x")) == 64 << 20
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * (64 << 20)


LOCATIONS = [f"s3://bucket/some/prefix/{number:05}.nc".encode() for number in range(200)]


def dictionary() -> LocationDictionary:
    content = train_dictionary(LOCATIONS, 2048)
    assert content is not None
    assert len(content) <= 2048
    return LocationDictionary(content, "manifests/A")


def test_locations_round_trip_with_a_dictionary() -> None:
    trained = dictionary()
    frames = trained.pack(LOCATIONS)
    assert sum(map(len, frames)) < sum(map(len, LOCATIONS))
    assert [trained.unpack(frame) for frame in frames] == LOCATIONS
    again = pickle.loads(pickle.dumps(trained))
    assert [again.unpack(frame) for frame in frames] == LOCATIONS


def test_longest_location() -> None:
    trained = dictionary()
    fits, too_long = trained.pack([b"x" * MAX_LOCATION_SIZE, b"x" * (MAX_LOCATION_SIZE + 1)])
    assert len(trained.unpack(fits)) == MAX_LOCATION_SIZE
    with pytest.raises(FormatError, match="1024"):
        trained.unpack(too_long)


def test_damaged_locations() -> None:
    trained = dictionary()
    (frame,) = trained.pack([LOCATIONS[7]])
    for cut in range(len(frame)):
        with pytest.raises(FormatError, match="manifests/A"):
            trained.unpack(frame[:cut])
    with pytest.raises(FormatError):
        trained.unpack(compress(bytes(1 << 20)))
    with pytest.raises(FormatError, match="dictionary"):
        LocationDictionary(b"no", "manifests/A")


def test_many_locations_are_not_all_remembered() -> None:
    trained = dictionary()
    many = [b"s3://bucket/%d" % number for number in range(5000)]
    assert [trained.unpack(frame) for frame in trained.pack(many)] == many
    assert len(trained._known) < 5000


@pytest.mark.parametrize("samples", [[], [b""], [b"ab"] * 100, [b"ab", b"cd", b"long enough by far"]])
def test_samples_that_make_no_dictionary(samples: list[bytes]) -> None:
    assert train_dictionary(samples, 2048) is None


@pytest.mark.parametrize("size", [1 << 16, (1 << 16) + 1, 16 << 20, (16 << 20) + 1, 40 << 20])
def test_payloads_of_any_size_are_packed_into_one_frame(size: int) -> None:
    """Small ones by a packer that is kept, large ones by two threads: the frame tells none of that."""
    data = np.arange(size // 4 + 1, dtype="<u4").view("u1")[:size].tobytes()
    packed = compress(data)
    assert zstd.get_frame_size(packed) == len(packed)
    assert zstd.get_frame_info(packed).decompressed_size == size
    assert decompress(packed, "a file") == data
