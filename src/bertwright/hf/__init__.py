"""transformers' names over the one run: arguments and Trainer."""

from ..openmp import sleep_soon

sleep_soon()
