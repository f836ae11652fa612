"""Where a run's weights come from: an encoder drawn or loaded; a head's tensors loaded where they mean the same."""

from __future__ import annotations

from collections.abc import Callable

from ..data.cooccurrence import count, sample
from ..data.store import Part
from ..encoders import counted as words
from ..encoders.base import Encoder
from ..encoders.exchange import Checkpoint
from ..encoders.folders import checkpoint_folder
from ..encoders.naming import hf_names
from ..errors import RecipeError
from ..tasks.base import Task
from ..tasks.model import Model
from ..text.tokenizer import Tokenizer
from .provenance import Tensor
from .spec import COUNTED, SCRATCH, Recipe

Start = Callable[[Recipe, Task, Tokenizer], tuple[Model, list[Tensor]]]
"""The model at step 0, and where each of its tensors comes from: `begin`, or what `given` makes."""


def given(model: Model) -> Start:
    """Starts from a model that somebody made: its encoder as it is, its head drawn or gone on with as `begin` does."""

    def start(recipe: Recipe, task: Task, tokenizer: Tokenizer) -> tuple[Model, list[Tensor]]:
        scratch = recipe.encoder.start == SCRATCH
        source = None if scratch else Checkpoint.open(checkpoint_folder(recipe.encoder.start))
        _check_fits(recipe, model.encoder, tokenizer, source)
        return model, origins(model, source is not None, _start_head(model, source, recipe))

    return start


def begin(recipe: Recipe, task: Task, tokenizer: Tokenizer) -> tuple[Model, list[Tensor]]:
    """The model at step 0, and where each of its tensors comes from.

    1. `encoder.start` is a checkpoint: its encoder, and those tensors of its heads that the task goes on with.
    2. `encoder.like` is a checkpoint: its shape, all weights drawn.
    3. Neither: the size `encoder.size`, all weights drawn.

    Raises RecipeError when the encoder knows other tokens than the data's `tokenizer`, or fewer positions.
    """
    if recipe.encoder.start != SCRATCH:
        folder = checkpoint_folder(recipe.encoder.start)
        encoder = Encoder.from_pretrained(folder)
        source = Checkpoint.open(folder)
    elif recipe.encoder.like:
        config = Checkpoint.open(checkpoint_folder(recipe.encoder.like)).config
        encoder = Encoder.from_config(config, tokens=tokenizer.vocabulary, seed=recipe.seed, init=recipe.encoder.init)
        source = None
    else:
        encoder = Encoder.from_config(
            recipe.encoder.size,
            arch=recipe.encoder.arch,
            vocab_size=tokenizer.vocabulary.size,
            tokens=tokenizer.vocabulary,
            seed=recipe.seed,
            init=recipe.encoder.init,
        )
        source = None
    _check_fits(recipe, encoder, tokenizer, source)
    model = Model(encoder, task)
    loaded = _start_head(model, source, recipe)
    freeze(encoder, recipe.encoder.freeze)
    return model, origins(model, source is not None, loaded, counted=counts(recipe))


def write_words(recipe: Recipe, model: Model, text: Part | None) -> None:
    """Writes what counting the text tells of its words into a model from scratch, where the recipe asks for that.

    Raises RecipeError where there is no text.
    """
    if not counts(recipe):
        return
    if text is None:
        raise RecipeError(
            f"encoder.words is {COUNTED!r}, which takes the text of a token store, and task {recipe.task} learns from "
            "rows; leave it out, or pretrain an encoder so and start from that"
        )
    words.write(count(sample(text), model.encoder.config.vocab_size), model.encoder, model.head, recipe.seed)


def counts(recipe: Recipe) -> bool:
    """Whether a run's words start from counts of its text."""
    return recipe.encoder.words == COUNTED and recipe.encoder.start == SCRATCH


def _check_fits(recipe: Recipe, encoder: Encoder, tokenizer: Tokenizer, source: Checkpoint | None) -> None:
    size, positions = tokenizer.vocabulary.size, encoder.config.max_position_embeddings
    if size > encoder.config.vocab_size:
        raise RecipeError(
            f"the data has a vocabulary of {size} tokens, the encoder knows {encoder.config.vocab_size}; "
            "prepare the store with the checkpoint's own tokenizer: --tokenizer CHECKPOINT"
        )
    if source is not None and Tokenizer.load(source.path).fingerprint != tokenizer.fingerprint:
        raise RecipeError(
            f"{recipe.data.store} was made with another tokenizer than that of {recipe.encoder.start}, and the same "
            "ids mean other words; prepare the store with the checkpoint's own: --tokenizer CHECKPOINT"
        )
    if recipe.data.length > positions:
        raise RecipeError(
            f"data.length is {recipe.data.length}, and the encoder has {positions} positions "
            f"(max_position_embeddings); use --length {positions} or less"
        )


def _start_head(model: Model, source: Checkpoint | None, recipe: Recipe) -> set[str]:
    """Draws the head, loads what the checkpoint has of it, and returns transformers' names of that."""
    config = model.encoder.config
    model.encoder.draw_head(model.head, recipe.seed, recipe.encoder.init)
    if source is None:
        return set()
    wanted = {own: name for own, name in hf_names(model.head).items() if model.task.continues(name, config)}
    return set(source.load_into(model.head, wanted, kind=type(model.encoder)).loaded)


def freeze(encoder: Encoder, what: str) -> None:
    """Stops parts of the encoder from training: `encoder`, `embeddings`, or a number of layers with the embeddings.

    Raises RecipeError for another word or more layers than there are.
    """
    layers = len(encoder.layers)
    depths = {"": -1, "embeddings": 0, "encoder": layers} | {str(n): n for n in range(1, layers + 1)}
    if what not in depths:
        raise RecipeError(f"freeze takes encoder, embeddings, or a number of layers up to {layers}, not {what!r}")
    for name, parameter in encoder.named_parameters():
        layer = int(name.split(".")[1]) + 1 if name.startswith("layers.") else 0
        parameter.requires_grad_(layer > depths[what])


def origins(model: Model, encoder_loaded: bool, loaded: set[str], counted: bool = False) -> list[Tensor]:
    """Where each of a model's tensors comes from.

    `loaded` names, as transformers does, those of heads that were; `counted` says that the word embeddings were.
    """
    names, embeddings = model.hf_names(), model.encoder.word_embeddings.weight
    return [
        Tensor(
            name=names[own],
            part=_part(own, model.task),
            size=parameter.numel(),
            loaded=encoder_loaded if own.startswith("encoder.") else names[own] in loaded,
            frozen=not parameter.requires_grad,
            counted=counted and parameter is embeddings,
        )
        for own, parameter in model.named_parameters()
    ]


def _part(own: str, task: Task) -> str:
    words = own.split(".")
    if words[0] == "head":
        return f"head {words[1] if '+' in task.name else task.name}"
    return f"layer {int(words[2]) + 1}" if words[1] == "layers" else "embeddings"
