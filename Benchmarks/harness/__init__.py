"""The parts of bench.py, each a noun or a family of verbs."""
