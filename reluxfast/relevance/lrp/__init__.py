"""Layer-wise relevance propagation: rules as parts, plans in multiplier form, their steps."""
