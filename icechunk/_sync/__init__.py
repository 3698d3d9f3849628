# Generated from icechunk/_async/__init__.py by tools/make_sync.py; edit that file.
"""The engine as coroutines. `tools/make_sync.py` writes its blocking twin into `icechunk/_sync`."""
