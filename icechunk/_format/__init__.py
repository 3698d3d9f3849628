"""The bytes of the format and the records they hold.

`header` wraps every metadata file, `compression` packs it, `flatbuffers` reads
and writes tables, alone or in bulk; one module for each kind of file stands on
those three. Nothing here does I/O, and bytes from outside raise nothing but
`FormatError`.
"""

from __future__ import annotations
