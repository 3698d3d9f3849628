"""The seam: all that knows an event loop, a thread pool, a clock, a random source, a file or a socket.

Each verb has two hand-written spellings here, `x_async` and `x`, so that the engine above can be written
once.
"""
