"""data: seeded generators of the training text; start at build.py."""
