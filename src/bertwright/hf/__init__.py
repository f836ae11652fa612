"""transformers' names over the one run: arguments and Trainer."""

from ..openmp import spin_a_while

spin_a_while()
