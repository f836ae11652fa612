"""Side by side with transformers' Trainer: every contestant in a process of its own, one of them at work at a time.

workload      what all of them train
contestants   who they are
worker        a contestant's process: it builds, and then does orders from a pipe of JSON lines
process       the other end of that pipe
contest       who is asked what, and in which order; the numbers that come of it
"""
