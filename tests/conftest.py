"""Every test runs torch and numpy on one thread: the arrays are small, and threads that spin for each other cost more than
they give."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)
