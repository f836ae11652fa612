"""Encoders: one file is one architecture, and the folder is the list of them."""

PLUMBING = (
    "activations",
    "base",
    "checking",
    "counted",
    "exchange",
    "folders",
    "laws",
    "naming",
    "neighbours",
    "postnorm",
    "sizes",
)
