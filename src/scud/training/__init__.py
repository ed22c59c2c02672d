"""Training on PyTorch Lightning.

Randomness has no state: the examples of a step, its times, its noise and its dropout all derive from (seed, step), so a
run that is interrupted and resumed continues bit for bit.

`settings` is light; `fit` loads Lightning, which takes seconds, so nothing is imported here.
"""
