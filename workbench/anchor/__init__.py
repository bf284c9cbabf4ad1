"""The anchor: puts a counted checkpoint's root into a block, with a key that can do nothing else."""
