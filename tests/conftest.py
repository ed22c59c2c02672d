"""Every test runs torch and numpy on one thread: the arrays are small, and threads that spin for each other cost more than
they give. And signals end a process as they do at a terminal, though `nohup` and shells in the background have them ignored."""

import os
import signal

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)

signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
