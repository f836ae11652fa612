"""A tokenizer: text to ids and back, kept as a Hugging Face folder that `transformers` loads to the same ids."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final
from unicodedata import category

import numpy as np
import tokenizers

from ..errors import InputError
from ..flow import Vocabulary
from .words import Words

ROLES = ("pad", "unk", "cls", "sep", "mask")
_NOT_KEPT = ("auto_map", "name_or_path", "tokenizer_file", "vocab_file", "special_tokens_map_file")


@final
class Tokenizer:
    """A `tokenizers.Tokenizer` with the five special tokens that an encoder needs.

    `backend` is taken over: its padding and truncation are switched off. `config` is the content of
    tokenizer_config.json, which names the special tokens. Raises InputError when one of them is missing.
    """

    def __init__(self, backend: tokenizers.Tokenizer, config: Mapping[str, Any]) -> None:
        backend.no_padding()
        backend.no_truncation()
        self._names = _special_names(backend, config)
        self._content = backend.to_str()
        self._config = {name: value for name, value in config.items() if name not in _NOT_KEPT}
        self._backend = backend
        self._backend.encode_special_tokens = True

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Tokenizer:
        """Reads a tokenizer's folder, or the folder `tokenizer` of a store. Raises InputError."""
        folder = Path(folder)
        if not (folder / "tokenizer.json").is_file() and (folder / "tokenizer" / "tokenizer.json").is_file():
            folder = folder / "tokenizer"
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise InputError(f"{folder}: no tokenizer.json in it; accepted is the folder of a Hugging Face tokenizer")
        try:
            backend = tokenizers.Tokenizer.from_str(path.read_text("utf-8"))
        except Exception as error:  # the library raises plain Exception
            raise InputError(f"{path}: not a tokenizer ({str(error).splitlines()[0]})") from None
        named = _read_json(folder / "special_tokens_map.json") | _read_json(folder / "tokenizer_config.json")
        try:
            return cls(backend, named)
        except InputError as error:
            raise InputError(f"{folder}: {error}") from None

    def save(self, folder: str | os.PathLike[str], inputs: Sequence[str] = (), longest: int = 0) -> None:
        """Writes tokenizer.json and tokenizer_config.json, and vocab.txt for WordPiece.

        `inputs` is what the model beside it takes, by transformers' names, and `longest` is how many tokens at most.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = self._config | {f"{role}_token": name for role, name in self._names.items()}
        config.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
        if inputs:
            config["model_input_names"] = [*inputs]
        if longest:
            config["model_max_length"] = min(longest, config.get("model_max_length") or longest)
        (folder / "tokenizer.json").write_text(self._content, "utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", "utf-8")
        if json.loads(self._content)["model"]["type"] == "WordPiece":
            tokens = sorted(self._backend.get_vocab().items(), key=lambda entry: entry[1])
            (folder / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in tokens), "utf-8")

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Sizes and special ids, for cutting and hiding."""
        entries = self._backend.get_vocab()
        ids = {role: entries[name] for role, name in self._names.items()}
        added = self._backend.get_added_tokens_decoder()
        special = {i for i, token in added.items() if token.special} | set(ids.values())
        words = lru_cache(maxsize=1)(lambda: Words(entries, special, json.loads(self._content)))
        return Vocabulary(
            size=max(entries.values()) + 1,
            special=tuple(sorted(special)),
            begins_word=lambda ids: words()(ids),
            **ids,
        )

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over what decides how text is encoded."""
        content = [json.loads(self._content), self._names]
        plain = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(plain.encode()).hexdigest()

    def encode(self, text: str) -> np.ndarray:
        """Ids [n], int64, without special tokens; a literal "[MASK]" in the text is plain characters."""
        return np.array(self._plain.encode(text, add_special_tokens=False).ids, np.int64)

    def locate(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The ids of `encode` [n], and between which characters of the text each stands [n, 2]: without white space,
        and with the marks on its last character that the tokenizer drops."""
        encoding = self._plain.encode(text, add_special_tokens=False)
        places = np.array(encoding.offsets, np.int64).reshape(-1, 2)
        for place, following in zip(places, np.append(places[:, 0], len(text))[1:], strict=True):
            while place[0] < place[1] and text[place[0]].isspace():
                place[0] += 1
            while place[0] < place[1] < following and category(text[place[1]])[0] == "M":
                place[1] += 1
        return np.array(encoding.ids, np.int64), places

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode` for many texts at once, on all cores."""
        encodings = self._plain.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, np.int64) for encoding in encodings]

    def encode_words(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each text its ids [n], as `encode` has them, and of which word each is [n], as the tokenizer cuts."""
        encodings = self._plain.encode_batch(list(texts), add_special_tokens=False)
        # What was cut out before words were has none, and is one of its own.
        words = [[-at - 1 if word is None else word for at, word in enumerate(e.word_ids)] for e in encodings]
        return [(np.array(e.ids, np.int64), np.array(of, np.int64)) for e, of in zip(encodings, words, strict=True)]

    def encode_with_special(self, text: str) -> np.ndarray:
        """Ids [n], int64, where "[MASK]" and its like in the text are the special tokens; none are added around."""
        return np.array(self._parsing.encode(text, add_special_tokens=False).ids, np.int64)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of ids, special tokens included."""
        return self._backend.decode([int(i) for i in ids], skip_special_tokens=False)

    def token(self, id: int) -> str:
        """The vocabulary entry of an id. Raises IndexError for one that is not in the vocabulary."""
        token = self._backend.id_to_token(int(id))
        if token is None:
            raise IndexError(f"id {id} is not in the vocabulary of {self.vocabulary.size}")
        return token

    def hf(self) -> Any:
        """The same tokenizer as `transformers` has it."""
        from transformers import AutoTokenizer

        with TemporaryDirectory() as folder:
            self.save(folder)
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        tokenizer.name_or_path = ""
        return tokenizer

    @cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        """What takes the name of a special token for its characters."""
        special = {*self.vocabulary.special} - {self.vocabulary.unk}
        names = [self.token(id) for id in special]
        said = self._backend.encode_batch(names, add_special_tokens=False)
        if special.isdisjoint(id for one in said for id in one.ids):
            return self._backend
        backend = tokenizers.Tokenizer.from_str(_unreachable(json.loads(self._content), names))
        backend.encode_special_tokens = True
        return backend

    @cached_property
    def _parsing(self) -> tokenizers.Tokenizer:
        return tokenizers.Tokenizer.from_str(self._content)


def _special_names(backend: tokenizers.Tokenizer, config: Mapping[str, Any]) -> dict[str, str]:
    names = {role: _name_of(config.get(f"{role}_token") or f"[{role.upper()}]") for role in ROLES}
    missing = [role for role, name in names.items() if backend.token_to_id(name) is None]
    if missing:
        found = ", ".join(sorted(t.content for t in backend.get_added_tokens_decoder().values() if t.special)) or "none"
        raise InputError(f"the tokenizer has no {', '.join(missing)} token, which an encoder needs; it has {found}")
    return names


def _unreachable(content: dict[str, Any], names: Collection[str]) -> str:
    """A tokenizer's content whose model finds none of the names in a text: its entries are called otherwise."""
    entries, model = content["model"]["vocab"], content["model"]
    known = {*names} & ({*entries} if isinstance(entries, dict) else {entry for entry, _ in entries})
    called = {name: f"\ufdd0{name}" for name in known - {model.get("unk_token")}}
    if isinstance(entries, dict):
        model["vocab"] = {called.get(entry, entry): number for entry, number in entries.items()}
    else:
        model["vocab"] = [[called.get(entry, entry), score] for entry, score in entries]
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] not in called]
    return json.dumps(content)


def _name_of(value: Any) -> str:
    """A special token is written as a string, or as an object with its `content`."""
    return str(value["content"] if isinstance(value, Mapping) and "content" in value else value)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content
