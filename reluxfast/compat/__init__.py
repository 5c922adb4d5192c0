"""Drop-in adapters: the classes of other attribution packages, answered by this engine."""
