"""Checks of what callers pass, made before anything is done with it."""

from __future__ import annotations

from operator import index

from icechunk.storage import Storage


def require_text(**arguments: object) -> None:
    """Refuse arguments that are not text, naming the first.

    A name of another type would otherwise be a name that nobody has, or fail half way through a change.

    Raises
    ------
    TypeError
        One is not a `str`.

    Examples
    --------
    >>> require_text(branch="main")
    >>> require_text(branch=None)
    Traceback (most recent call last):
    TypeError: branch must be of type str, not None
    """
    for name, value in arguments.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} must be of type str, not {value!r}")


def tries(rebase_tries: int) -> int:
    """How many rebases a commit may make.

    Raises
    ------
    TypeError
        It is no integer.
    OverflowError
        It is negative: that could be meant as any number, or as none.
    """
    try:
        number = index(rebase_tries)
    except TypeError:
        raise TypeError(f"rebase_tries must be an integer, not {rebase_tries!r}") from None
    if number < 0:
        raise OverflowError(f"rebase_tries must be 0 or more, not {number}")
    return number


def require_storage(candidate: object) -> None:
    """Refuse what does not say where a repository is, such as a path.

    Raises
    ------
    TypeError
        It is no `Storage`.
    """
    if not isinstance(candidate, Storage):
        raise TypeError(
            f"storage must be a Storage, such as `icechunk.local_filesystem_storage(path)`, not {candidate!r}"
        )


def is_unicode(text: str) -> bool:
    """Whether a text can be written to a file: not with half of a surrogate pair in it.

    What cannot is refused where it comes in. Found by a commit, it would be what no commit gets past.

    Examples
    --------
    >>> is_unicode("ü"), is_unicode(chr(0xD800))
    (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
