"""`python -m hilum` is `hilum`: what a Ray Job runs."""

from hilum.cli.main import entry

entry()
