"""Coalitions: a model's outputs for very many partly masked inputs, and what is estimated from them."""
