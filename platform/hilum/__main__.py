"""`python -m hilum` is `hilum`: what a Ray Job runs."""

import sys

from hilum.cli.main import main

sys.exit(main())
