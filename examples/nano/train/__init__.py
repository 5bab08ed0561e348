"""train: a compact PyTorch DeepSeek-V4, its trainer and its export; start at model.py."""
