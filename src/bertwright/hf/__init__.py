"""transformers' names over the one run: arguments and Trainer."""
