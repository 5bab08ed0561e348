"""score: what the trained model can do, measured through libv4infer; start at score.py."""
