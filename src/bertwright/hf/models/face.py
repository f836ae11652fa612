"""What all of transformers' names share here: one of our encoders below, transformers' names above, one way to disk."""

from __future__ import annotations

import logging
import os
import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PretrainedConfig, PreTrainedModel

from ...encoders import exchange
from ...encoders.base import Encoder, changed
from ...encoders.exchange import Checkpoint
from ...encoders.folders import checkpoint_folder
from ...errors import CheckpointError, RecipeError
from ...flow import Batch, Vocabulary
from ...nn.heads import Predictor
from ...run.provenance import descent, millions
from .further import Further, device_of
from .padding import Grid, unpadded

LAW = "paper"
HERE = torch.device("cpu")
"""Where weights are drawn, also inside a model that transformers loads, which has none to draw there."""
_SHOWN = 6
_LOG = logging.getLogger("bertwright")


class Origin(NamedTuple):
    """Where a model's weights come from."""

    start: str = "scratch"
    loaded: frozenset[str] = frozenset()
    """transformers' names of the tensors that a checkpoint gave."""
    left: tuple[str, ...] = ()
    """What the checkpoint has besides."""
    lineage: tuple[Mapping[str, str], ...] = ()

    def as_transformers(self, model: Face) -> dict[str, Any]:
        """The same under the keys of transformers' loading information; what does not fit is never loaded."""
        missing = model.kept().keys() - self.loaded
        return {
            "missing_keys": missing,
            "unexpected_keys": set(self.left),
            "mismatched_keys": set(),
            "error_msgs": [],
        }


