"""What both spellings of a repository have in common: its parts, and all that needs no I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy, deepcopy
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from icechunk._exceptions import ErrorKind, FormatError
from icechunk._format.metadata import plain_properties
from icechunk.display import Form, Listed, Unfolded, text
from icechunk.types import SpecVersion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icechunk._core.session_state import SessionState
    from icechunk._io.asset_cache import AssetCache
    from icechunk._stored_objects import Version
    from icechunk.config import Attribution, RepositoryConfig
    from icechunk.credentials import AnyCredential
    from icechunk.display import Fields
    from icechunk.storage import Storage

SessionType = TypeVar("SessionType")
"""The class of the sessions that a repository opens."""


class RepositoryState(Listed, ABC, Generic[SessionType]):
    """An open repository: its storage, effective configuration, spec version and caches.

    Attributes of instances are set by `_assemble`; the public class adds how a session is made.
    """

    _cache: AssetCache
    _config: RepositoryConfig
    _config_version: Version | None
    _spec_version: SpecVersion
    _commit_metadata: dict[str, Any]
    _virtual_access: dict[str, AnyCredential | None]

    def _assemble(
        self,
        cache: AssetCache,
        config: RepositoryConfig,
        spec_version: SpecVersion,
        *,
        virtual_access: Mapping[str, AnyCredential | None],
        config_version: Version | None = None,
        commit_metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._cache = cache
        self._config = config
        self._config_version = config_version
        self._spec_version = spec_version
        self._virtual_access = dict(virtual_access)
        self._commit_metadata = dict(commit_metadata or {})

    @property
    def config(self) -> RepositoryConfig:
        """The configuration in effect, as a copy.

        Returns
        -------
        RepositoryConfig
            The stored configuration, overlaid with what was passed when the repository was
            opened. Changes to it have no effect; see `reopen` and `save_config`.
        """
        return deepcopy(self._config)

    @property
    def storage(self) -> Storage:
        """Where the repository is kept.

        Returns
        -------
        Storage
        """
        return self._cache.storage

    @property
    def attribution(self) -> Attribution:
        """The labels of the requests that this object makes, as a copy.

        Returns
        -------
        Attribution
        """
        return copy(self._cache.settings.attribution)

    @property
    def spec_version(self) -> SpecVersion:
        """The version of the on-disk format of the repository.

        Returns
        -------
        SpecVersion
        """
        return self._spec_version

    @property
    def authorized_virtual_container_prefixes(self) -> set[str]:
        """URL prefixes of the virtual chunk containers that may be read.

        Returns
        -------
        set of str
        """
        return set(self._virtual_access)

    def set_default_commit_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Set properties that each commit gets, unless it sets them itself.

        Sessions that are open already are not affected.

        Parameters
        ----------
        metadata : dict of str to any
            Properties of JSON's types. They are copied.

        Raises
        ------
        TypeError
            A value has no counterpart in JSON.
        InvalidInputError
            Kind `bad-metadata`: nested too deep, or text that cannot be stored.
        """
        self._commit_metadata = plain_properties(metadata)

    def default_commit_metadata(self) -> dict[str, Any]:
        """The properties that each commit gets.

        Returns
        -------
        dict of str to any
        """
        return plain_properties(self._commit_metadata)

    def _require_spec_2(self) -> None:
        """Refuse what repositories of spec 1 have no place for.

        Raises
        ------
        FormatError
            Kind `unsupported-spec-version`.
        """
        if self._spec_version < SpecVersion.v2:
            raise FormatError(
                f"this needs a repository of spec version 2, and the one at {self.storage.location} is of "
                f"version {int(self._spec_version)}: upgrade it first",
                ErrorKind.UNSUPPORTED_SPEC_VERSION,
            )

    def _name(self) -> str:
        return f"icechunk.Repository (v{int(self._spec_version)})"

    def _fields(self, form: Form) -> Fields:
        storage = text(self.storage, form)
        yield "storage", Unfolded(storage) if form is Form.HTML else storage
        # Too long for a text of its own: `config` is there to be printed.
        yield "config", text(self._config, form) if form is Form.HTML else "<RepositoryConfig ...>"

    @abstractmethod
    def _new_session(self, state: SessionState) -> SessionType:
        """The public session over a state."""
