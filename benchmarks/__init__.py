"""The same work done by this implementation and by the official one, in one run.

``python -m benchmarks`` prints a table of medians and their ratios (ours / official: below 1 is faster or
smaller). Two ratios are given for time: of the clock on the wall, which is what users feel, and of processor
time over all threads, which moves less when the machine has other things to do.

Rules: both implementations do a workload in turns, and who goes first alternates, so that a noisy minute
hurts both. A workload says itself what is timed; opening, copying and checking are outside unless they are
the point. The repositories that are read are written once by the official implementation and kept between
runs. Nothing is compressed by zarr (`compressors=None`): the time of a codec is the same for both and would
only hide the store. Data are in a directory on disk, but in the page cache, as after any first read; nothing
is flushed to the device within the timed span.
"""
