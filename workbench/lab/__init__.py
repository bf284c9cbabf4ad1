"""JupyterLab for a desk: who comes in, and what his roles let him do there. A guard, not an authority."""
