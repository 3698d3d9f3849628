"""Settings that say how manifests and chunks are laid out, for tests in which they must not matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis.strategies as st

from icechunk import (
    ManifestConfig,
    ManifestSplitCondition,
    ManifestSplitDimCondition,
    ManifestSplittingConfig,
    RepositoryConfig,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def layout(split_size: int | None, threshold: int) -> RepositoryConfig:
    """Chunks of at most `threshold` bytes inline, manifests cut after `split_size` chunks along each axis."""
    if split_size is None:
        return RepositoryConfig(inline_chunk_threshold_bytes=threshold)
    splitting = ManifestSplittingConfig.from_dict(
        {ManifestSplitCondition.AnyArray(): {ManifestSplitDimCondition.Any(): split_size}}
    )
    return RepositoryConfig(
        inline_chunk_threshold_bytes=threshold, manifest=ManifestConfig(splitting=splitting)
    )


def layouts() -> SearchStrategy[RepositoryConfig]:
    return st.builds(layout, st.none() | st.integers(1, 5), st.sampled_from([0, 8, 512]))