class Face(PreTrainedModel):
    """A model under transformers' name: its parameters, state and files are called as there.

    Below it is this package's encoder, `core`, whose layers compute without padding: inputs [B, L] lose theirs before
    the first layer, and outputs stand where their tokens stood, with zeros at padding. The parts with transformers'
    names, as `bert.encoder.layer[0].attention.self.query`, are the encoder's own; those that only have others below
    them are names and compute nothing. Weights are drawn with torch's seed.
    """

    kind: ClassVar[type[Encoder]]
    supports_gradient_checkpointing = True

    core: Encoder
    origin: Origin
    seed: int
    under: str = ""
    """The class of the head over the vocabulary that it stands under."""
    vocab_size: int
    """After `resize_token_embeddings`, as in transformers."""

    def __init__(self, config: PretrainedConfig, *, encoder: Encoder | None = None) -> None:
        """`encoder`: one that there is, which is then not drawn. Raises RecipeError for a config of another make."""
        with HERE:
            seed = int(torch.randint(2**31, ()))
            if encoder is None:
                encoder = self._blank(config)
                encoder.draw(seed, LAW)
        # Attention here is none of those that transformers chooses among; of these it always lets this one pass.
        encoder.config._attn_implementation = "eager"
        super().__init__(encoder.config)
        # Past `nn.Module`, whose parameters are those with transformers' names.
        vars(self).update(core=encoder, origin=Origin(), seed=seed)

    @property
    @abstractmethod
    def parts(self) -> nn.Module | None:
        """What stands on the encoder: the head, or a pooler."""

    @property
    @abstractmethod
    def tables(self) -> tuple[int | None, int]:
        """How many learned positions there are, None where they are rotary; and how many segments."""

    def continues(self, name: str, config: PretrainedConfig) -> bool:
        """Whether the tensor `name` of a head means the same in a checkpoint with that config."""
        return True

    def says(self) -> str:
        """The line on where the weights come from, and what of a checkpoint was left in it."""
        left = self.origin.left
        more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        return self.sentence() + (f" Left in the checkpoint: {', '.join(left[:_SHOWN])}{more}." if left else "")

    def sentence(self) -> str:
        """Where the weights come from."""
        loaded, of_parts = self.origin.loaded, self.names_of_parts()
        if not loaded:
            return f"Encoder: {millions(self.num_parameters())} weights drawn at random (seed {self.seed})."
        pooler = f" Pooler: {'loaded' if of_parts <= loaded else 'new'}." if of_parts else ""
        number = len(list(self.core.parameters()))
        return f"Encoder: {number} of {number} tensors loaded from {self.origin.start}.{pooler}"

    @classmethod
    def _blank(cls, config: PretrainedConfig, where: str = "") -> Encoder:
        if not isinstance(config, PretrainedConfig):
            raise RecipeError(f"{cls.__name__} takes a transformers config, not a {type(config).__name__}")
        if config.model_type not in cls.kind.model_types:
            made = f"a {next(iter(config.architectures or ()), type(config).__name__)} ({config.model_type!r})"
            accepted = " or ".join(map(repr, cls.kind.model_types))
            head = re.search(r"(Model|For\w+)$", cls.__name__)
            other = f"; try {type(config).__name__.removesuffix('Config')}{head[0]}" if head else ""
            raise (CheckpointError if where else RecipeError)(f"{where}{made}; {cls.__name__} takes {accepted}{other}")
        return cls.kind.blank(config)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | nn.Module,
        *,
        config: PretrainedConfig | None = None,
        dtype: torch.dtype | str | None = None,
        device_map: Any = None,
        output_loading_info: bool = False,
        **extra: Any,
    ) -> Any:
        """The model with the weights of a run, a folder or a Hub name, or of another model, in evaluation mode.

        The encoder has to be there whole. Of the head those tensors are taken that mean the same; the rest are drawn,
        and a line in the log (`says()`) tells which. With `output_loading_info` the model comes with that as a
        dictionary, as in transformers. `device_map` is one device, or "auto" for the accelerator where there is one.
        `extra` goes into the config, as `num_labels=4`, or is the class's own, as `add_pooling_layer=False`; what says
        how to have a model of the Hub, as `revision`, goes there. Raises CheckpointError for a checkpoint of another
        architecture or without its weights, and RecipeError for `extra` that is none of these.
        """
        given, dtype = pretrained_model_name_or_path, extra.pop("torch_dtype", dtype)
        further = Further.of(extra, config, cls)
        device = None if device_map is None else device_of(device_map)
        if isinstance(given, nn.Module):
            model = cls._copied(given, further)
        else:
            model = cls._read(checkpoint_folder(os.fspath(given), **further.hub), os.fspath(given), further)
        if dtype == "auto":
            dtype = model.config.dtype
        nn.Module.to(model, device, getattr(torch, dtype) if isinstance(dtype, str) else dtype)
        model.config.dtype = model.dtype
        fresh = not model.kept().keys() <= model.origin.loaded or model.origin.left
        _LOG.log(logging.WARNING if fresh else logging.INFO, "%s", model.says())
        model.eval()
        return (model, model.origin.as_transformers(model)) if output_loading_info else model

    @classmethod
    def from_model(cls, model: nn.Module, **extra: Any) -> Self:
        """The same as `from_pretrained`: a copy of the model's encoder under this head."""
        return cls.from_pretrained(model, **extra)

    @classmethod
    def _copied(cls, model: nn.Module, further: Further) -> Self:
        if not isinstance(model, PreTrainedModel):
            raise RecipeError(
                f"{cls.__name__} can be made of a folder or a transformers model, not {type(model).__name__}"
            )
        name = getattr(model, "name_or_path", "") or f"a {type(model).__name__}"
        with TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            copy = cls._read(Path(folder), name, further)
        copy.config.dtype = model.dtype
        nn.Module.to(copy, model.device, model.dtype)
        return copy

    @classmethod
    def _read(cls, folder: Path, name: str, further: Further) -> Self:
        source = Checkpoint.open(folder)
        cls._blank_checked(source.config, folder)
        wanted = changed(further.config or source.config, further.fields)
        # A person's own class may take the config alone, as transformers' do; then it draws what is loaded over.
        blank = {"encoder": cls._blank(wanted)} if "encoder" in signature(cls).parameters else {}
        model = cls(wanted, **further.own, **blank)
        model.config.dtype = wanted.dtype or source.dtype
        of_parts = model.names_of_parts()
        asked = [name for name in model.kept() if name not in of_parts or model.continues(name, source.config)]
        found = source.load_into(model, {name: name for name in asked}, of_parts, cls.kind)
        model.config.name_or_path = model.name_or_path = name
        vars(model)["origin"] = Origin(name, frozenset(found.loaded), tuple(found.unused), descent(folder))
        return model

    @classmethod
    def _blank_checked(cls, config: PretrainedConfig, folder: Path) -> None:
        """Refuses what is of another architecture, with the checkpoint's name."""
        if config.model_type not in cls.kind.model_types:
            cls._blank(config, f"{folder}: ")

    def names_of_parts(self) -> frozenset[str]:
        """transformers' names of the parameters that are not the encoder's."""
        encoders = {id(parameter) for parameter in self.core.parameters()}
        return frozenset(name for name, tensor in self.kept().items() if id(tensor) not in encoders)

    def kept(self) -> dict[str, Tensor]:
        """What is written to disk, once each: parameters, and the persistent buffers of a person's own class."""
        persistent = self.state_dict().keys()
        return {**dict(self.named_parameters()), **{k: x for k, x in self.named_buffers() if k in persistent}}

    def save_pretrained(  # type: ignore[override]  # what is not named goes to the Hub
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: Mapping[str, Tensor] | None = None,
        push_to_hub: bool = False,
        **hub: Any,
    ) -> None:
        """Writes `config.json` and `model.safetensors`, which transformers loads; always whole and never a pickle.

        `hub` is for `push_to_hub`. Raises RunError when they cannot be written.
        """
        folder = Path(save_directory)
        if is_main_process:
            kept = self.kept()
            tensors = kept if state_dict is None else state_dict
            exchange.save(folder, self.config, {name: tensors[name] for name in kept}, type(self).__name__)
        if push_to_hub:
            hub = {key: value for key, value in hub.items() if key not in ("max_shard_size", "safe_serialization")}
            self.push_to_hub(hub.pop("repo_id", folder.name), **hub)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.core.train(mode)
        if self.parts is not None:
            self.parts.train(mode)
        return self

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Has each layer compile itself, for any number of tokens, as `torch.compile` is told to."""
        for layer in self.core.layers:
            layer.compile(*args, **{"dynamic": True, **kwargs})

    def get_input_embeddings(self) -> nn.Module:
        return self.core.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Takes over the weights of another embedding, as many as it has, each as wide as the present ones."""
        weight = value.weight
        assert isinstance(weight, Tensor)
        width = self.core.word_embeddings.weight.shape[1]
        if weight.shape[1] != width:
            raise RecipeError(f"embeddings {weight.shape[1]} wide; those of this model are {width} wide")
        self.resize_token_embeddings(len(weight))
        self.core.word_embeddings.weight.data = weight.detach().to(self.device, self.dtype, copy=True)

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:  # type: ignore[override]
        """Cuts or lengthens the vocabulary, in a head over it too, and returns the embeddings.

        A new token starts as the mean of the others, so that what is said of these hardly changes (Hewitt,
        "Initializing new word embeddings for pretrained language models", 2021); without `mean_resizing`, as zeros.
        """
        if not isinstance(pad_to_multiple_of or 1, int):
            raise RecipeError(f"pad_to_multiple_of is a whole number, not {pad_to_multiple_of}")
        words = self.core.word_embeddings
        size = words.num_embeddings if new_num_tokens is None else new_num_tokens
        size += -size % (pad_to_multiple_of or 1)
        if size < 1:
            raise RecipeError(f"a vocabulary of {size} tokens; it has at least 1")
        if self.under and size != words.num_embeddings:
            raise RecipeError(f"the head is over the same vocabulary: call resize_token_embeddings of the {self.under}")
        biases = [part.bias for part in (self.parts or nn.Identity()).modules() if isinstance(part, Predictor)]
        for old in (words.weight, *biases):
            new = nn.Parameter(_resized(old.detach(), size, mean_resizing), old.requires_grad)
            for module in {*self.modules(), *self.core.modules(), *(self.parts or nn.Identity()).modules()}:
                for name, held in module._parameters.items():
                    if held is old:
                        module._parameters[name] = new
        words.num_embeddings = self.config.vocab_size = self.core.config.vocab_size = self.vocab_size = size
        return words

    def tie_weights(self, *_: Any, **__: Any) -> None:
        """Nothing to do: a vocabulary head multiplies by the word embeddings themselves."""

    def _set_gradient_checkpointing(
        self, enable: bool = True, gradient_checkpointing_func: Callable[..., Any] = checkpoint, every_n_layers: int = 1
    ) -> None:
        for index, layer in enumerate(self.core.layers):
            vars(layer).pop("forward", None)
            if enable and index % every_n_layers == 0:
                vars(layer)["forward"] = partial(gradient_checkpointing_func, layer.forward)
        self.gradient_checkpointing = enable

    def read(self, input_ids: Tensor | None, *rest: Tensor | None) -> tuple[Batch, Grid]:
        """`input_ids`, `attention_mask`, `token_type_ids` and `position_ids` [B, L] as a batch without padding."""
        positions, segments = self.tables
        pad = self.config.pad_token_id or 0
        size = self.core.word_embeddings.num_embeddings
        vocabulary = Vocabulary(size=size, pad=pad, cls=pad, sep=pad, mask=pad, unk=pad, special=())
        return unpadded(input_ids, *rest, vocabulary=vocabulary, positions=positions, segments=segments)


def _resized(x: Tensor, size: int, mean: bool) -> Tensor:
    more = max(0, size - len(x))
    row = x.mean(0, keepdim=True) if mean else torch.zeros_like(x[:1])
    return torch.cat((x[:size], row.expand(more, *x.shape[1:])))
