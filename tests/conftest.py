"""Two threads at most: the suite runs in parallel on small machines, and results must not depend on their number."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
