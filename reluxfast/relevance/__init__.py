"""The one-bit tape and the reverse walk."""
