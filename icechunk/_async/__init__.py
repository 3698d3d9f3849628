"""The engine as coroutines. `tools/make_sync.py` writes its blocking twin into `icechunk/_sync`."""
