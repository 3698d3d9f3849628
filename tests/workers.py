"""What worker processes do with the sessions, stores and arrays that are sent to them."""

from __future__ import annotations

import os
from typing import Any

import zarr

import icechunk
from icechunk.distributed import extract_session


def write_row(session: icechunk.Session, row: int, value: int) -> tuple[icechunk.Session, int]:
    """Write a row of the array `a`; returns the session and the process that it was in."""
    zarr.open_array(session.store, path="a", mode="r+")[row] = value
    return session, os.getpid()


def write_row_of_store(store: icechunk.IcechunkStore, row: int, value: int) -> icechunk.Session:
    zarr.open_array(store, path="a", mode="r+")[row] = value
    return store.session


def write_row_of_array(array: Any, row: int, value: int) -> icechunk.Session:
    array[row] = value
    return extract_session(array)


def create_and_write(session: icechunk.Session, number: int) -> icechunk.Session:
    """Create a group and an array, as all workers do, and write one chunk of it."""
    group = zarr.open_group(session.store, mode="a").require_group("results")
    array = group.require_array("sums", shape=(16,), chunks=(1,), dtype="i4")
    array[number] = number
    return session


def spread(session: icechunk.ForkSession, rows: list[int], value: int) -> icechunk.ForkSession:
    """Write one row, and let a fork of the fork write each of the others."""
    write_row(session, rows[0], value)
    for row in rows[1:]:
        session.merge(write_row(session.fork(), row, value)[0])  # type: ignore[arg-type]
    return session
