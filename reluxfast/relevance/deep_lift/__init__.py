"""DeepLIFT with the rescale rule: multipliers between a forward pass at x and one at a reference."""
