"""For every test: examples are the same on every run, and no example is timed (machines are shared)."""

from hypothesis import settings

settings.register_profile("hilum", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("hilum")
