"""Settings that libraries read where they are imported first, for these tests and all programs that they start."""

import os

# Three test processes share what may be two cores: a second thread would wait by computing.
os.environ["OMP_NUM_THREADS"] = "1"
# Compiling UMAP takes longer than all maps of tests, a wide one apart.
os.environ["NUMBA_DISABLE_JIT"] = "1"
