"""A `bertwright.Model` with a TokenStore under a Trainer: the run of `bertwright pretrain`, with its folder."""
