"""Every test runs torch on one thread: the arrays are small, and threads that spin for each other cost more than they give."""

import torch

torch.set_num_threads(1)
