"""``python -m lightning_rec``."""

from lightning_rec.cli import main

main()
