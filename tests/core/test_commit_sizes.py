"""What is too large for a file is refused before work is done for it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk._core.change_set import ChunkTable
from icechunk._core.manifest_plan import Rewrite, require_log_size, require_size
from icechunk._exceptions import FormatError
from icechunk._format.chunk_refs import ChunkRef, ChunkRefs, inline_ref, native, virtual
from icechunk._format.manifest import encode_manifest
from icechunk._format.transaction_log import TransactionLog, encode_transaction_log

KINDS = st.one_of(
    st.builds(inline_ref, st.binary(min_size=1, max_size=9)),
    st.builds(native, st.just(b"i" * 12), st.integers(1, 99)),
    st.builds(virtual, st.sampled_from(["s3://b/f", "s3://b/g"]), st.integers(0, 3), st.integers(1, 9)),
)


@given(st.integers(0, 4), st.lists(KINDS, min_size=1, max_size=40))
def test_the_least_size_of_a_manifest_is_no_more_than_its_size(ndim: int, refs: list[ChunkRef]) -> None:
    """Only what certainly does not fit is refused early."""
    items = {(number,) * ndim: reference for number, reference in enumerate(refs)}
    written = ChunkRefs.from_items(ndim, items)
    piece = Rewrite((), written, np.empty((0, ndim), np.uint32), 0)
    size = len(encode_manifest(b"m" * 12, [(b"n" * 8, written)], 1))
    require_size("/a", piece, size)
    with pytest.raises(FormatError, match=r"references of `/a` .*splitting") as caught:
        require_size("/a", piece, 0)
    assert caught.value.kind == "serialization"
    # The references of several cells are cut into several manifests.
    require_size("/a", Rewrite((), written, piece.removed, None), 0)


@given(st.integers(0, 4), st.integers(1, 40))
def test_the_least_size_of_a_log_is_no_more_than_its_size(ndim: int, count: int) -> None:
    """The same for the log of a commit."""
    table = ChunkTable(ndim)
    for number in range(count):
        table.recent[(number,) * ndim] = inline_ref(b"x")
    log = TransactionLog(b"s" * 12, updated_chunks={b"n" * 8: table.coordinates()})
    size = len(encode_transaction_log(log, 1))
    changed = count if ndim else 1
    assert require_log_size([table], size) == changed
    with pytest.raises(FormatError, match=f"{changed} chunks .*several parts") as caught:
        require_log_size([table], 0)
    assert caught.value.kind == "serialization"
