"""One package per paper or question; ``python -m analyses.toy.run`` runs one."""
