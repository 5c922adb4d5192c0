"""Measurements on a GPU: what it allows, what each op reaches of it, and the experiments of QUEUE.md."""
