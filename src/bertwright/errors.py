"""What can go wrong that a person can mend.

    BertwrightError              one clear line, exit code 2
    |- InputError                a file, a corpus or a label file is not as asked
    |- StoreError                a token store is missing, half-written or of another make
    |- CheckpointError           a checkpoint lacks weights or does not fit
    |- RecipeError               a setting is unknown or does not go with the others
    `- RunError                  a run cannot start, go on or be written

Each message says what was asked, what was found, and what would be accepted.
"""


class BertwrightError(ValueError):
    """Something that the person can mend; the message says how. A ValueError, as code for transformers expects."""


class InputError(BertwrightError):
    """A file, a corpus or a label file is not as asked."""


class StoreError(BertwrightError):
    """A token store is missing, half-written or of another make."""


class CheckpointError(BertwrightError):
    """A checkpoint lacks weights or does not fit."""


class RecipeError(BertwrightError):
    """A setting is unknown or does not go with the others."""


class RunError(BertwrightError):
    """A run cannot start, go on or be written."""
