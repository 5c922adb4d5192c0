"""Who computes Shapley values: the engine, masked batches, Captum and shap, one file for each.

A sampler is a function (orders, seed) -> values (N, K, d) of a game: all that a user does once lies behind it.
"""
