"""Encoders: one file is one architecture, and the folder is the list of them."""

PLUMBING = ("base", "exchange", "folders", "laws", "naming", "sizes")
