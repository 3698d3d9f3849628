"""The model: changes, history, splits and plans as pure functions and plain records.

Nothing here knows a loop, a thread pool, a clock or a random source: bytes, ids and
times come in as arguments, and what is to be written goes out as results.
"""
